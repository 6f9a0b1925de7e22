"""Packages and what they install, by the ament index."""

from __future__ import annotations

import os

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)

from .cli import Failure


def package_exists(name: str) -> bool:
    """Whether there is a package of this name."""
    try:
        get_package_prefix(name)
    except (PackageNotFoundError, ValueError):
        return False
    return True


def find_package_prefix(name: str) -> str:
    """The prefix that a package is installed in.

    Raises:
        Failure: There is no such package.
    """
    try:
        return get_package_prefix(name)
    except (PackageNotFoundError, ValueError):
        raise Failure(f"Package '{name}' not found: is its workspace sourced?") from None


def find_package_share(name: str) -> str:
    """The share directory of a package.

    Raises:
        Failure: There is no such package.
    """
    find_package_prefix(name)
    return get_package_share_directory(name)


def find_executables(name: str) -> list[str]:
    """The paths of the executables of a package, sorted.

    Raises:
        Failure: There is no such package.
    """
    directory = os.path.join(find_package_prefix(name), "lib", name)
    paths = [
        os.path.join(root, file) for root, _, files in os.walk(directory) for file in sorted(files)
    ]
    return sorted(path for path in paths if os.access(path, os.X_OK))
