"""All that a report tells, read from a run's folder; another process may be writing to it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbrl_node.data import (
    Episode,
    Event,
    Records,
    RunStore,
    Second,
    SessionTask,
    Started,
    Timeline,
    Version,
    read_timing_log,
)
from mbrl_node.learning.learner import is_one_step
from mbrl_node.report.attained import Attained, attained
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.robot import DEFAULT_TASK
from mbrl_node.spec.system import System

Array = NDArray[np.float64]


class ReportError(Exception):
    """There is nothing to report; one line that names the folder and says why."""


@dataclass(frozen=True)
class RunFacts:
    """A run that has N transitions, at least one."""

    folder: Path
    robot: str
    system: System | None
    unknown: str  # why there is no system
    dt: float  # s of a step
    tasks: tuple[SessionTask, ...]  # of each session
    lost: int  # transitions that never came
    records: Records
    times: Array  # when each began, s of robot time, [N]
    timeline: Timeline
    episodes: Sequence[Episode]
    versions: Sequence[Version]
    version_times: Array  # when the data of each was complete, s of robot time
    events: Sequence[Event]
    seconds: Sequence[Second]
    started: Sequence[Started]
    settings: dict[str, Any]  # of `mbrl train`
    goal: Attained | None

    @property
    def spec(self) -> RobotSpec | None:
        """The robot's file, where there is one."""
        return self.system if isinstance(self.system, RobotSpec) else None

    @property
    def duration(self) -> float:
        """Robot time, s."""
        return self.timeline.duration

    @property
    def task_name(self) -> str:
        """What the robot was to do at last; empty: that is not known."""
        return self.tasks[-1].task if self.tasks else ""

    @property
    def began(self) -> float:
        """s since the epoch; NaN: not known."""
        return min(self._walls(), default=math.nan)

    @property
    def ended(self) -> float:
        """Of the last that is known, s since the epoch; NaN: nothing is."""
        return max(self._walls(), default=math.nan)

    def _walls(self) -> list[float]:
        """Times by the clock; a session's number is when it began, but for one of a bag."""
        stamps = [*self.timeline.sessions, *(v.created for v in self.versions)]
        stamps += [event.stamp for event in self.events]
        year_2000 = 946_684_800 * 10**9
        return [stamp * 1e-9 for stamp in stamps if stamp > year_2000]

    def count(self, state: str) -> int:
        """Versions that are in this state."""
        return sum(version.state == state for version in self.versions)

    def metric(self, name: str) -> Array:
        """Of each version; NaN: not known."""
        return np.array([version.metrics.get(name, math.nan) for version in self.versions])

    @property
    def controllers(self) -> dict[str, float]:
        """The part of the steps in which each controller acted, the largest first."""
        names = Counter(self.records["controller"].tolist())
        return {k.decode(errors="replace"): v / len(self.records) for k, v in names.most_common()}

    def event_time(self, event: Event) -> float:
        """s of the run's robot time; NaN: not known."""
        return self.timeline.sessions.get(event.session, math.nan) + event.robot_time

    @property
    def controlled(self) -> bool:
        """Whether a control loop told of its timing."""
        return any(math.isfinite(second.period_std) for second in self.seconds)

    def rise(self, name: str) -> int:
        """What a counter of `Second` has come to, over all sessions."""
        last: dict[int, int] = {}
        for second in self.seconds:
            last[second.session] = max(last.get(second.session, 0), getattr(second, name))
        return sum(last.values())


def gather(run_dir: Path, system: System | None, unknown: str = "") -> RunFacts:
    """What there is of a run.

    Args:
        system: what the run was made with; None: not known, and `unknown` says why.

    Raises:
        ReportError: there is no run, or nothing in it.
        StoreError: it is damaged.
    """
    if not run_dir.is_dir():
        raise ReportError(f"{run_dir}: there is no such folder")
    path = run_dir / "transitions.db"
    if not path.is_file():
        raise ReportError(f"{run_dir}: is not the folder of a run: it has no {path.name}")
    store = RunStore(path, read_only=True)
    try:
        tasks, episodes = store.tasks, store.episodes()
        records, versions, events, lost = (
            store.records(),
            store.versions(),
            store.events(),
            store.lost,
        )
    finally:
        store.close()
    if system is not None and system.hash != store.spec_hash:
        unknown = f"its robot, {store.robot}, is not the {system.name} of today's file"
        system = None
    if not len(records):
        raise ReportError(f"{run_dir}: has no transitions yet; let the robot move for some seconds")
    try:
        started, seconds = read_timing_log(run_dir)
    except OSError as error:
        raise ReportError(f"{run_dir}: cannot be read: {error}") from error
    timeline = Timeline(episodes)
    times = timeline.times(records)
    lengths = records["next_stamp"] - records["stamp"]
    dt = system.dt if system is not None else float(np.median(lengths)) * 1e-9
    ends = times[is_one_step(records, dt)] + dt
    goal = None
    if isinstance(system, RobotSpec):
        wanted = [k for k, it in tasks.items() if it.task in ("", DEFAULT_TASK, system.task)]
        mine = np.isin(records["session"], np.array(wanted, np.uint64))
        goal = attained(records[mine], times[mine], system) if mine.any() else None
    return RunFacts(
        run_dir,
        store.robot,
        system,
        unknown,
        dt,
        tuple(tasks[k] for k in timeline.sessions if k in tasks),
        lost,
        records,
        times,
        timeline,
        episodes,
        versions,
        np.array([_at(ends, version.transitions) for version in versions]),
        events,
        _whole(seconds),
        started,
        _settings(run_dir),
        goal,
    )


def _at(ends: Array, transitions: int) -> float:
    """When so many transitions were there, s of robot time; NaN: they are not."""
    there = 0 < transitions <= len(ends)
    return float(ends[transitions - 1]) if there else 0.0 if transitions == 0 else math.nan


def _whole(seconds: Sequence[Second]) -> list[Second]:
    """Without the last of each session, in which control ended."""
    following = (second.session for second in (*seconds[1:], Second(0.0, -1)))
    return [
        second
        for second, after in zip(seconds, following, strict=False)
        if second.session in (0, after)
    ]


def _settings(run_dir: Path) -> dict[str, Any]:
    """What `mbrl train` was called with; nothing where it was not, or it is damaged."""
    try:
        found = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
