"""Turns the parameters of a launch file into what a node reads."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from launch import LaunchContext
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch.utilities import resolve
from launch.utilities.type_utils import coerce, is_text, perform_typed_substitution

from ..parameter_descriptions import Parameter, ParameterFile, ParameterValue

__all__ = [
    "evaluate_parameter_dict",
    "evaluate_parameters",
    "expand_file",
    "make_namespace_absolute",
    "prefix_namespace",
    "write_temporary_file",
]


def evaluate_parameter_dict(
    context: LaunchContext, parameters: Mapping[Any, Any], prefix: str = ""
) -> dict[str, Any]:
    """The parameters with their values, nested dictionaries flattened to `outer.inner`.

    Substitutions are typed by YAML rules (`ParameterValue` gives the type); other values keep
    theirs.

    Raises:
        RuntimeError: A value has no type that a parameter can have.
    """
    result: dict[str, Any] = {}
    for key, value in parameters.items():
        name = prefix + resolve(context, key)
        if isinstance(value, Mapping):
            result.update(evaluate_parameter_dict(context, value, name + "."))
            continue
        try:
            result[name] = _evaluate(context, value)
        except ValueError as error:
            raise RuntimeError(f"parameter '{name}': {error}") from None
    return result


def _evaluate(context: LaunchContext, value: Any) -> Any:
    if isinstance(value, ParameterValue):
        return value.evaluate(context)
    if is_text(value):
        return perform_typed_substitution(context, value)
    if isinstance(value, (list, tuple)):
        items = [
            resolve(context, item) if isinstance(item, (list, tuple)) else _evaluate(context, item)
            for item in value
        ]
        uniform = len({type(item) for item in items}) == 1
        if not uniform and not all(type(item) in (int, float) for item in items):
            items = [str(item) for item in items]
        return coerce(items, None)
    if isinstance(value, Path):
        return str(value)
    return coerce(value, None)


def evaluate_parameters(context: LaunchContext, parameters: Any) -> list[Path]:
    """The parameter files for a node, in order.

    Args:
        context: The context.
        parameters: A list of dictionaries, paths, `Parameter` and `ParameterFile`.

    Returns:
        Paths; a dictionary has become a file with a `/**:` section.

    Raises:
        RuntimeError: A file does not exist, or a value is not valid.
    """
    if isinstance(parameters, (str, Mapping)):
        raise TypeError(f"expected a list of parameters, got {parameters!r}")
    files: list[Path] = []
    for item in parameters:
        if isinstance(item, Mapping):
            files.append(_write_section(evaluate_parameter_dict(context, item)))
        elif isinstance(item, Parameter):
            files.append(_write_section(dict([item.evaluate(context)])))
        else:
            item = item if isinstance(item, ParameterFile) else ParameterFile(item)
            path = item.evaluate(context)
            if not path.is_file():
                raise RuntimeError(f"parameter file '{path}' does not exist")
            files.append(path)
    return files


def _write_section(parameters: dict[str, Any]) -> Path:
    return write_temporary_file(
        yaml.safe_dump({"/**": {"ros__parameters": parameters}}, default_flow_style=False)
    )


def write_temporary_file(text: str) -> Path:
    """Write a parameter file that goes away when the launch ends."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="launch_params_", suffix=".yaml", delete=False
    ) as file:
        file.write(text)
    atexit.register(_remove, file.name)
    return Path(file.name)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def expand_file(context: LaunchContext, path: Path) -> str:
    """The text of a file with `$(var name)` and `$(env NAME)` replaced."""

    def expand(match: re.Match[str]) -> str:
        kind, name = match.groups()
        substitution = LaunchConfiguration(name) if kind == "var" else EnvironmentVariable(name)
        return substitution.perform(context)

    return re.sub(r"\$\((var|env)\s+([^\s)]+)\)", expand, path.read_text())


def make_namespace_absolute(namespace: str) -> str:
    """The namespace with a slash in front and none at the end."""
    return "/" + namespace.strip("/")


def prefix_namespace(base: str | None, namespace: str | None) -> str | None:
    """A namespace below another; an absolute one stands alone."""
    if not namespace:
        return base
    if namespace.startswith("/") or not base:
        return namespace
    return base.rstrip("/") + "/" + namespace
