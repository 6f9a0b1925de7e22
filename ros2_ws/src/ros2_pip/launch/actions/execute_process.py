"""`ExecuteProcess`: a process that runs, prints and ends under the eyes of the launch.

Each process is the leader of a process group of its own. So Ctrl-C in the terminal reaches only the
launch, which passes exactly one SIGINT on to each group, whoever sent it and to whom; SIGTERM and
SIGKILL follow for what does not end. A process also gets SIGINT from the kernel when the launch
itself is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shlex
import signal
from collections.abc import Callable, Iterable
from typing import Any

from ..action import Action
from ..event import Event
from ..event_handler import CallbackOrEntities, EventHandler
from ..event_handlers import OnProcessExit, OnShutdown
from ..events.process import (
    ProcessExited,
    ProcessStarted,
    ProcessStderr,
    ProcessStdin,
    ProcessStdout,
    ShutdownProcess,
    SignalProcess,
)
from ..launch_context import LaunchContext
from ..launch_description_entity import LaunchDescriptionEntity
from ..logging import get_logger, get_output_loggers
from ..some_entities_type import SomeEntitiesType
from ..substitutions import LaunchConfiguration
from ..utilities import normalize_to_list_of_substitutions, perform_substitutions, resolve
from ..utilities.process import ChildProcess, start_child
from ..utilities.type_utils import perform_typed_substitution
from .opaque_function import OpaqueFunction

_counter = itertools.count(1)


class ExecuteProcess(Action):
    """Runs a command.

    Args:
        cmd: The command line as a list; each item is text, a substitution, or a list of these that
            makes one argument.
        prefix: Words put before the command (`gdb --args`).
        name: The name for the output prefix; that of the executable by default.
        cwd: The working directory.
        env: The whole environment, instead of that of the launch.
        additional_env: Variables added to the environment.
        shell: Run the command line in a shell.
        sigterm_timeout: Seconds from SIGINT to SIGTERM when it is shut down.
        sigkill_timeout: Seconds from SIGTERM to SIGKILL.
        emulate_tty: Give the process a terminal to print on.
        output: `screen`, `log`, `both` or a dictionary; see `launch.logging.get_output_loggers`.
        output_format: How a line is printed; `{this.process_description.final_name}` and `{line}`
            are known.
        cached_output: Keep what it prints for `get_stdout` and `get_stderr`.
        log_cmd: Log the command line before it is run.
        on_exit: Entities, or a callable of (event, context), for when it ends.
        respawn: Start it again when it ends.
        respawn_delay: Seconds to wait before that.
        respawn_max_retries: How often at most; negative is without limit.
    """

    def __init__(
        self,
        *,
        cmd: Iterable[Any],
        prefix: Any = None,
        name: Any = None,
        cwd: Any = None,
        env: dict[Any, Any] | None = None,
        additional_env: dict[Any, Any] | None = None,
        shell: bool = False,
        sigterm_timeout: Any = None,
        sigkill_timeout: Any = None,
        emulate_tty: bool = False,
        output: Any = "log",
        output_format: str = "[{this.process_description.final_name}] {line}",
        cached_output: bool = False,
        log_cmd: bool = False,
        on_exit: SomeEntitiesType | Callable[..., Any] | None = None,
        respawn: Any = False,
        respawn_delay: float | None = None,
        respawn_max_retries: int = -1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(cmd, str):
            raise TypeError(f"cmd is a list of arguments, got the text {cmd!r}")
        self.cmd = [normalize_to_list_of_substitutions(item) for item in cmd]
        self._prefix = (
            prefix if prefix is not None else LaunchConfiguration("launch-prefix", default="")
        )
        self._name, self._cwd, self._env, self._additional_env = name, cwd, env, additional_env
        self.shell = shell
        self.sigterm_timeout = normalize_to_list_of_substitutions(
            LaunchConfiguration("sigterm_timeout", default="5")
            if sigterm_timeout is None
            else sigterm_timeout
        )
        self.sigkill_timeout = normalize_to_list_of_substitutions(
            LaunchConfiguration("sigkill_timeout", default="5")
            if sigkill_timeout is None
            else sigkill_timeout
        )
        self.emulate_tty = emulate_tty
        self.output = os.environ.get("OVERRIDE_LAUNCH_PROCESS_OUTPUT", output)
        self._output_format = output_format
        self._cached: dict[int, list[str]] | None = {1: [], 2: []} if cached_output else None
        self._log_cmd = log_cmd
        self._on_exit = CallbackOrEntities(on_exit)
        self._respawn, self._respawn_delay = respawn, respawn_delay
        self._respawn_max_retries = respawn_max_retries

        self.process_details: dict[str, Any] | None = None
        self.process_description = self  # the official API has an object of its own for final_name
        self.final_name = ""
        self.final_cmd: list[str] = []
        self._child: ChildProcess | None = None
        self._returncode: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._send_sigint_quietly = False

    # -- what others see
    @property
    def return_code(self) -> int | None:
        """The exit code once the process has ended; negative for a signal."""
        return self._returncode

    def get_stdout(self) -> str:
        """What it printed on stdout; needs `cached_output=True`."""
        return self._get_cached(1)

    def get_stderr(self) -> str:
        """What it printed on stderr; needs `cached_output=True`."""
        return self._get_cached(2)

    def _get_cached(self, fd: int) -> str:
        if self._cached is None:
            raise RuntimeError("output is kept only with cached_output=True")
        return "".join(self._cached[fd])

    def describe(self) -> str:
        command = " ".join(" + ".join(sub.describe() for sub in item) for item in self.cmd)
        return f"{type(self).__name__}(cmd=[{command}])"

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        return self._on_exit.entities

    def get_asyncio_future(self) -> asyncio.Future[None] | None:
        return self._task

    # -- the start
    def prepare(self, context: LaunchContext) -> None:
        """Perform all substitutions."""
        cmd = [perform_substitutions(context, item) for item in self.cmd]
        self.final_cmd = shlex.split(resolve(context, self._prefix)) + cmd
        if self.shell:
            self.final_cmd = [" ".join(self.final_cmd)]
        first_word = (self.final_cmd[0].split() or [""])[0] if self.shell else self.final_cmd[0]
        name = os.path.basename(first_word) if self._name is None else resolve(context, self._name)
        self.final_name = f"{name}-{next(_counter)}"
        env = None
        if self._env is not None or self._additional_env is not None:
            env = dict(context.environment) if self._env is None else {}
            for names in (self._env or {}), (self._additional_env or {}):
                env.update({resolve(context, k): resolve(context, v) for k, v in names.items()})
        cwd = None if self._cwd is None else resolve(context, self._cwd)
        self.process_details = {
            "action": self,
            "name": self.final_name,
            "cmd": self.final_cmd,
            "cwd": cwd,
            "env": env,
        }

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        if self._task is not None:
            raise RuntimeError(f"{self.describe()}: executed more than once")
        if context.is_shutdown:
            return None
        self.prepare(context)
        output = self.output if isinstance(self.output, dict) else resolve(context, self.output)
        self._loggers = get_output_loggers(self.final_name, output)
        self._logger = get_logger(self.final_name)
        respawn = perform_typed_substitution(context, self._respawn, bool)
        emulate_tty = perform_typed_substitution(
            context, LaunchConfiguration("emulate_tty", default=str(self.emulate_tty)), bool
        )
        self._timeouts = [
            (perform_typed_substitution(context, subs, float), perform_substitutions(context, subs))
            for subs in (self.sigterm_timeout, self.sigkill_timeout)
        ]
        for handler in (
            _on(ShutdownProcess, self._on_shutdown_process),
            _on(SignalProcess, self._on_signal_process),
            _on(ProcessStdin, self._on_stdin),
            OnShutdown(on_shutdown=self._on_shutdown),
            OnProcessExit(target_action=self, on_exit=self._on_exit),
        ):
            context.register_event_handler(handler)
        assert context.asyncio_loop is not None, "ExecuteProcess needs a launch that runs"
        self._task = context.asyncio_loop.create_task(self._run(context, respawn, emulate_tty))
        return None

    async def _run(self, context: LaunchContext, respawn: bool, emulate_tty: bool) -> None:
        for attempt in itertools.count():
            if self._stopping.is_set() or not await self._run_once(context, emulate_tty):
                return
            if not respawn or context.is_shutdown or self._stopping.is_set():
                return
            if 0 <= self._respawn_max_retries <= attempt:
                return
            # Handlers of its end come first: they may end the launch.
            delay = max(self._respawn_delay or 0.0, 0.01)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _run_once(self, context: LaunchContext, emulate_tty: bool) -> bool:
        details = self.process_details
        assert details is not None
        command = " ".join(part for part in self.final_cmd if part.strip())
        if self._log_cmd:
            self._logger.info(
                f"process details: cmd='{command}', cwd='{details['cwd']}', "
                f"custom_env?={details['env'] is not None}"
            )

        def on_start(child: ChildProcess) -> None:
            self._child = child
            details["pid"] = child.pid
            self._logger.info(f"process started with pid [{child.pid}]")
            context.emit_event_sync(ProcessStarted(**details))

        def on_data(fd: int, data: bytes) -> None:
            event_type = ProcessStdout if fd == 1 else ProcessStderr
            context.emit_event_sync(event_type(text=data, **details))

        try:
            child = await start_child(
                self.final_cmd,
                shell=self.shell,
                cwd=details["cwd"],
                env=details["env"] if details["env"] is not None else dict(context.environment),
                emulate_tty=emulate_tty,
                on_start=on_start,
                on_line=self._print,
                on_data=on_data,
            )
        except OSError as error:
            self._logger.error(f"process could not be started: {error}")
            return False
        stopper = asyncio.ensure_future(self._stop_when_asked(child))
        self._returncode = await child.wait()
        stopper.cancel()
        self._child = None
        if self._returncode == 0:
            self._logger.info(f"process has finished cleanly [pid {child.pid}]")
        else:
            self._logger.error(
                f"process has died [pid {child.pid}, exit code {self._returncode}, "
                f"cmd '{command}']."
            )
        if self._returncode != 0 or self._stopping.is_set():
            child.signal_group(signal.SIGTERM)  # workers that it left behind
        context.emit_event_sync(ProcessExited(returncode=self._returncode, **details))
        return True

    def _print(self, fd: int, line: str) -> None:
        self._loggers[fd - 1].info(self._output_format.format(line=line, this=self))
        if self._cached is not None:
            self._cached[fd].append(line + "\n")

    # -- the end
    async def _stop_when_asked(self, child: ChildProcess) -> None:
        await self._stopping.wait()
        if not self._send_sigint_quietly:
            self._logger.info(f"sending signal 'SIGINT' to process[{self.final_name}]")
        child.signal_group(signal.SIGINT)
        sent = "SIGINT"
        for (seconds, text), following in zip(self._timeouts, ("SIGTERM", "SIGKILL"), strict=True):
            await asyncio.sleep(seconds)
            self._logger.error(
                f"process[{self.final_name}] failed to terminate '{text}' seconds after receiving "
                f"'{sent}', escalating to '{following}'"
            )
            child.signal_group(signal.Signals[following])
            sent = following

    def _on_shutdown(self, event: Any, context: LaunchContext) -> None:
        self._send_sigint_quietly = event.due_to_sigint
        self._stopping.set()

    def _on_shutdown_process(self, event: Any) -> None:
        if event.process_matcher(self):
            self._stopping.set()

    def _on_signal_process(self, event: Any) -> None:
        if self._child is not None and event.process_matcher(self):
            self._logger.info(f"sending signal '{event.signal_name}' to process[{self.final_name}]")
            self._child.send_signal(event.signal)

    def _on_stdin(self, event: Any) -> None:
        if self._child is not None and event.action is self:
            self._child.write(event.text)


ExecuteLocal = ExecuteProcess


def _on(event_type: type[Event], callback: Callable[[Any], None]) -> Any:
    """An event handler that calls back with events of one type."""
    return EventHandler(
        matcher=lambda event: isinstance(event, event_type),
        entities=OpaqueFunction(function=lambda context: callback(context.locals.event)),
    )
