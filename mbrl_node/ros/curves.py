"""What a run was like from second to second: a log of its timing, and curves for tensorboard."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from math import nan
from pathlib import Path
from typing import Any

from mbrl_msgs.msg import ControllerStatus
from pydantic import BaseModel
from rclpy.node import Node

from mbrl_node.data import Episode, Scalars, Second, Started, StoreError, Timeline, TimingLog
from mbrl_node.learning import Learner

PACKAGES = ("mbrl-node", "numpy", "torch", "rclpy")
MOST = 60  # seconds that wait to be written


class RunCurves:
    """Messages come in the callback thread; one other thread writes, as it stores transitions.

    Args:
        configs: what the learner was configured with, by section.
    """

    def __init__(
        self,
        node: Node,
        robot: str,
        run_dir: Path,
        learner: Learner,
        configs: Mapping[str, BaseModel],
    ) -> None:
        self._robot, self._learner = robot, learner
        self._timing, self._scalars = TimingLog(run_dir), Scalars(run_dir)
        self._heard: deque[Any] = deque(maxlen=MOST)
        settings = {k: c.model_dump(mode="json", exclude_defaults=True) for k, c in configs.items()}
        self._timing.write(
            Started(time.time(), _machine(), _packages(), {k: v for k, v in settings.items() if v})
        )
        node.create_subscription(ControllerStatus, "mbrl_controller/status", self._on_status, 10)
        self._before = learner.store.episodes()

    def _on_status(self, msg: Any) -> None:
        self._heard.append(msg)

    def write(self) -> None:
        """Writes what has come."""
        while self._heard:
            status = self._heard.popleft()
            if status.robot == self._robot:
                with suppress(StoreError):  # whoever stores will say so
                    self._write(status)

    def _write(self, s: Any) -> None:
        episodes = self._learner.store.episodes()
        if not episodes:
            return
        timeline = Timeline(episodes)
        now, session = timeline.duration, episodes[-1].session
        self._timing.write(Second(now, session, *(getattr(s, name) for name in _OF_STATUS)))
        self._scalars.add(_step(now), _control(s) | self._training() | self._reward(episodes))
        over = {(e.session, e.episode) for e in self._before if e.end}
        for e in episodes:
            if e.end and (e.session, e.episode) not in over:
                self._scalars.add(_step(timeline.end(e)), {"episode/return": e.total})
        self._before = episodes

    def _reward(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """The mean of the steps since the last look."""
        steps, total = (
            sum(getattr(e, name) for e in episodes) - sum(getattr(e, name) for e in self._before)
            for name in ("steps", "total")
        )
        return {"episode/reward": total / steps if steps else nan}

    def _training(self) -> dict[str, float]:
        progress, latest = self._learner.progress, self._learner.latest
        return {
            "model/held_out_error": latest.held_out_error if latest else nan,
            "model/horizon_error": latest.horizon_error if latest else nan,
            "model/old_error": progress.old_error,
            "model/surprise": progress.surprise,
            "model/version": latest.version if latest else 0,
            "model/accepted": progress.accepted,
            "model/refused": progress.refused,
            "model/rolled_back": progress.rolled_back,
            "time/train_steps_per_s": progress.gradient_steps_per_s,
        }

    def close(self) -> None:
        """Ends writing."""
        self._timing.close()
        self._scalars.close()


_OF_STATUS = (
    *("rate", "period_mean", "period_std", "period_min", "period_max"),
    *("execution_mean", "execution_max", "lateness_max", "plan_time", "planning_delay"),
    *("deadline_misses", "late_plans", "prediction_error"),
)


def _step(robot_time: float) -> int:
    """Where a point is: tensorboard wants whole numbers, so robot time is in ms there."""
    return round(1e3 * robot_time)


def _control(s: Any) -> dict[str, float]:
    return {
        "control/rate_hz": s.rate,
        "control/period_std_ms": 1e3 * s.period_std,
        "control/execution_max_ms": 1e3 * s.execution_max,
        "control/lateness_max_ms": 1e3 * s.lateness_max,
        "control/deadline_misses": s.deadline_misses,
        "control/late_plans": s.late_plans,
        "control/trust": s.trust,
        "model/prediction_error": s.prediction_error,
        "time/plan_ms": 1e3 * s.plan_time,
    }


def _packages() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # as of a ROS 2 that is sourced
    return found


def _machine() -> str:
    """The processor's name, and how many there are for this process."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    cores = len(os.sched_getaffinity(0))
    return f"{cores} x {next(names, platform.machine())}, {sys.platform}"
