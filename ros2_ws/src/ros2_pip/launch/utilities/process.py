"""A child process that leads a group of its own and whose output comes line by line."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import pty
import signal
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG = 1
_PIPE_GRACE_S = 0.5
"""How long output may still come after the end; a grandchild can hold the pipe open for good."""

try:
    _prctl: Any = ctypes.CDLL(None).prctl
except (OSError, AttributeError):  # not Linux: children of a launch that is killed go on
    _prctl = None


class ChildProcess(asyncio.SubprocessProtocol):
    """A running child. Made by `start_child`.

    Attributes:
        pid: Its process id, which is also the id of its group.
    """

    def __init__(
        self,
        on_start: Callable[[ChildProcess], None],
        on_line: Callable[[int, str], None],
        on_data: Callable[[int, bytes], None],
    ) -> None:
        self.pid = -1
        self._on_start, self._on_line, self._on_data = on_start, on_line, on_data
        self._partial = {1: b"", 2: b""}
        self._transport: asyncio.SubprocessTransport | None = None
        self._exited = asyncio.Event()
        self._drained = asyncio.Event()
        self._open_pipes = {1, 2}

    # -- called by asyncio
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport
        self.pid = transport.get_pid()
        self._on_start(self)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._on_data(fd, data)
        *lines, self._partial[fd] = (self._partial[fd] + data).split(b"\n")
        for line in lines:
            self._on_line(fd, line.rstrip(b"\r").decode(errors="replace"))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open_pipes.discard(fd)
        if not self._open_pipes:
            self._drained.set()

    def process_exited(self) -> None:
        self._exited.set()

    # -- called by the owner
    async def wait(self) -> int:
        """Wait for the end of process and output; return the exit code, negative for a signal."""
        await self._exited.wait()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._drained.wait(), _PIPE_GRACE_S)
        for fd, rest in self._partial.items():
            if rest:
                self._on_line(fd, rest.decode(errors="replace"))
        assert self._transport is not None
        returncode = self._transport.get_returncode()
        self._transport.close()
        assert returncode is not None
        return returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if it still runs."""
        if self._transport is not None and not self._exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                self._transport.send_signal(number)

    def signal_group(self, number: signal.Signals) -> None:
        """Send the process and all others in its group a signal."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def write(self, data: bytes) -> None:
        """Write to its stdin."""
        pipe = self._transport.get_pipe_transport(0) if self._transport else None
        if isinstance(pipe, asyncio.WriteTransport):
            pipe.write(data)


class _TerminalReader(asyncio.Protocol):
    """Passes on what a pseudo-terminal shows."""

    def __init__(self, child: ChildProcess, fd: int) -> None:
        self._child, self._fd = child, fd

    def data_received(self, data: bytes) -> None:
        self._child.pipe_data_received(self._fd, data)

    def connection_lost(self, exc: Exception | None) -> None:  # EIO: nobody has it open any more
        self._child.pipe_connection_lost(self._fd, None)


async def start_child(
    cmd: list[str],
    *,
    shell: bool,
    cwd: str | None,
    env: dict[str, str],
    emulate_tty: bool,
    on_start: Callable[[ChildProcess], None],
    on_line: Callable[[int, str], None],
    on_data: Callable[[int, bytes], None],
) -> ChildProcess:
    """Start a child.

    Args:
        cmd: The command line; one item with `shell`.
        shell: Whether a shell runs it.
        cwd: The working directory, or None for ours.
        env: The environment.
        emulate_tty: Give it pseudo-terminals instead of pipes to print on.
        on_start: Called with the child as soon as it runs, before anything else.
        on_line: Called with 1 (stdout) or 2 (stderr) and each line as soon as it is there.
        on_data: Called with 1 or 2 and the raw bytes.

    Raises:
        OSError: It cannot be started.
    """
    loop = asyncio.get_running_loop()
    launcher = os.getpid()

    def set_up_child() -> None:
        os.setpgid(0, 0)
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
            if os.getppid() != launcher:  # it was killed before the line above
                os._exit(1)

    child = ChildProcess(on_start, on_line, on_data)
    terminals = [pty.openpty(), pty.openpty()] if emulate_tty else []
    streams = [slave for _, slave in terminals] or [asyncio.subprocess.PIPE] * 2
    options: dict[str, Any] = {
        "stdin": asyncio.subprocess.PIPE,
        "stdout": streams[0],
        "stderr": streams[1],
        "cwd": cwd,
        "env": env,
        "preexec_fn": set_up_child,
    }
    try:
        if shell:
            await loop.subprocess_shell(lambda: child, cmd[0], **options)
        else:
            await loop.subprocess_exec(lambda: child, *cmd, **options)
    except BaseException:
        for master, _ in terminals:
            os.close(master)
        raise
    finally:
        for _, slave in terminals:
            os.close(slave)
    for fd, (master, _) in enumerate(terminals, start=1):
        make_reader = functools.partial(_TerminalReader, child, fd)
        await loop.connect_read_pipe(make_reader, os.fdopen(master, "rb", 0))
    return child
