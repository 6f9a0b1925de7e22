"""Event handlers for processes and for the end of the launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .event import Event
from .event_handler import BaseEventHandler, CallbackOrEntities, EventHandler
from .events import IncludeLaunchDescription, Shutdown
from .events.process import ProcessExited, ProcessIO, ProcessStarted
from .launch_context import LaunchContext
from .launch_description_entity import LaunchDescriptionEntity
from .some_entities_type import SomeEntitiesType, to_entity_list

__all__ = [
    "EventHandler",
    "OnIncludeLaunchDescription",
    "OnProcessExit",
    "OnProcessIO",
    "OnProcessStart",
    "OnShutdown",
]


class _OnEvent(BaseEventHandler):
    """Acts on one type of event, for all processes or those that `target_action` picks."""

    _event_type: type[Event]

    def __init__(self, *, target_action: Any, reaction: Any, handle_once: bool) -> None:
        def matches(event: Event) -> bool:
            if not isinstance(event, self._event_type):
                return False
            action = getattr(event, "action", None)
            if target_action is None:
                return True
            if isinstance(target_action, LaunchDescriptionEntity):
                return action is target_action
            return bool(target_action(action))

        super().__init__(matcher=matches, handle_once=handle_once)
        self._reaction = CallbackOrEntities(reaction)

    def describe(self) -> tuple[str, list[LaunchDescriptionEntity]]:
        return super().describe()[0], self._reaction.entities

    def handle(self, event: Event, context: LaunchContext) -> SomeEntitiesType | None:
        super().handle(event, context)
        return self._reaction(event, context)


class OnProcessStart(_OnEvent):
    """Acts when a process has started: entities, or a callable of (event, context)."""

    _event_type = ProcessStarted

    def __init__(
        self, *, target_action: Any = None, on_start: Any, handle_once: bool = False
    ) -> None:
        super().__init__(target_action=target_action, reaction=on_start, handle_once=handle_once)


class OnProcessExit(_OnEvent):
    """Acts when a process has ended: entities, or a callable of (event, context)."""

    _event_type = ProcessExited

    def __init__(
        self, *, target_action: Any = None, on_exit: Any, handle_once: bool = False
    ) -> None:
        super().__init__(target_action=target_action, reaction=on_exit, handle_once=handle_once)


class OnProcessIO(_OnEvent):
    """Acts when a process prints: a callable of (event) for each of stdout and stderr."""

    _event_type = ProcessIO

    def __init__(
        self,
        *,
        target_action: Any = None,
        on_stdin: Callable[[ProcessIO], Any] | None = None,
        on_stdout: Callable[[ProcessIO], Any] | None = None,
        on_stderr: Callable[[ProcessIO], Any] | None = None,
        handle_once: bool = False,
    ) -> None:
        callbacks = (on_stdin, on_stdout, on_stderr)

        def react(event: ProcessIO, context: LaunchContext) -> Any:
            callback = callbacks[event.fd]
            return callback(event) if callback else None

        super().__init__(target_action=target_action, reaction=react, handle_once=handle_once)


class OnShutdown(_OnEvent):
    """Acts when the launch is about to end: entities, or a callable of (event, context)."""

    _event_type = Shutdown

    def __init__(self, *, on_shutdown: Any, handle_once: bool = False) -> None:
        super().__init__(target_action=None, reaction=on_shutdown, handle_once=handle_once)


class OnIncludeLaunchDescription(BaseEventHandler):
    """Visits launch descriptions that come as events; each launch service has one."""

    def __init__(self) -> None:
        super().__init__(matcher=lambda event: isinstance(event, IncludeLaunchDescription))

    def handle(self, event: Event, context: LaunchContext) -> SomeEntitiesType | None:
        super().handle(event, context)
        return to_entity_list(event.launch_description)  # type: ignore[attr-defined]
