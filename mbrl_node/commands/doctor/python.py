"""Python itself, and whether setup.bash came to its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from mbrl_node.commands.doctor.checks import Check, checkout

_OLDEST, _NEWEST = (3, 11), (3, 12)  # that the packages are built for


def version() -> Iterator[Check]:
    """Python's version."""
    here = ".".join(map(str, sys.version_info[:3]))
    text = f"{here}, {sys.executable}"
    if sys.version_info[:2] < _OLDEST:
        mend = "install Python 3.11 and source setup.bash with it first on PATH"
        yield Check("Python", "problem", f"{text}: older than 3.11", mend)
    elif sys.version_info[:2] > _NEWEST:
        mend = "ROS 2 and pybullet come for 3.11 (or 3.12, where ROS 2 is sourced)"
        yield Check("Python", "warning", f"{text}: newer than what is tested", mend)
    else:
        yield Check("Python", "ok", text)


def setup() -> Iterator[Check]:
    """What setup.bash made."""
    here = checkout()
    if here is None:
        return
    venv = here / ".venv"
    again = f". {here}/setup.bash"
    unfinished = [
        name
        for name, mark in (
            (".venv", venv / ".setup" / "unfinished"),
            ("ros2_ws", here / "ros2_ws" / "build" / ".setup-unfinished"),
        )
        if mark.exists()
    ]
    if unfinished:
        text = f"did not come to its end: {', '.join(unfinished)}"
        yield Check("setup.bash", "problem", text, again)
    elif not venv.is_dir():
        yield Check("setup.bash", "info", "was not run in this checkout", again)
    elif Path(sys.prefix).resolve() != venv.resolve():
        text = f"its Python is not the one in use, {sys.prefix} is"
        yield Check("setup.bash", "warning", text, again)
    elif not _holds(os.environ.get("AMENT_PREFIX_PATH", ""), here):
        text = "was run, but not sourced in this shell: ROS 2's tools do not find what it made"
        yield Check("setup.bash", "warning", text, again)
    else:
        yield Check("setup.bash", "ok", f"was run and is sourced, in {here}")


def _holds(path: str, folder: Path) -> bool:
    return any(Path(entry).resolve().is_relative_to(folder) for entry in path.split(":") if entry)
