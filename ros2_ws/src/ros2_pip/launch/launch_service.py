"""`LaunchService`: carries launch descriptions out and runs until all is done."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

from .event import Event
from .event_handlers import OnIncludeLaunchDescription
from .events import IncludeLaunchDescription, Shutdown
from .launch_context import LaunchContext
from .launch_description import LaunchDescription
from .launch_description_entity import LaunchDescriptionEntity
from .logging import get_logger, launch_config
from .some_entities_type import to_entity_list


class LaunchService:
    """Runs launch descriptions.

    Events are handled one after another, in order. The service sleeps while there is none.

    Args:
        argv: The launch arguments as the user typed them, for `LaunchContext.argv`.
        noninteractive: No terminal sends Ctrl-C to the processes; here it makes no difference.
        debug: Log more, and the traceback of an error.
    """

    def __init__(
        self,
        *,
        argv: Iterable[str] | None = None,
        noninteractive: bool = False,
        debug: bool = False,
    ) -> None:
        self.__debug = debug
        if debug:
            launch_config.level = logging.DEBUG
        self.__context = LaunchContext(argv=argv, noninteractive=noninteractive)
        self.__context.register_event_handler(OnIncludeLaunchDescription())
        self.__loop: asyncio.AbstractEventLoop | None = None
        self.__lock = threading.Lock()
        self.__futures: list[asyncio.Future[Any]] = []
        self.__return_code = 0
        self.__interrupted = False
        self.__logger = get_logger("launch")

    @property
    def context(self) -> LaunchContext:
        """The context; only for the thread that runs the service."""
        return self.__context

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop while the service runs."""
        return self.__loop

    # -- thread-safe
    def emit_event(self, event: Event) -> None:
        """Queue an event; may be called from any thread, also before `run`."""
        with self.__lock:
            if self.__loop is None:
                self.__context.events.append(event)
            else:
                self.__loop.call_soon_threadsafe(self.__context.emit_event_sync, event)

    def include_launch_description(self, launch_description: LaunchDescription) -> None:
        """Carry out a launch description; may be called from any thread, also before `run`."""
        self.emit_event(IncludeLaunchDescription(launch_description))

    def shutdown(self, force_sync: bool = False) -> None:
        """End the launch; may be called from any thread."""
        self.emit_event(Shutdown(reason="LaunchService.shutdown() called"))

    # -- the run
    def run(self, *, shutdown_when_idle: bool = True) -> int:
        """Run until all processes have ended.

        Args:
            shutdown_when_idle: Return when there is nothing left to wait for; else only after a
                shutdown.

        Returns:
            0, or 1 after an error in the launch itself.
        """
        return asyncio.run(self.run_async(shutdown_when_idle=shutdown_when_idle))

    async def run_async(self, *, shutdown_when_idle: bool = True) -> int:
        """As `run`, in a running event loop."""
        context = self.__context
        with self.__lock:
            self.__loop = context.asyncio_loop = asyncio.get_running_loop()
        self.__return_code = 0
        context.is_shutdown = False
        context.wake.set()
        try:
            with self.__signals():
                while True:
                    while context.events:
                        self.__process(context.events.popleft())
                    self.__collect_done()
                    if context.events:
                        continue
                    if not self.__futures:
                        if context.is_shutdown:
                            return self.__return_code
                        if shutdown_when_idle:
                            context.emit_event_sync(Shutdown(reason="idle"))
                            continue
                    context.wake.clear()
                    await context.wake.wait()
        finally:
            with self.__lock:
                self.__loop = context.asyncio_loop = None

    def __process(self, event: Event) -> None:
        self.__logger.debug(f"event {type(event).__name__}")
        if isinstance(event, Shutdown):
            if self.__context.is_shutdown:
                return
            self.__context.is_shutdown = True
        for handler in self.__context.event_handlers:
            try:
                if not handler.matches(event):
                    continue
                self.__context._push_locals()
                try:
                    for entity in to_entity_list(handler.handle(event, self.__context)):
                        self.__visit(entity)
                finally:
                    self.__context._pop_locals()
            except Exception as error:
                self.__fail(error)

    def __visit(self, entity: LaunchDescriptionEntity) -> None:
        for sub_entity in to_entity_list(entity.visit(self.__context)):
            self.__visit(sub_entity)
        future = entity.get_asyncio_future()
        if future is not None and future not in self.__futures:
            self.__futures.append(future)
            future.add_done_callback(lambda _: self.__context.wake.set())

    def __collect_done(self) -> None:
        done = [future for future in self.__futures if future.done()]
        self.__futures = [future for future in self.__futures if not future.done()]
        for future in done:
            if not future.cancelled() and (error := future.exception()) is not None:
                self.__fail(error)

    def __fail(self, error: BaseException) -> None:
        """Report an error in the launch itself as one line on stderr, and end."""
        text = describe_error(error)
        if self.__debug:
            text += "\n" + "".join(traceback.format_exception(error)).rstrip()
            hint = ""
        else:
            hint = " (see debug for traceback)"
        line = f"[ERROR] [launch]: Caught exception in launch{hint}: {text}"
        print(line, file=sys.stderr, flush=True)
        record = logging.LogRecord("launch", logging.ERROR, "", 0, line, None, None)
        launch_config.handler("launch.log", raw=True).handle(record)
        self.__return_code = 1
        self.__context.emit_event_sync(Shutdown(reason=f"Caught exception in launch: {text}"))

    # -- signals
    @contextlib.contextmanager
    def __signals(self) -> Iterator[None]:
        """Handle Ctrl-C, SIGTERM, SIGQUIT and SIGHUP while in here; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT]
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not under nohup
            numbers.append(signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            loop.add_signal_handler(number, self.__on_signal, number)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    def __on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGINT:
            what, text = "ctrl-c (SIGINT)", "user interrupted with ctrl-c (SIGINT)"
        else:
            what, text = number.name, f"asked to end with {number.name}"
        if self.__context.is_shutdown or self.__interrupted:
            self.__logger.warning(f"{text} again, ignoring...")
            return
        self.__interrupted = True
        self.__logger.warning(text)
        self.__context.emit_event_sync(Shutdown(reason=what, due_to_sigint=number is signal.SIGINT))


def describe_error(error: BaseException) -> str:
    """An error in one line: its text, and unless it is a RuntimeError also its type and place."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, RuntimeError):
        return text
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "/launch/" not in frame.filename or frame.filename.endswith("launch.py")
    ]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}"
