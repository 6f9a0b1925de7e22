"""`OpaqueFunction`: a Python function as an action."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..action import Action
from ..launch_context import LaunchContext
from ..launch_description_entity import LaunchDescriptionEntity
from ..some_entities_type import to_entity_list


class OpaqueFunction(Action):
    """Calls a function with the context; the entities that it returns are visited next.

    Args:
        function: Called as `function(context, *args, **kwargs)`.
        args: More positional arguments.
        kwargs: More keyword arguments.
    """

    def __init__(
        self,
        *,
        function: Callable[..., Any],
        args: Iterable[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **left_over_kwargs: Any,
    ) -> None:
        super().__init__(**left_over_kwargs)
        self.__function = function
        self.__args = tuple(args or ())
        self.__kwargs = kwargs or {}

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        return to_entity_list(self.__function(context, *self.__args, **self.__kwargs))
