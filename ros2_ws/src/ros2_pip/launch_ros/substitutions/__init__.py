"""Substitutions that find packages and their executables through the ament index."""

from __future__ import annotations

import os
from typing import Any

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch import LaunchContext, Substitution
from launch.substitutions import SubstitutionFailure
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions

__all__ = ["ExecutableInPackage", "FindPackage", "FindPackagePrefix", "FindPackageShare"]


class FindPackage(Substitution):
    """Base of the substitutions that find a directory of a package."""

    def __init__(self, package: Any) -> None:
        self.package = normalize_to_list_of_substitutions(package)

    def describe(self) -> str:
        return f"{type(self).__name__}(pkg={' + '.join(sub.describe() for sub in self.package)})"

    def find(self, package_name: str) -> str:
        """The directory.

        Raises:
            PackageNotFoundError: There is no such package.
        """
        raise NotImplementedError

    def perform(self, context: LaunchContext) -> str:
        try:
            return self.find(perform_substitutions(context, self.package))
        except (PackageNotFoundError, ValueError) as error:
            raise SubstitutionFailure(str(error).strip('"')) from None


class FindPackagePrefix(FindPackage):
    """The prefix that a package is installed in."""

    def find(self, package_name: str) -> str:
        return get_package_prefix(package_name)


class FindPackageShare(FindPackage):
    """The share directory of a package."""

    def find(self, package_name: str) -> str:
        return get_package_share_directory(package_name)


class ExecutableInPackage(FindPackagePrefix):
    """The path of an executable in `lib/<package>` of a package."""

    def __init__(self, executable: Any, package: Any) -> None:
        super().__init__(package)
        self.executable = normalize_to_list_of_substitutions(executable)

    def describe(self) -> str:
        executable = " + ".join(sub.describe() for sub in self.executable)
        package = " + ".join(sub.describe() for sub in self.package)
        return f"ExecInPkg(pkg={package}, exec={executable})"

    def perform(self, context: LaunchContext) -> str:
        prefix = super().perform(context)
        package = perform_substitutions(context, self.package)
        executable = perform_substitutions(context, self.executable)
        directory = os.path.join(prefix, "lib", package)
        if not os.path.isdir(directory):
            raise SubstitutionFailure(
                f"package '{package}' found at '{prefix}', but libexec directory '{directory}' "
                "does not exist"
            )
        path = os.path.join(directory, executable)
        if not os.path.isfile(path):
            found = ", ".join(sorted(os.listdir(directory))) or "none"
            raise SubstitutionFailure(
                f"executable '{executable}' not found on the libexec directory '{directory}' "
                f"(there: {found})"
            )
        if not os.access(path, os.X_OK):
            raise SubstitutionFailure(f"'{path}' is not executable (chmod +x makes it so)")
        return path
