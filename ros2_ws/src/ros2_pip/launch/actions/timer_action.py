"""`TimerAction`: actions that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from ..action import Action
from ..event_handler import EventHandler
from ..event_handlers import OnShutdown
from ..events import TimerEvent
from ..launch_context import LaunchContext
from ..launch_description_entity import LaunchDescriptionEntity
from ..utilities.type_utils import perform_typed_substitution
from .opaque_function import OpaqueFunction


class TimerAction(Action):
    """Carries out actions after a period.

    Args:
        period: Seconds.
        actions: The actions.
        cancel_on_shutdown: Whether they are dropped when the launch ends before.
    """

    def __init__(
        self,
        *,
        period: Any,
        actions: Iterable[LaunchDescriptionEntity],
        cancel_on_shutdown: Any = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.period = period
        self.actions = list(actions)
        self.__cancel_on_shutdown = cancel_on_shutdown
        self.__future: asyncio.Future[None] | None = None
        self.__timer: asyncio.TimerHandle | None = None

    def describe_conditional_sub_entities(
        self,
    ) -> list[tuple[str, list[LaunchDescriptionEntity]]]:
        return [(f"after {self.period} seconds", self.actions)]

    def get_asyncio_future(self) -> asyncio.Future[None] | None:
        return self.__future

    def cancel(self) -> None:
        """Drop the actions, if they are still waiting."""
        if self.__future is not None and not self.__future.done():
            self.__future.set_result(None)
        if self.__timer is not None:
            self.__timer.cancel()

    def execute(self, context: LaunchContext) -> None:
        if context.is_shutdown and self.__cancel_on_shutdown:
            return
        loop = context.asyncio_loop
        assert loop is not None, "TimerAction needs a launch that runs"
        file_locals = context.get_locals_as_dict()

        def fire() -> None:
            context.emit_event_sync(TimerEvent(timer_action=self))
            self.cancel()

        def on_event(context: LaunchContext) -> list[LaunchDescriptionEntity]:
            context.extend_locals(file_locals)
            return self.actions

        context.register_event_handler(
            EventHandler(
                matcher=lambda event: isinstance(event, TimerEvent) and event.timer_action is self,
                entities=OpaqueFunction(function=on_event),
                handle_once=True,
            )
        )
        if perform_typed_substitution(context, self.__cancel_on_shutdown, bool):
            context.register_event_handler(OnShutdown(on_shutdown=lambda *_: self.cancel()))
        self.__future = loop.create_future()
        seconds = perform_typed_substitution(context, self.period, float)
        self.__timer = loop.call_later(seconds, fire)
