"""What the controller node tells about itself, once a second."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from mbrl_msgs.msg import ControllerStatus

from mbrl_node.control import TimedPlan
from mbrl_node.planning import Effort
from mbrl_node.ros.diagnostics import waits


@dataclass(frozen=True)
class Seconds:
    """Timing since the report before."""

    rate: float  # Hz; NaN: fewer than two ticks
    lateness_max: float  # s
    plan_time: float  # s, median; NaN: no plan
    effort: Effort | None  # of the newest plan


@dataclass
class Period:
    """Collects timing between two reports. Written by the control and planning threads, taken by
    another; appending to a list and replacing it are atomic."""

    began: list[int] = field(default_factory=list)
    lateness: list[int] = field(default_factory=list)
    plan_times: list[float] = field(default_factory=list)
    effort: Effort | None = None

    def add(self, began: int, sent: int) -> None:
        """A tick whose slot began and whose command was sent at these `time.monotonic_ns`."""
        self.began.append(began)
        self.lateness.append(sent - began)

    def add_plan(self, plan: TimedPlan) -> None:
        """A plan was made."""
        self.plan_times.append(plan.plan_time)
        self.effort = plan.effort or self.effort

    def take(self) -> Seconds:
        """The figures since the last call."""
        began, self.began = self.began, self.began[-1:]
        lateness, self.lateness = self.lateness, []
        plans, self.plan_times = self.plan_times, []
        return Seconds(
            (len(began) - 1) * 1e9 / (began[-1] - began[0]) if len(began) > 1 else math.nan,
            max(lateness, default=0) * 1e-9,
            statistics.median(plans) if plans else math.nan,
            self.effort,
        )


def status_line(s: ControllerStatus, robot_time: float) -> str:
    """A line for people."""
    controller = s.active_controller
    if s.failure:
        controller += f" (failed, {s.acting_controller} acts)"
    elif s.acting_controller != controller:
        controller += f" ({waits(s)}, {s.acting_controller} acts)"
    error = (
        "" if math.isnan(s.held_out_error) else f" (held-out error {100 * s.held_out_error:.1f} %)"
    )
    parts = [
        f"t {robot_time:6.1f} s",
        f"episode {s.episode} return {s.episode_return:7.1f}",
        controller,
        f"model {s.model_version}{error}",
        f"{s.rate:.1f} Hz, plan {1e3 * s.plan_time:.1f} ms ({s.plan_samples} x {s.plan_iterations})"
        if s.plan_time == s.plan_time
        else f"{s.rate:.1f} Hz",
        f"missed {s.deadline_misses}",
    ]
    if s.dry_run:
        parts.append("dry run, nothing is sent")
    if s.failure:
        parts.append(f"FALLBACK: {s.failure}")
    if s.stopped:
        parts.append("STOPPED")
    if s.safe_reason:
        parts.append(f"SAFE COMMAND: {s.safe_reason}")
    elif s.held_time > 0:
        parts.append(f"goal held {s.held_time:.1f} s")
    return " | ".join(parts)


def diagnostics(s: ControllerStatus, refused: int) -> DiagnosticArray:
    """The same for /diagnostics (REP 107)."""
    status = DiagnosticStatus(name="mbrl_controller: control", hardware_id=s.robot)
    status.level, status.message = DiagnosticStatus.OK, f"{s.acting_controller} in command"
    if s.safe_reason:
        status.level, status.message = DiagnosticStatus.ERROR, f"safe command: {s.safe_reason}"
    elif s.acting_controller != s.active_controller:
        status.level = DiagnosticStatus.WARN
        status.message = (
            f"{s.active_controller} waits for a model; {s.acting_controller} in command"
        )
    values = {
        "active controller": s.active_controller,
        "episode": s.episode,
        "model version": s.model_version,
        "held-out error": f"{s.held_out_error:.4f}",
        "rate [Hz]": f"{s.rate:.2f}",
        "longest lateness [ms]": f"{1e3 * s.lateness_max:.2f}",
        "planning time [ms]": f"{1e3 * s.plan_time:.1f}",
        "sequences x iterations of a plan": f"{s.plan_samples} x {s.plan_iterations}",
        "commands": s.ticks,
        "deadline misses": s.deadline_misses,
        "late plans": s.late_plans,
        "refused messages": refused,
        "transitions": s.transitions,
    }
    status.values = [KeyValue(key=k, value=str(v)) for k, v in values.items()]
    array = DiagnosticArray(status=[status])
    array.header.stamp = s.header.stamp
    return array
