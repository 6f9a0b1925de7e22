"""`ros2 run`: run an executable of a package, in place of this process."""

from __future__ import annotations

import argparse
import os
import shlex

from ..cli import Failure
from ..packages import find_executables


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ros2 run`."""
    parser.set_defaults(main=main)
    parser.add_argument("--prefix", help="Prefix command, which should go before the executable.")
    parser.add_argument("package_name", help="Name of the ROS package")
    parser.add_argument("executable_name", help="Name of the executable")
    parser.add_argument(
        "argv", nargs=argparse.REMAINDER, help="Pass arbitrary arguments to the executable"
    )


def main(args: argparse.Namespace) -> int:
    """Become the executable.

    Raises:
        Failure: There is no such package or executable.
    """
    paths = find_executables(args.package_name)
    matches = [path for path in paths if os.path.basename(path) == args.executable_name]
    if not matches:
        known = ", ".join(os.path.basename(path) for path in paths) or "none"
        raise Failure(
            f"No executable '{args.executable_name}' in package '{args.package_name}' "
            f"(there: {known})"
        )
    command = [*shlex.split(args.prefix or ""), matches[0], *args.argv]
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise Failure(f"{command[0]}: {error.strerror}") from None
