"""The launched system, as benchmarks start it, and its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # s for its end
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PROCESSES = {
    "sim": b"lib/mbrl/sim",
    "controller": b"lib/mbrl/controller",
    "planner": b"mbrl_node.control.plan_server",
    "learner": b"lib/mbrl/learner",
    "view": b"lib/mbrl/view",
}


@contextlib.contextmanager
def launched(
    log: Path, domain: int, *arguments: str, **named: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """`ros2 launch mbrl bringup.launch.py` in a session of its own, ended with Ctrl-C if it has not
    ended before.

    Args:
        log: what it prints; its folder is that of ROS' own logs.
        arguments, named: of the launch file, `name:=value` each or by name.

    Raises:
        SystemExit: it ended with an error.
    """
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [
                *("ros2", "launch", "mbrl", "bringup.launch.py"),
                *arguments,
                *(f"{name}:={value}" for name, value in named.items()),
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"ROS_DOMAIN_ID": str(domain), "ROS_LOG_DIR": str(log.parent)},
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        code = process.wait(PATIENCE)
        if code:
            raise SystemExit(f"the launch ended with {code}:\n{log.read_text()[-3000:]}")


def processes(launch: int) -> dict[str, Path]:
    """The folders in /proc of those of a launch's processes that are there, by name.

    Args:
        launch: number of the process that leads its session.
    """
    result: dict[str, Path] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            if os.getsid(int(folder.name)) != launch:
                continue
            words = (folder / "cmdline").read_bytes().split(b"\0")
            for name, program in PROCESSES.items():
                if any(word.endswith(program) for word in words):
                    result[name] = folder
    return result


def cpu_times(launch: int) -> dict[str, float]:
    """s of a core that each of the launched processes has used, all of its threads."""
    result: dict[str, float] = {}
    for name, folder in processes(launch).items():
        with contextlib.suppress(OSError):  # it has just ended
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            result[name] = (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
    return result
