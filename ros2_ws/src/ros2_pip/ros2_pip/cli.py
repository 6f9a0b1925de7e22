"""Entry point of the command `ros2`."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

COMMANDS = {
    "interface": "Show information about ROS interfaces",
    "launch": "Run a launch file",
    "lifecycle": "Various lifecycle related sub-commands",
    "node": "Various node related sub-commands",
    "param": "Various param related sub-commands",
    "pkg": "Various package related sub-commands",
    "run": "Run a package specific executable",
    "service": "Various service related sub-commands",
    "topic": "Various topic related sub-commands",
}


class Failure(RuntimeError):
    """An error for the user: one line on stderr and exit code 1."""


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser, with the arguments of one command and the names of the others."""
    parser = argparse.ArgumentParser(
        prog="ros2",
        description="ros2 is an extensible command-line tool for ROS 2.",
        epilog="This is the small stand-in for ROS 2 installations from PyPI wheels.",
    )
    commands = parser.add_subparsers(title="Commands", metavar="Call `ros2 <command> -h` for more")
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text)
        if name == command:
            importlib.import_module(f"ros2_pip.verbs.{name}").add_verbs(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    os.environ.setdefault("ROS_PYTHON_CHECK_FIELDS", "1")  # messages refuse values of wrong type
    argv = list(sys.argv[1:] if argv is None else argv)
    command = next((arg for arg in argv if not arg.startswith("-")), None)
    parser = build_parser(command)
    args = parser.parse_args(argv)
    if not hasattr(args, "main"):
        parser.print_help()
        return 0
    try:
        with contextlib.suppress(KeyboardInterrupt):
            return args.main(args) or 0
        return 0
    except BrokenPipeError:  # the reader of our output has gone: `ros2 topic echo /x | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1


def add_subverbs(parser: argparse.ArgumentParser) -> argparse._SubParsersAction:
    """Let a command have verbs; without one it prints its help."""

    def print_help(args: argparse.Namespace) -> int:
        parser.print_help()
        return 0

    parser.set_defaults(main=print_help)
    return parser.add_subparsers(title="Verbs", metavar=f"Call `{parser.prog} <verb> -h` for more")
