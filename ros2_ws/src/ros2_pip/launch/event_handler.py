"""Event handlers: what to do when an event matches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .event import Event
from .some_entities_type import SomeEntitiesType, to_entity_list

if TYPE_CHECKING:
    from .launch_context import LaunchContext
    from .launch_description_entity import LaunchDescriptionEntity


class BaseEventHandler:
    """Base of all event handlers.

    Args:
        matcher: Whether this handler is to see the event.
        handle_once: Unregister the handler after the first event that matched.
    """

    def __init__(self, *, matcher: Callable[[Event], bool], handle_once: bool = False) -> None:
        self.__matcher = matcher
        self.__handle_once = handle_once

    @property
    def handle_once(self) -> bool:
        """Whether the handler is dropped after its first event."""
        return self.__handle_once

    @property
    def handler_description(self) -> str:
        """What the handler does, in words."""
        return type(self).__name__

    @property
    def matcher_description(self) -> str:
        """Which events the handler sees, in words."""
        return "event"

    def matches(self, event: Event) -> bool:
        """Whether this handler is to see the event."""
        return self.__matcher(event)

    def describe(self) -> tuple[str, list[LaunchDescriptionEntity]]:
        """A line for `ros2 launch -p`, and the entities that the handler holds."""
        return f"{type(self).__name__}()", []

    def handle(self, event: Event, context: LaunchContext) -> SomeEntitiesType | None:
        """Handle an event that matched; return entities to visit."""
        context.extend_locals({"event": event})
        if self.handle_once:
            context.unregister_event_handler(self)
        return None


class EventHandler(BaseEventHandler):
    """Visits fixed entities when an event matches."""

    def __init__(
        self,
        *,
        matcher: Callable[[Event], bool],
        entities: SomeEntitiesType | None = None,
        handle_once: bool = False,
    ) -> None:
        super().__init__(matcher=matcher, handle_once=handle_once)
        self.__entities = to_entity_list(entities)

    @property
    def entities(self) -> list[LaunchDescriptionEntity]:
        """The entities to visit."""
        return self.__entities

    def describe(self) -> tuple[str, list[LaunchDescriptionEntity]]:
        return super().describe()[0], self.__entities

    def handle(self, event: Event, context: LaunchContext) -> SomeEntitiesType | None:
        super().handle(event, context)
        return self.__entities


class CallbackOrEntities:
    """What `on_exit=…` and the like take: entities, or a callable that yields them."""

    def __init__(self, value: SomeEntitiesType | Callable[..., Any] | None) -> None:
        self.callback = value if callable(value) else None
        self.entities = [] if callable(value) else to_entity_list(value)

    def __call__(self, event: Event, context: LaunchContext) -> SomeEntitiesType | None:
        return self.callback(event, context) if self.callback else self.entities
