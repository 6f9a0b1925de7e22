"""`LaunchContext`: the state of a launch that runs."""

from __future__ import annotations

import asyncio
import collections
import os
from collections.abc import Iterable, MutableMapping
from types import SimpleNamespace
from typing import Any

from .event import Event
from .event_handler import BaseEventHandler
from .substitution import Substitution


class LaunchContext:
    """What actions and substitutions see and change while the launch runs.

    Not thread-safe: only the thread that runs the launch touches it (`LaunchService` has the
    thread-safe entry points).

    Args:
        argv: The launch arguments as the user typed them.
        noninteractive: No terminal sends Ctrl-C to the processes.
    """

    def __init__(self, *, argv: Iterable[str] | None = None, noninteractive: bool = False) -> None:
        self.argv = list(argv or [])
        self.noninteractive = noninteractive
        self.environment: MutableMapping[str, str] = os.environ
        self.is_shutdown = False
        self.asyncio_loop: asyncio.AbstractEventLoop | None = None
        self.wake = asyncio.Event()
        self.events: collections.deque[Event] = collections.deque()
        self._configurations: list[dict[str, Any]] = [{}]
        self._environments: list[dict[str, str]] = []
        self._locals: list[dict[str, Any]] = [{}]
        self._globals: dict[str, Any] = {}
        self._event_handlers: list[BaseEventHandler] = []

    # -- launch configurations, one scope upon another
    @property
    def launch_configurations(self) -> dict[str, Any]:
        """The launch configurations of the current scope, name to text; change them in place."""
        return self._configurations[-1]

    def _push_launch_configurations(self) -> None:
        self._configurations.append(dict(self._configurations[-1]))

    def _pop_launch_configurations(self) -> None:
        self._configurations.pop()

    # -- the environment
    def _push_environment(self) -> None:
        self._environments.append(dict(self.environment))

    def _pop_environment(self) -> None:
        saved = self._environments.pop()
        for name in set(self.environment) - set(saved):
            del self.environment[name]
        self.environment.update(saved)

    # -- names that event handlers and files put in scope
    @property
    def locals(self) -> SimpleNamespace:
        """The names in scope, as attributes (`context.locals.event`)."""
        return SimpleNamespace(**self.get_locals_as_dict())

    def get_locals_as_dict(self) -> dict[str, Any]:
        """The names in scope: the globals and over them the locals."""
        return {**self._globals, **self._locals[-1]}

    def extend_globals(self, extension: dict[str, Any]) -> None:
        """Add names that are in scope everywhere."""
        self._globals.update(extension)

    def extend_locals(self, extension: dict[str, Any]) -> None:
        """Add names to the current scope."""
        self._locals[-1].update(extension)

    def _push_locals(self) -> None:
        self._locals.append(dict(self._locals[-1]))

    def _pop_locals(self) -> None:
        self._locals.pop()

    # -- events
    @property
    def event_handlers(self) -> tuple[BaseEventHandler, ...]:
        """The registered handlers, the newest first."""
        return tuple(self._event_handlers)

    def register_event_handler(self, event_handler: BaseEventHandler, append: bool = False) -> None:
        """Add a handler, before the others unless `append`."""
        if append:
            self._event_handlers.append(event_handler)
        else:
            self._event_handlers.insert(0, event_handler)

    def unregister_event_handler(self, event_handler: BaseEventHandler) -> None:
        """Remove a handler.

        Raises:
            ValueError: It is not registered.
        """
        self._event_handlers.remove(event_handler)

    def emit_event_sync(self, event: Event) -> None:
        """Queue an event; it is handled after what goes on now."""
        self.events.append(event)
        self.wake.set()

    async def emit_event(self, event: Event) -> None:
        """Queue an event."""
        self.emit_event_sync(event)

    def perform_substitution(self, sub: Substitution) -> str:
        """The text of a substitution in this context."""
        return sub.perform(self)
