"""What a second of running was like, as lines of JSON beside a run's database.

RUN/timing.jsonl is appended to by the run's learner and by nobody else. A line is handed to the
system as a whole, so that `kill -9` tears the last one at most, which readers pass over. Each start
of a learner adds a line of `Started`, each second one of `Second`.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

log = logging.getLogger(__name__)

FILE = "timing.jsonl"


@dataclass(frozen=True)
class Started:
    """A learner began to work on the run."""

    started: float  # s since the epoch
    machine: str = ""  # its processor, and how many of them
    packages: dict[str, str] = field(default_factory=dict)  # their versions
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)  # those that are no defaults


@dataclass(frozen=True)
class Second:
    """Figures as in mbrl_msgs/ControllerStatus, s; NaN: not known."""

    robot_time: float  # of the run, see `Timeline`
    session: int = 0  # of the newest transition
    rate: float = math.nan  # Hz
    period_mean: float = math.nan
    period_std: float = math.nan
    period_min: float = math.nan
    period_max: float = math.nan
    execution_mean: float = math.nan
    execution_max: float = math.nan
    lateness_max: float = math.nan
    plan_time: float = math.nan
    planning_delay: float = math.nan
    deadline_misses: int = 0  # since the controller started
    late_plans: int = 0
    prediction_error: float = math.nan


class TimingLog:
    """Writes the file; made, with its folder, at the first line. What cannot be written is left out
    and said once: nothing else of a run depends on it."""

    def __init__(self, run_dir: Path) -> None:
        self._path, self._told = run_dir / FILE, False
        self._file: IO[bytes] | None = None

    def write(self, line: Started | Second) -> None:
        """Adds a line."""
        text = json.dumps(_plain(asdict(line)), separators=(",", ":")) + "\n"
        try:
            if self._file is None:
                self._file = self._opened()
            self._file.write(text.encode())
        except OSError as error:
            if not self._told:
                log.warning("%s: no timing is kept: %s", self._path, error)
            self._told = True

    def _opened(self) -> IO[bytes]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = open(self._path, "ab+", buffering=0)  # noqa: SIM115
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # whoever wrote before was killed
                file.write(b"\n")
        return file

    def close(self) -> None:
        """Ends writing."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_timing_log(run_dir: Path) -> tuple[list[Started], list[Second]]:
    """What a run's file says, in its order; nothing where there is none.

    Raises:
        OSError: it cannot be read.
    """
    started: list[Started] = []
    seconds: list[Second] = []
    for record in _records(run_dir / FILE):
        try:
            if "started" in record:
                started.append(Started(**record))
            else:
                seconds.append(Second(**{k: v for k, v in record.items() if v is not None}))
        except TypeError:  # of another version of this program
            continue
    return started, seconds


def _records(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with open(path, "rb") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """To the microsecond, or nine digits of what is small; JSON knows no numbers that are not
    finite."""
    result = {}
    for name, value in values.items():
        if isinstance(value, float):
            value = round(value, 6 if abs(value) >= 0.1 else 9) if math.isfinite(value) else None
        result[name] = value
    return result
