"""What a check finds, and trials in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mbrl_node.ros.told import MARK

Level = Literal["ok", "info", "warning", "problem"]
LEVELS: tuple[Level, ...] = ("ok", "info", "warning", "problem")
ROOT = Path(__file__).resolve().parents[3]  # of the checkout, or where packages are installed


@dataclass(frozen=True)
class Check:
    """One line of what was found.

    Attributes:
        name: what was looked at.
        text: what was found.
        mend: how it is mended, or what one does without it; empty: all is well.
    """

    name: str
    level: Level
    text: str
    mend: str = ""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def checkout() -> Path | None:
    """The checkout that this code is in; None: it was installed without one."""
    return ROOT if (ROOT / "setup.bash").is_file() else None


def install(what: str) -> str:
    """How something is installed: `mbrl-node`, or with an extra, `mbrl-node[sim]`."""
    here = checkout()
    return f"pip install '{what}'" if here is None else f". {here}/setup.bash"


@dataclass(frozen=True)
class Trial:
    """What a process of its own told.

    Attributes:
        facts: by stage, as far as it came.
        failure: why it did not come to its end; empty: it did.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


_running: set[subprocess.Popen[bytes]] = set()


def end_trials() -> None:
    """Ends those that are under way."""
    for process in list(_running):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def trial(*arguments: str, limit: float, environment: Mapping[str, str] | None = None) -> Trial:
    """Runs Python with these arguments.

    Args:
        limit: s, after which it is ended.
        environment: variables that it gets besides those that are here.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        start_new_session=True,  # what it starts is ended with it
    )
    _running.add(process)
    late = ""
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        late = f"it was not done within {limit:g} s"
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    finally:
        _running.discard(process)
    facts: dict[str, Any] = {}
    for line in out.decode(errors="replace").splitlines():
        if line.startswith(MARK):
            facts |= json.loads(line.removeprefix(MARK))
    return Trial(facts, late or _failure(process.returncode, err.decode(errors="replace")))


def _failure(code: int, err: str) -> str:
    if code == 0:
        return ""
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    last = lines[-1] if lines else f"it ended with exit code {code}"
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}" + (f": {last}" if lines else "")
    return last
