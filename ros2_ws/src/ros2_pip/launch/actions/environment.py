"""Actions that change the environment that processes started later get."""

from __future__ import annotations

import os
from typing import Any

from ..action import Action
from ..launch_context import LaunchContext
from ..utilities import normalize_to_list_of_substitutions, perform_substitutions, resolve
from ..utilities.type_utils import perform_typed_substitution


class SetEnvironmentVariable(Action):
    """Sets an environment variable."""

    def __init__(self, name: Any, value: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = normalize_to_list_of_substitutions(name)
        self.value = normalize_to_list_of_substitutions(value)

    def execute(self, context: LaunchContext) -> None:
        name = perform_substitutions(context, self.name)
        context.environment[name] = perform_substitutions(context, self.value)


class AppendEnvironmentVariable(Action):
    """Adds text at the end (or the front, `prepend=True`) of an environment variable.

    Args:
        name: The variable.
        value: The text.
        prepend: Whether to add it at the front.
        separator: What stands between; the one of PATH by default.
    """

    def __init__(
        self,
        name: Any,
        value: Any,
        prepend: Any = False,
        separator: Any = os.pathsep,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = normalize_to_list_of_substitutions(name)
        self.value = normalize_to_list_of_substitutions(value)
        self.prepend = prepend
        self.separator = normalize_to_list_of_substitutions(separator)

    def execute(self, context: LaunchContext) -> None:
        name = perform_substitutions(context, self.name)
        parts = [perform_substitutions(context, self.value)]
        if context.environment.get(name):
            prepend = perform_typed_substitution(context, self.prepend, bool)
            parts.insert(1 if prepend else 0, context.environment[name])
        context.environment[name] = resolve(context, self.separator).join(parts)


class UnsetEnvironmentVariable(Action):
    """Removes an environment variable, if it is there."""

    def __init__(self, name: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = normalize_to_list_of_substitutions(name)

    def execute(self, context: LaunchContext) -> None:
        context.environment.pop(perform_substitutions(context, self.name), None)
