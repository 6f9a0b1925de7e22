"""`ros2 pkg`: packages and what they install."""

from __future__ import annotations

import argparse
import os

from ament_index_python.packages import get_packages_with_prefixes

from ..cli import add_subverbs
from ..packages import find_executables, find_package_prefix, find_package_share


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `ros2 pkg`."""
    verbs = add_subverbs(parser)
    verb = verbs.add_parser("list", help="Output a list of available packages")
    verb.set_defaults(main=list_packages)
    verb = verbs.add_parser("prefix", help="Output the prefix path of a package")
    verb.add_argument("package_name", help="The package name")
    verb.add_argument(
        "--share", action="store_true", help="Show share directory for the given package"
    )
    verb.set_defaults(main=prefix)
    verb = verbs.add_parser("executables", help="Output a list of package specific executables")
    verb.add_argument("package_name", nargs="?", help="Name of the package (all by default)")
    verb.add_argument(
        "--full-path", action="store_true", help="Show the full path of each executable"
    )
    verb.set_defaults(main=executables)


def list_packages(args: argparse.Namespace) -> None:
    """Print the packages, one a line."""
    print(*sorted(get_packages_with_prefixes()), sep="\n")


def prefix(args: argparse.Namespace) -> None:
    """Print the prefix, or the share directory, of a package."""
    find = find_package_share if args.share else find_package_prefix
    print(find(args.package_name))


def executables(args: argparse.Namespace) -> None:
    """Print the executables of a package, or of all."""
    names = [args.package_name] if args.package_name else sorted(get_packages_with_prefixes())
    for name in names:
        for path in find_executables(name):
            print(path if args.full_path else f"{name} {os.path.basename(path)}")
