"""`ros2 launch`: run a launch file. Does not import rclpy, so that it starts at once."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import traceback

from launch import LaunchDescription, LaunchIntrospector, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import AnyLaunchDescriptionSource
from launch.launch_service import describe_error
from launch.logging import get_logger, log_launch_config

from ..cli import Failure
from ..packages import find_package_share, package_exists

BUILT_IN_ARGUMENTS = ("emulate_tty", "launch-prefix", "sigkill_timeout", "sigterm_timeout")
"""Launch configurations that every process looks at without their being declared."""


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ros2 launch`."""
    parser.set_defaults(main=main)
    parser.add_argument(
        "-n",
        "--noninteractive",
        action="store_true",
        help="Run the launch system non-interactively, with no terminal associated",
    )
    parser.add_argument(
        "-d",
        "--debug",
        action="store_true",
        help="Put the launch system in debug mode, provides more verbose output.",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "-p",
        "--print",
        "--print-description",
        action="store_true",
        dest="print_description",
        help="Print the launch description to the console without launching it.",
    )
    group.add_argument(
        "-s",
        "--show-args",
        "--show-arguments",
        action="store_true",
        dest="show_args",
        help="Show arguments that may be given to the launch file.",
    )
    parser.add_argument(
        "-a",
        "--show-all-subprocesses-output",
        action="store_true",
        dest="show_all",
        help="Show all launched subprocesses' output by overriding their output configuration.",
    )
    parser.add_argument(
        "--launch-prefix",
        metavar="COMMAND",
        default=None,
        help="Prefix command, which goes before all executables.",
    )
    parser.add_argument(
        "package_name", help="Name of the ROS package which contains the launch file, or its path"
    )
    parser.add_argument("launch_file_name", nargs="?", help="Name of the launch file")
    parser.add_argument(
        "launch_arguments",
        nargs="*",
        help="Arguments to the launch file; '<name>:=<value>' (for duplicates, last one wins)",
    )


def main(args: argparse.Namespace) -> int:
    """Run `ros2 launch`; see the module.

    Raises:
        Failure: The file or an argument is not as it should be.
    """
    path, words = find_launch_file(args)
    arguments = parse_arguments(words)
    if args.show_all:
        os.environ["OVERRIDE_LAUNCH_PROCESS_OUTPUT"] = "both"
    os.environ.setdefault("PYTHONUNBUFFERED", "1")  # lines of Python nodes come at once
    source = AnyLaunchDescriptionSource(path)
    try:
        description = source.try_get_launch_description_without_context()
        assert description is not None
        if args.show_args:
            show_arguments(description)
            return 0
        if args.print_description:
            print(LaunchIntrospector().format_launch_description(description))
            return 0
        unknown = check_arguments(description, arguments)
    except Failure:
        raise
    except Exception as error:
        if args.debug:
            traceback.print_exc()
            return 1
        raise Failure(describe_error(error)) from None
    log_launch_config()
    for line in unknown:
        get_logger("launch").warning(line)
    if args.launch_prefix:
        arguments["launch-prefix"] = args.launch_prefix
    service = LaunchService(argv=words, noninteractive=args.noninteractive, debug=args.debug)
    service.include_launch_description(
        LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments.items())])
    )
    return service.run()


def find_launch_file(args: argparse.Namespace) -> tuple[str, list[str]]:
    """The path of the launch file, and the words that are launch arguments.

    Raises:
        Failure: There is no such file or package, or there are several such files.
    """
    first, second, rest = args.package_name, args.launch_file_name, args.launch_arguments
    if os.path.isfile(first) and (second is None or not package_exists(first)):
        return first, [word for word in (second, *rest) if word is not None]
    if second is None or ":=" in second:
        if os.sep in first or first.endswith(".py"):
            raise Failure(f"launch file '{first}' was not found")
        raise Failure(f"'{first}' is not a launch file; expected a path, or a package and a file")
    share = find_package_share(first)
    matches = sorted(
        os.path.join(root, second)
        for root, _, files in os.walk(share, followlinks=True)
        if second in files
    )
    if not matches:
        raise Failure(
            f"file '{second}' was not found in the share directory of package '{first}' which is "
            f"at '{share}'"
        )
    if len(matches) > 1:
        raise Failure(
            f"file '{second}' was found more than once in the share directory of package "
            f"'{first}': [{', '.join(matches)}]"
        )
    return matches[0], list(rest)


def parse_arguments(words: list[str]) -> dict[str, str]:
    """`name:=value` words as a dictionary; the last of several wins.

    Raises:
        Failure: A word is not of this form.
    """
    arguments = {}
    for word in words:
        name, separator, value = word.partition(":=")
        if not separator or not name:
            raise Failure(f"malformed launch argument '{word}', expected format '<name>:=<value>'")
        arguments[name] = value
    return arguments


def check_arguments(description: LaunchDescription, given: dict[str, str]) -> list[str]:
    """Check the arguments before anything is started.

    Returns:
        Warnings, for names that no file declares.

    Raises:
        Failure: A required argument is missing, or a value is not among the choices.
    """
    declared = {argument.name: argument for argument in description.get_launch_arguments()}
    top_level = {entity for entity in description.entities}
    for name, argument in declared.items():
        if name in given:
            try:
                argument.check(given[name])
            except RuntimeError as error:
                raise Failure(str(error)) from None
        elif (
            argument.default_value is None
            and argument in top_level
            and not argument._conditionally_included
        ):
            raise Failure(
                f"required argument '{name}' (description: '{argument.description}') is missing; "
                f"give it as {name}:=<value>"
            )
    warnings = []
    for name in given:
        if name not in declared and name not in BUILT_IN_ARGUMENTS:
            close = difflib.get_close_matches(name, declared, 1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            known = ", ".join(sorted(declared)) or "none"
            warnings.append(f"unknown argument '{name}'{hint}; known arguments are: {known}")
    return warnings


def show_arguments(description: LaunchDescription) -> None:
    """Print the arguments of a launch file and of those it includes."""
    print("Arguments (pass arguments as '<name>:=<value>'):")
    arguments = description.get_launch_arguments()
    for argument in arguments:
        mark = "*" if argument._conditionally_included else ""
        print(f"\n    '{argument.name}':{mark}\n        {argument.description}")
        if argument.default_value is not None:
            default = " + ".join(sub.describe() for sub in argument.default_value)
            print(f"        (default: {default})")
    if not arguments:
        print("\n  No arguments.")
    elif any(argument._conditionally_included for argument in arguments):
        print("\n* argument(s) which are only used if specific conditions occur")
    sys.stdout.flush()
