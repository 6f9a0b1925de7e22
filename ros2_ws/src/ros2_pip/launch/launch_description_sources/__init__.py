"""Launch descriptions read from Python files."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from ..launch_description import LaunchDescription
from ..launch_description_source import LaunchDescriptionSource

__all__ = [
    "AnyLaunchDescriptionSource",
    "InvalidPythonLaunchFileError",
    "PythonLaunchDescriptionSource",
    "get_launch_description_from_any_launch_file",
    "get_launch_description_from_python_launch_file",
    "load_python_launch_file_as_module",
]


class InvalidPythonLaunchFileError(RuntimeError):
    """A Python launch file without a usable `generate_launch_description`."""


def load_python_launch_file_as_module(python_launch_file_path: str) -> ModuleType:
    """Run a Python launch file as a module of its own.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not Path(python_launch_file_path).is_file():
        raise FileNotFoundError(f"launch file '{python_launch_file_path}' was not found")
    loader = SourceFileLoader("python_launch_file", str(python_launch_file_path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def get_launch_description_from_python_launch_file(
    python_launch_file_path: str,
) -> LaunchDescription:
    """The launch description that `generate_launch_description()` of the file returns.

    Raises:
        InvalidPythonLaunchFileError: The file has no such function, or it returns something else.
    """
    module = load_python_launch_file_as_module(python_launch_file_path)
    generate: Callable[[], Any] | None = getattr(module, "generate_launch_description", None)
    if generate is None:
        raise InvalidPythonLaunchFileError(
            f"launch file at '{python_launch_file_path}' does not contain the required function "
            "'generate_launch_description()'"
        )
    description = generate()
    if not isinstance(description, LaunchDescription):
        raise InvalidPythonLaunchFileError(
            f"launch file at '{python_launch_file_path}': generate_launch_description() returned "
            f"{description!r}, not a LaunchDescription"
        )
    return description


def get_launch_description_from_any_launch_file(launch_file_path: str) -> LaunchDescription:
    """As for Python files; there are no other kinds here.

    Raises:
        InvalidPythonLaunchFileError: The file is not a Python file.
    """
    if Path(launch_file_path).suffix in (".xml", ".yaml", ".yml"):
        raise InvalidPythonLaunchFileError(
            f"'{launch_file_path}': XML and YAML launch files need the official launch package; "
            "this stand-in reads Python launch files"
        )
    return get_launch_description_from_python_launch_file(launch_file_path)


class PythonLaunchDescriptionSource(LaunchDescriptionSource):
    """A Python launch file.

    Args:
        launch_file_path: The file, as text, path or substitutions.
    """

    def __init__(self, launch_file_path: Any) -> None:
        super().__init__(None, launch_file_path, "interpreted python launch file")

    def _get_launch_description(self, location: str) -> LaunchDescription:
        return get_launch_description_from_python_launch_file(location)


class AnyLaunchDescriptionSource(LaunchDescriptionSource):
    """A launch file of any kind that is supported; here that is Python.

    Args:
        launch_file_path: The file, as text, path or substitutions.
    """

    def __init__(self, launch_file_path: Any) -> None:
        super().__init__(None, launch_file_path, "launch file")

    def _get_launch_description(self, location: str) -> LaunchDescription:
        return get_launch_description_from_any_launch_file(location)
