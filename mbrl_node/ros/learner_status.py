"""What the learner node tells about itself, once a second."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from mbrl_msgs.msg import LearnerStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from mbrl_node.learning import Learner
from mbrl_node.ros.diagnostics import ERROR, WARN, Part
from mbrl_node.ros.stamps import to_time
from mbrl_node.spec import RobotSpec


class LearnerReports:
    """Publishes `~/status` and its part of /diagnostics.

    Args:
        problem: why transitions or models cannot be written; empty: they can.
        paused: whether it does not learn.
    """

    def __init__(
        self,
        node: Node,
        spec: RobotSpec,
        run_dir: Path,
        learner: Learner,
        problem: Callable[[], str],
        paused: Callable[[], bool],
    ) -> None:
        self._name, self._spec, self._run_dir, self._learner = (
            node.get_name(),
            spec,
            run_dir,
            learner,
        )
        self._problem, self._paused = problem, paused
        self._before = time.monotonic(), 0.0  # of the last report, and s of training until then
        self._lost = learner.lost
        self._status = node.create_publisher(LearnerStatus, "~/status", 1)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 1)
        node.create_timer(1.0, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _report(self) -> None:
        status = self._fill()
        self._status.publish(status)
        parts = [self._store(status), _learning(status)]
        array = DiagnosticArray(status=[p.to_msg(self._name, status.robot) for p in parts])
        array.header.stamp = status.stamp
        self._diagnostics.publish(array)

    def _fill(self) -> LearnerStatus:
        learner, progress, latest = self._learner, self._learner.progress, self._learner.latest
        (then, trained), now = self._before, time.monotonic()
        self._before = now, progress.training_time
        status = LearnerStatus(
            stamp=to_time(time.time_ns()),
            robot=self._spec.name,
            run_dir=str(self._run_dir),
            problem=self._problem(),
            paused=self._paused(),
            transitions=len(learner.store),
            lost=learner.lost,
            training_share=min(1.0, (progress.training_time - trained) / (now - then)),
        )
        for name in _OF_PROGRESS:
            setattr(status, name, getattr(progress, name))
        status.held_out_error = status.horizon_error = math.nan
        if latest is not None:
            status.version = latest.version
            status.held_out_error = latest.held_out_error
            status.horizon_error = latest.horizon_error
        return status

    def _store(self, s: LearnerStatus) -> Part:
        part = Part("store", f"{s.transitions} transitions")
        if s.problem:
            part.add(ERROR, s.problem)
        if s.lost > self._lost:
            part.add(WARN, f"{s.lost - self._lost} transitions never came")
        self._lost = s.lost
        part.values = {"run_dir": s.run_dir, "transitions": s.transitions, "lost": s.lost}
        return part


_OF_PROGRESS = (
    *("accepted", "refused", "rolled_back", "reason", "refitting"),
    *("old_error", "surprise", "gradient_steps_per_s"),
)


def _learning(s: LearnerStatus) -> Part:
    part = Part("learning", f"version {s.version}" if s.version else "there is no model yet")
    if s.paused:
        part.add(WARN, "paused: it stores, and does not learn")
    part.values = {
        "version": s.version,
        "accepted": s.accepted,
        "refused": s.refused,
        "rolled back": s.rolled_back,
        "reason": s.reason,
        "held-out error": f"{s.held_out_error:.4f}",
        "horizon error": f"{s.horizon_error:.4f}",
        "error on old data": f"{s.old_error:.4f}",
        "surprise": f"{s.surprise:.2f}",
        "gradient steps [1/s]": f"{s.gradient_steps_per_s:.0f}",
        "training share": f"{s.training_share:.2f}",
        "refitting": s.refitting,
    }
    return part
