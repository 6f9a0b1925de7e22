"""Types of arguments that take one entity or several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .launch_description_entity import LaunchDescriptionEntity

SomeEntitiesType = LaunchDescriptionEntity | Iterable[LaunchDescriptionEntity]
SomeActionsType = SomeEntitiesType


def to_entity_list(entities: Any) -> list[LaunchDescriptionEntity]:
    """Turn None, one entity or an iterable of them (None among them is left out) into a list.

    Raises:
        RuntimeError: Something in it is no entity.
    """
    if entities is None:
        return []
    if isinstance(entities, LaunchDescriptionEntity):
        return [entities]
    result = [entity for entity in entities if entity is not None]
    for entity in result:
        if not isinstance(entity, LaunchDescriptionEntity):
            raise RuntimeError(f"expected a launch entity (an action), got {entity!r}")
    return result
