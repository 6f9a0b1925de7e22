"""Substitutions that yield text: configurations, paths, commands, expressions and more."""

from __future__ import annotations

import importlib
import os
import shlex
import shutil
import subprocess
from typing import Any

from ..launch_context import LaunchContext
from ..substitution import Substitution
from ..utilities import normalize_to_list_of_substitutions, perform_substitutions


class SubstitutionFailure(RuntimeError):
    """A substitution that could not be performed."""


def _described(subs: list[Substitution]) -> str:
    return " + ".join(sub.describe() for sub in subs)


class TextSubstitution(Substitution):
    """Plain text."""

    def __init__(self, *, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"TextSubstitution takes text, got {text!r}")
        self.text = text

    def describe(self) -> str:
        return f"'{self.text}'"

    def perform(self, context: LaunchContext) -> str:
        return self.text


class LaunchConfiguration(Substitution):
    """The value of a launch configuration, which is where launch arguments are kept.

    Args:
        variable_name: Its name.
        default: What to take where it is not set; any value is made text.
    """

    def __init__(self, variable_name: Any, *, default: Any = None) -> None:
        self.variable_name = normalize_to_list_of_substitutions(variable_name)
        self._default: list[Substitution] | None = None
        if default is not None:
            iterable = isinstance(default, (str, Substitution, os.PathLike, list, tuple))
            self._default = normalize_to_list_of_substitutions(
                default if iterable else str(default)
            )

    def describe(self) -> str:
        return f"LaunchConfiguration({_described(self.variable_name)})"

    def perform(self, context: LaunchContext) -> str:
        name = perform_substitutions(context, self.variable_name)
        value = context.launch_configurations.get(name)
        if value is not None:
            return str(value)
        if self._default is None:
            raise SubstitutionFailure(f"launch configuration '{name}' does not exist")
        return perform_substitutions(context, self._default)


class LocalSubstitution(Substitution):
    """A name that an event handler has put in scope, such as `event.reason`."""

    def __init__(self, expression: str, description: str | None = None) -> None:
        self.expression = expression
        self._description = description or expression

    def describe(self) -> str:
        return f"LocalVar('{self._description}')"

    def perform(self, context: LaunchContext) -> str:
        value: Any = context.locals
        for part in self.expression.split("."):
            value = getattr(value, part)
        return str(value)


class PathJoinSubstitution(Substitution):
    """Paths joined; each part is text, a substitution, or a list of these that makes one part."""

    def __init__(self, substitutions: Any) -> None:
        self.substitutions = [normalize_to_list_of_substitutions(part) for part in substitutions]

    def describe(self) -> str:
        return f"PathJoin({', '.join(_described(part) for part in self.substitutions)})"

    def perform(self, context: LaunchContext) -> str:
        parts = [perform_substitutions(context, part) for part in self.substitutions]
        return os.path.join(*parts) if parts else ""


class EnvironmentVariable(Substitution):
    """The value of an environment variable."""

    def __init__(self, name: Any, *, default_value: Any = None) -> None:
        self.name = normalize_to_list_of_substitutions(name)
        self._default = (
            None if default_value is None else normalize_to_list_of_substitutions(default_value)
        )

    def describe(self) -> str:
        return f"EnvVar({_described(self.name)})"

    def perform(self, context: LaunchContext) -> str:
        name = perform_substitutions(context, self.name)
        value = context.environment.get(name)
        if value is not None:
            return value
        if self._default is None:
            raise SubstitutionFailure(f"environment variable '{name}' does not exist")
        return perform_substitutions(context, self._default)


class FindExecutable(Substitution):
    """The path of an executable on PATH."""

    def __init__(self, *, name: Any) -> None:
        self.name = normalize_to_list_of_substitutions(name)

    def describe(self) -> str:
        return f"FindExec({_described(self.name)})"

    def perform(self, context: LaunchContext) -> str:
        name = perform_substitutions(context, self.name)
        path = shutil.which(name)
        if path is None:
            raise SubstitutionFailure(f"executable '{name}' not found on the PATH")
        return path


class PythonExpression(Substitution):
    """The value of a Python expression, as text.

    The launch file is Python itself, so this evaluates nothing that its author could not run
    anyway.

    Args:
        expression: The expression, text and substitutions to be joined.
        python_modules: Modules whose names the expression uses; those of `math` need no module
            name.
    """

    def __init__(self, expression: Any, python_modules: Any = ("math",)) -> None:
        self.expression = normalize_to_list_of_substitutions(expression)
        self._modules = [normalize_to_list_of_substitutions(name) for name in python_modules]

    def describe(self) -> str:
        return f"PythonExpr({_described(self.expression)})"

    def perform(self, context: LaunchContext) -> str:
        names: dict[str, Any] = {}
        for module_name in (perform_substitutions(context, module) for module in self._modules):
            module = importlib.import_module(module_name)
            names[module_name] = module
            if module_name == "math":
                names.update(vars(module))
        expression = perform_substitutions(context, self.expression)
        try:
            return str(eval(expression, {}, names))
        except Exception as error:
            raise SubstitutionFailure(f"Python expression '{expression}': {error}") from error


class ThisLaunchFile(Substitution):
    """The path of the launch file that this stands in."""

    def describe(self) -> str:
        return "ThisLaunchFile()"

    def perform(self, context: LaunchContext) -> str:
        path = context.get_locals_as_dict().get("current_launch_file_path")
        if path is None:
            raise SubstitutionFailure("ThisLaunchFile used outside of a launch file (in a script)")
        return str(path)


class ThisLaunchFileDir(Substitution):
    """The directory of the launch file that this stands in."""

    def describe(self) -> str:
        return "ThisLaunchFileDir()"

    def perform(self, context: LaunchContext) -> str:
        path = context.get_locals_as_dict().get("current_launch_file_directory")
        if path is None:
            raise SubstitutionFailure(
                "ThisLaunchFileDir used outside of a launch file (in a script)"
            )
        return str(path)


class LaunchLogDir(Substitution):
    """The log directory of this launch."""

    def describe(self) -> str:
        return "LaunchLogDir()"

    def perform(self, context: LaunchContext) -> str:
        from ..logging import launch_config

        return launch_config.log_dir


class Command(Substitution):
    """What a command prints.

    Args:
        command: The command line, text and substitutions to be joined.
        on_stderr: What to do if it prints on stderr: `fail`, `ignore`, `warn` or `capture`.
    """

    def __init__(self, command: Any, *, on_stderr: Any = "fail") -> None:
        self.command = normalize_to_list_of_substitutions(command)
        self._on_stderr = normalize_to_list_of_substitutions(on_stderr)

    def describe(self) -> str:
        return f"Command({_described(self.command)})"

    def perform(self, context: LaunchContext) -> str:
        command = perform_substitutions(context, self.command)
        on_stderr = perform_substitutions(context, self._on_stderr)
        if on_stderr not in ("fail", "ignore", "warn", "capture"):
            raise SubstitutionFailure(
                f"on_stderr='{on_stderr}' is not one of fail, ignore, warn, capture"
            )
        stderr = subprocess.STDOUT if on_stderr == "capture" else subprocess.PIPE
        try:
            result = subprocess.run(
                shlex.split(command), stdout=subprocess.PIPE, stderr=stderr, text=True, check=False
            )
        except OSError as error:
            raise SubstitutionFailure(f"command '{command}' could not be run: {error}") from error
        if result.returncode != 0:
            raise SubstitutionFailure(
                f"command '{command}' failed with exit code {result.returncode}: {result.stderr}"
            )
        if result.stderr and on_stderr == "fail":
            raise SubstitutionFailure(
                f"command '{command}' printed on stderr (on_stderr='ignore' allows it): "
                f"{result.stderr}"
            )
        if result.stderr and on_stderr == "warn":
            from ..logging import get_logger

            get_logger("launch").warning(f"command '{command}' printed on stderr: {result.stderr}")
        return result.stdout
