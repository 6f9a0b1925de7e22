"""`DeclareLaunchArgument`: an argument of a launch file."""

from __future__ import annotations

from typing import Any

from ..action import Action
from ..launch_context import LaunchContext
from ..utilities import normalize_to_list_of_substitutions, perform_substitutions


class DeclareLaunchArgument(Action):
    """Declares an argument, whose value is then the launch configuration of the same name.

    Args:
        name: The name, plain text.
        default_value: The value where none is given; without it the argument is required.
        description: What the argument is for, plain text.
        choices: The values that are allowed.

    Raises:
        RuntimeError: `choices` is empty, or the default is not among them.
    """

    def __init__(
        self,
        name: str,
        *,
        default_value: Any = None,
        description: str | None = None,
        choices: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if choices is not None and not choices:
            raise RuntimeError(f"argument '{name}': choices is empty; use None for any value")
        if choices is not None and isinstance(default_value, str) and default_value not in choices:
            raise RuntimeError(
                f"argument '{name}': default_value '{default_value}' is not among choices {choices}"
            )
        self.name = name
        self.default_value = (
            None if default_value is None else normalize_to_list_of_substitutions(default_value)
        )
        self.choices = choices
        if description is None:
            self.description = "no description given" if choices is None else f"One of: {choices}"
        else:
            self.description = description
            if choices is not None:
                self.description += "" if description.endswith(".") else "."
                self.description += f" Valid choices are: {choices}"
        self._conditionally_included = False

    def check(self, value: str) -> None:
        """Check a value against the choices.

        Raises:
            RuntimeError: It is not among them.
        """
        if self.choices is not None and value not in self.choices:
            raise RuntimeError(
                f'Argument "{self.name}" provided value "{value}" is not valid. '
                f"Valid options are: {self.choices}"
            )

    def execute(self, context: LaunchContext) -> None:
        if self.name not in context.launch_configurations:
            if self.default_value is None:
                raise RuntimeError(
                    f'Required launch argument "{self.name}" (description: "{self.description}") '
                    "was not provided."
                )
            value = perform_substitutions(context, self.default_value)
            context.launch_configurations[self.name] = value
        self.check(str(context.launch_configurations[self.name]))
