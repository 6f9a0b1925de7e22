"""Actions about events: emit one, handle them, end the launch."""

from __future__ import annotations

from typing import Any

from .. import events
from ..action import Action
from ..event import Event
from ..event_handler import BaseEventHandler
from ..launch_context import LaunchContext
from ..launch_description_entity import LaunchDescriptionEntity
from ..utilities import normalize_to_list_of_substitutions, perform_substitutions


class EmitEvent(Action):
    """Emits an event."""

    def __init__(self, *, event: Event, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event = event

    def execute(self, context: LaunchContext) -> None:
        context.emit_event_sync(self.event)


class RegisterEventHandler(Action):
    """Registers an event handler."""

    def __init__(self, event_handler: BaseEventHandler, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event_handler = event_handler

    def execute(self, context: LaunchContext) -> None:
        context.register_event_handler(self.event_handler)

    def describe_conditional_sub_entities(
        self,
    ) -> list[tuple[str, list[LaunchDescriptionEntity]]]:
        description, entities = self.event_handler.describe()
        return [(description, entities)] if entities else []


class UnregisterEventHandler(Action):
    """Removes an event handler."""

    def __init__(self, event_handler: BaseEventHandler, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event_handler = event_handler

    def execute(self, context: LaunchContext) -> None:
        context.unregister_event_handler(self.event_handler)


class Shutdown(Action):
    """Ends the launch and all its processes.

    Args:
        reason: Why, in words.
    """

    def __init__(self, *, reason: Any = "reason not given", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reason = normalize_to_list_of_substitutions(reason)

    def execute(self, context: LaunchContext) -> None:
        reason = perform_substitutions(context, self.reason)
        context.emit_event_sync(events.Shutdown(reason=reason))
