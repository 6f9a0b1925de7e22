"""`LaunchDescription`: the list of what is to be launched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .launch_context import LaunchContext
from .launch_description_entity import LaunchDescriptionEntity

if TYPE_CHECKING:
    from .actions import DeclareLaunchArgument


class LaunchDescription(LaunchDescriptionEntity):
    """Entities that are visited in order.

    Args:
        initial_entities: The first entities; `add_action` adds more.
        deprecated_reason: Why a file should no longer be used; shown as a warning when it is.
    """

    def __init__(
        self,
        initial_entities: Iterable[LaunchDescriptionEntity] | None = None,
        *,
        deprecated_reason: str | None = None,
    ) -> None:
        self.__entities = list(initial_entities or [])
        self.__deprecated_reason = deprecated_reason

    @property
    def entities(self) -> list[LaunchDescriptionEntity]:
        """The entities, in order."""
        return self.__entities

    @property
    def deprecated_reason(self) -> str | None:
        """Why this description should not be used, or None."""
        return self.__deprecated_reason

    def visit(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        """Return the entities."""
        if self.__deprecated_reason:
            from .logging import get_logger

            get_logger("launch").warning(
                f"this launch description is deprecated: {self.__deprecated_reason}"
            )
        return self.__entities

    def describe_sub_entities(self) -> list[LaunchDescriptionEntity]:
        return self.__entities

    def get_launch_arguments(
        self, conditional_inclusion: bool = False
    ) -> list[DeclareLaunchArgument]:
        """The arguments declared in here and in the files included, each name once.

        An argument that is only reached under a condition has `_conditionally_included` set.
        """
        from .actions import DeclareLaunchArgument

        found: dict[str, DeclareLaunchArgument] = {}

        def walk(entities: Iterable[LaunchDescriptionEntity], conditional: bool) -> None:
            for entity in entities:
                if isinstance(entity, DeclareLaunchArgument):
                    entity._conditionally_included = conditional or entity.condition is not None
                    found.setdefault(entity.name, entity)
                else:
                    walk(entity.describe_sub_entities(), conditional)
                    for _, conditionals in entity.describe_conditional_sub_entities():
                        walk(conditionals, True)

        walk(self.__entities, conditional_inclusion)
        return list(found.values())

    def add_entity(self, entity: LaunchDescriptionEntity) -> None:
        """Add an entity at the end."""
        self.__entities.append(entity)

    def add_action(self, action: LaunchDescriptionEntity) -> None:
        """Add an action at the end."""
        self.add_entity(action)
