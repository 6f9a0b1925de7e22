"""`ParameterValue`, `Parameter` and `ParameterFile`: parameters whose type is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launch import LaunchContext
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions, resolve
from launch.utilities.type_utils import perform_typed_substitution

__all__ = ["Parameter", "ParameterFile", "ParameterValue"]


class ParameterValue:
    """The value of a parameter.

    Args:
        value: The value, or substitutions.
        value_type: bool, int, float, str or a list of one of these (`List[float]`); None goes by
            YAML rules.
    """

    def __init__(self, value: Any, *, value_type: Any = None) -> None:
        self.value = value
        self.value_type = value_type

    def evaluate(self, context: LaunchContext) -> Any:
        """The value in this context.

        Raises:
            ValueError: It is not of the type asked for.
        """
        return perform_typed_substitution(context, self.value, self.value_type)


class Parameter:
    """A parameter with its name."""

    def __init__(self, name: Any, value: Any, *, value_type: Any = None) -> None:
        self.name = normalize_to_list_of_substitutions(name)
        self.__value = ParameterValue(value, value_type=value_type)

    def evaluate(self, context: LaunchContext) -> tuple[str, Any]:
        """Name and value in this context."""
        name = perform_substitutions(context, self.name)
        try:
            return name, self.__value.evaluate(context)
        except ValueError as error:
            raise RuntimeError(f"parameter '{name}': {error}") from None


class ParameterFile:
    """A parameter file.

    Args:
        param_file: The path.
        allow_substs: Whether `$(var name)` and `$(env NAME)` in the file are replaced.
    """

    def __init__(self, param_file: Any, *, allow_substs: Any = False) -> None:
        self.param_file = param_file
        self.allow_substs = allow_substs

    def evaluate(self, context: LaunchContext) -> Path:
        """The path of the file to hand to the node."""
        path = Path(resolve(context, self.param_file))
        if perform_typed_substitution(context, self.allow_substs, bool):
            from .utilities import expand_file, write_temporary_file

            return write_temporary_file(expand_file(context, path))
        return path
