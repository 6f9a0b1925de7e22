"""Runs the stand-in `ros2`; skips these tests where the official one is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TIMEOUT_S = 60.0
"""Only a limit for what hangs; nothing waits this long."""


def _why_not() -> str | None:
    ours, launch = (importlib.util.find_spec(name) for name in ("ros2_pip", "launch"))
    if ours is None or ours.origin is None:
        return "the stand-in ros2_pip is not installed"
    if launch is None or launch.origin is None:
        return "no launch package is installed"
    if Path(ours.origin).parents[1] != Path(launch.origin).parents[1]:
        return f"the official launch package is there ({launch.origin})"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = _why_not()
    for item in items:
        if reason is not None and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


def ros2_command() -> list[str]:
    found = shutil.which("ros2")
    if found:
        return [sys.executable, found]
    return [sys.executable, "-c", "from ros2_pip.cli import main; raise SystemExit(main())"]


class Running:
    """A `ros2` command that runs in a session of its own, as in a terminal; its lines are kept."""

    def __init__(self, arguments: tuple[str, ...], cwd: Path) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [*ros2_command(), *arguments],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, count: int = 1) -> re.Match[str]:
        """Wait until the pattern has been printed so many times; return the last of them."""

        def matches() -> list[re.Match[str]]:
            return list(re.finditer(pattern, self.text))

        with self._changed:
            seen = self._changed.wait_for(lambda: len(matches()) >= count, TIMEOUT_S)
        assert seen, f"{pattern!r} was not printed {count} times in:\n{self.text}"
        return matches()[count - 1]

    def press_ctrl_c(self) -> None:
        """Send SIGINT as a terminal does: to the whole foreground process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self) -> int:
        """Wait for the end and for the last line."""
        code = self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        return code


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """Starts `ros2 …` and goes on; whatever still runs at the end is killed."""
    cwd = tmp_path_factory.mktemp("cwd")
    started: list[Running] = []

    def run(*arguments: str | Path) -> Running:
        started.append(Running(tuple(map(str, arguments)), cwd))
        return started[-1]

    yield run
    for running in started:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(TIMEOUT_S)
            running.process.kill()


@pytest.fixture(scope="session")
def ros2(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `ros2 …` to its end."""
    cwd = tmp_path_factory.mktemp("cwd")

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ros2_command(), *map(str, arguments)],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    return run


@pytest.fixture
def launch_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a launch file from the expressions of its entities."""

    def write(entities: str, name: str = "test.launch.py", before: str = "") -> Path:
        path = tmp_path / name
        path.write_text(
            "from launch import *\n"
            "from launch.actions import *\n"
            "from launch.conditions import *\n"
            "from launch.event_handlers import *\n"
            "from launch.launch_description_sources import *\n"
            "from launch.substitutions import *\n"
            "from launch_ros.actions import *\n"
            "from launch_ros.parameter_descriptions import *\n"
            f"def generate_launch_description():\n    {before or 'pass'}\n"
            f"    return LaunchDescription([{entities}])\n"
        )
        return path

    return write
