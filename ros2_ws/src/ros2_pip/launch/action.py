"""`Action`: an entity that does something, if its condition holds."""

from __future__ import annotations

from .condition import Condition
from .launch_context import LaunchContext
from .launch_description_entity import LaunchDescriptionEntity


class Action(LaunchDescriptionEntity):
    """Base of all actions; a subclass overrides `execute`.

    Args:
        condition: The action does nothing where this evaluates to false.
    """

    def __init__(self, *, condition: Condition | None = None) -> None:
        self.__condition = condition

    @property
    def condition(self) -> Condition | None:
        """The condition given at construction."""
        return self.__condition

    def describe(self) -> str:
        return f"{type(self).__name__}({hex(id(self))})"

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        """The entities that this action holds, whether they are visited or not."""
        return []

    def describe_sub_entities(self) -> list[LaunchDescriptionEntity]:
        return self.get_sub_entities() if self.__condition is None else []

    def describe_conditional_sub_entities(
        self,
    ) -> list[tuple[str, list[LaunchDescriptionEntity]]]:
        if self.__condition is None:
            return []
        return [("Conditionally included by " + self.describe(), self.get_sub_entities())]

    def visit(self, context: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        """Execute the action if its condition holds."""
        if self.__condition is None or self.__condition.evaluate(context):
            return self.execute(context)
        return None

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        """Do the work; return entities to visit next, or None."""
        return None
