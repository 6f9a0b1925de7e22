"""The base of everything that can stand in a launch description."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .launch_context import LaunchContext


class LaunchDescriptionEntity:
    """Something that is visited once when the launch description is carried out."""

    def visit(self, context: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        """Do the work and return the entities to visit next, in order."""
        raise NotImplementedError("visit() is to be overridden")

    def describe(self) -> str:
        """One line about this entity, for `ros2 launch -p`."""
        return self.__repr__()

    def describe_sub_entities(self) -> list[LaunchDescriptionEntity]:
        """The entities below this one that are visited in any case."""
        return []

    def describe_conditional_sub_entities(
        self,
    ) -> list[tuple[str, list[LaunchDescriptionEntity]]]:
        """The entities below this one that may be visited, each list with the reason in words."""
        return []

    def get_asyncio_future(self) -> asyncio.Future[None] | None:
        """A future that is done when the work that `visit` began is done; None if it is already."""
        return None
