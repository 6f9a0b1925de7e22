"""The controller's status for /diagnostics (REP 107), judged by thresholds.

The words are those of ros2_control's controller manager: periodicity in Hz, execution time in µs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from mbrl_msgs.msg import ControllerStatus
from pydantic import BaseModel, ConfigDict, Field

from mbrl_node.control.loop import RESETTING
from mbrl_node.spec import RobotSpec

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class DiagnosticsConfig(BaseModel):
    """From which value on a diagnosis is a warning, or an error; 0: never."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    periodicity_mean_warn: float = Field(
        0.1, ge=0, description="WARN: the mean period is off by this part of it; 0: never"
    )
    periodicity_mean_error: float = Field(0.3, ge=0, description="ERROR: likewise")
    periodicity_std_warn: float = Field(
        0.2, ge=0, description="WARN: standard deviation of the periods, in periods; 0: never"
    )
    periodicity_std_error: float = Field(0.5, ge=0, description="ERROR: likewise")
    lateness_warn: float = Field(
        0.5, ge=0, description="WARN: the latest tick of a second, in periods; 0: never"
    )
    lateness_error: float = Field(1.0, ge=0, description="ERROR: likewise")
    execution_time_warn: float = Field(
        0.5, ge=0, description="WARN: what a tick takes on average, in periods; 0: never"
    )
    execution_time_error: float = Field(0.9, ge=0, description="ERROR: likewise")
    misses_warn: int = Field(
        1, ge=0, description="WARN: slots without a command of their own in a second; 0: never"
    )
    misses_error: int = Field(5, ge=0, description="ERROR: likewise")
    plan_time_warn: float = Field(
        1.0,
        ge=0,
        description="WARN: what a plan takes, in periods; above 1 each plan serves several ticks; "
        "0: never",
    )
    plan_time_error: float = Field(5.0, ge=0, description="ERROR: likewise")
    state_age_warn: float = Field(
        0.5, ge=0, description="WARN: age of a topic's newest state, in its timeouts; 0: never"
    )
    state_age_error: float = Field(1.0, ge=0, description="ERROR: likewise")
    refused_warn: int = Field(
        1, ge=0, description="WARN: messages of a topic refused in a second; 0: never"
    )
    refused_error: int = Field(0, ge=0, description="ERROR: likewise")
    unacknowledged_warn: float = Field(
        5.0,
        ge=0,
        description="WARN: transitions that no learner has stored yet, s of them; 0: never",
    )
    model_age_warn: float = Field(
        0.0, ge=0, description="WARN: age of the model in use, s; 0: never"
    )


class Diagnostics:
    """Makes the report of each second. It remembers the counts of the one before.

    Args:
        node: the node's name, which each part's name begins with.
        spec: gives the period and the timeouts.
        config: the thresholds; may be replaced at any time.
    """

    def __init__(self, node: str, spec: RobotSpec, config: DiagnosticsConfig) -> None:
        self.config = config
        self._node, self._robot, self._period = node, spec.name, spec.dt
        self._timeouts = {topic.topic: topic.timeout for topic in spec.state}
        self._counts: dict[str, int] = {}

    def report(
        self,
        status: ControllerStatus,
        model_age: float | None,
        refused: Mapping[str, int],
        ages: Mapping[str, float],
    ) -> DiagnosticArray:
        """The report.

        Args:
            model_age: s since the model in use was made; None: there is none.
            refused: how many messages were refused since the start, by topic.
            ages: how old the newest state is, s, by topic; a topic without one may be left out.
        """
        parts = [
            self._control_loop(status),
            self._controllers(status),
            self._state(status, refused, ages),
            self._planner(status),
            self._model(status, model_age),
            self._delivery(status),
        ]
        array = DiagnosticArray(status=[part.to_msg(self._node, self._robot) for part in parts])
        array.header.stamp = status.header.stamp
        return array

    def _new(self, what: str, count: int) -> int:
        """How many there are more than at the last report."""
        before, self._counts[what] = self._counts.get(what, 0), count
        return max(0, count - before)

    def _control_loop(self, s: ControllerStatus) -> Part:
        config, period = self.config, self._period
        late, mean = f"{1e3 * s.lateness_max:.1f} ms", f"{1e3 * s.period_mean:.1f} ms"
        part = Part("control loop", f"{s.rate:.1f} Hz, at most {late} late")
        if math.isnan(s.period_mean) and period < 1.0:
            part.add(ERROR, "there was no tick in the last second")
        part.judge(
            abs(s.period_mean / period - 1),
            (config.periodicity_mean_warn, config.periodicity_mean_error),
            f"the mean period is {mean} instead of {1e3 * period:.1f} ms",
        )
        part.judge(
            s.period_std / period,
            (config.periodicity_std_warn, config.periodicity_std_error),
            f"the periods vary by {1e3 * s.period_std:.1f} ms around {mean}",
        )
        part.judge(
            s.lateness_max / period,
            (config.lateness_warn, config.lateness_error),
            f"a tick was {late} late, {s.lateness_max / period:.0%} of the period",
        )
        part.judge(
            s.execution_mean / period,
            (config.execution_time_warn, config.execution_time_error),
            f"a tick takes {1e3 * s.execution_mean:.1f} ms, "
            f"{s.execution_mean / period:.0%} of the period",
        )
        misses = self._new("misses", s.deadline_misses)
        part.judge(
            misses,
            (config.misses_warn, config.misses_error),
            f"slots without a command of their own in the last second: {misses}",
        )
        part.values = {
            "update_rate [Hz]": f"{1 / period:.2f}",
            "periodicity.average [Hz]": f"{s.rate:.3f}",
            # Of a rate 1 / p: the derivative is 1 / p².
            "periodicity.standard_deviation [Hz]": f"{s.period_std * s.rate**2:.3f}",
            "periodicity.min [Hz]": f"{_inverse(s.period_max):.3f}",
            "periodicity.max [Hz]": f"{_inverse(s.period_min):.3f}",
            "execution_time.average [us]": f"{1e6 * s.execution_mean:.0f}",
            "execution_time.max [us]": f"{1e6 * s.execution_max:.0f}",
            "lateness.max [ms]": f"{1e3 * s.lateness_max:.2f}",
            "commands": s.ticks,
            "deadline misses": s.deadline_misses,
        }
        return part

    def _controllers(self, s: ControllerStatus) -> Part:
        part = Part("controllers", f"{s.acting_controller} in command")
        if s.stopped:
            part.add(ERROR, f"stopped: {s.safe_reason}" if s.safe_reason else "stopped")
        elif s.safe_reason == RESETTING:
            part.add(OK, s.safe_reason)
        elif s.safe_reason and s.safe_reason != f"waits for {s.waits_for}":
            part.add(ERROR, f"safe command: {s.safe_reason}")
        if s.waits_for and s.safe_reason != RESETTING:
            part.add(WARN, f"waits for {s.waits_for}")
        fallbacks = self._new("fallbacks", s.fallbacks)
        if s.failure:
            part.add(WARN, f"{s.acting_controller} acts for {s.active_controller}: {s.failure}")
        elif s.acting_controller != s.active_controller and not s.waits_for:
            part.add(WARN, f"{s.active_controller} {waits(s)}, {s.acting_controller} acts")
        elif fallbacks:
            part.add(WARN, f"a fallback acted for {s.active_controller}, which is back")
        if s.dry_run:
            part.add(WARN, "dry run: nothing is sent to the robot")
        part.values = {
            "active controller": s.active_controller,
            "acting controller": s.acting_controller,
            "safe command": s.safe_reason,
            "waits for": s.waits_for,
            "trust": f"{s.trust:.2f}",
            "stopped": s.stopped,
            "dry run": s.dry_run,
            "failure": s.failure,
            "fallbacks": s.fallbacks,
            "limited commands": s.limited,
            "episode": s.episode,
            "episode return": f"{s.episode_return:.2f}",
            "transitions": s.transitions,
        }
        return part

    def _state(
        self, s: ControllerStatus, refused: Mapping[str, int], ages: Mapping[str, float]
    ) -> Part:
        config = self.config
        oldest = max((ages.get(topic, math.nan) for topic in self._timeouts), default=math.nan)
        part = Part("state", f"the state is {1e3 * oldest:.0f} ms old")
        for topic, timeout in self._timeouts.items():
            age = ages.get(topic, math.inf)
            if not math.isfinite(age):
                part.add(ERROR, f"there is no state on {topic}")
            else:
                part.judge(
                    age / timeout,
                    (config.state_age_warn, config.state_age_error),
                    f"the state on {topic} is {age:.2f} s old, its timeout {timeout:g} s",
                )
            part.values[f"age of {topic} [ms]"] = f"{1e3 * age:.1f}"
        for topic, count in refused.items():
            new = self._new(f"refused on {topic}", count)
            part.judge(
                new,
                (config.refused_warn, config.refused_error),
                f"messages refused on {topic} in the last second: {new}",
            )
            part.values[f"refused on {topic}"] = count
        part.values["refused messages"] = s.refused_messages
        part.values["state_age at the last command [ms]"] = f"{1e3 * s.state_age:.1f}"
        return part

    def _planner(self, s: ControllerStatus) -> Part:
        config, time = self.config, f"{1e3 * s.plan_time:.1f} ms"
        part = Part(
            "planner",
            f"a plan of {s.plan_samples} x {s.plan_iterations} sequences takes {time}"
            if s.plan_time == s.plan_time
            else "no plan in the last second",
        )
        part.judge(
            s.plan_time / self._period,
            (config.plan_time_warn, config.plan_time_error),
            f"a plan takes {time}, {s.plan_time / self._period:.1f} periods",
        )
        part.values = {
            "plan_time.median [ms]": f"{1e3 * s.plan_time:.2f}",
            "planning delay [ms]": f"{1e3 * s.planning_delay:.1f}",
            "samples": s.plan_samples,
            "iterations": s.plan_iterations,
            "late plans": s.late_plans,
            "late plans in the last second": self._new("late plans", s.late_plans),
        }
        return part

    def _model(self, s: ControllerStatus, age: float | None) -> Part:
        old = "unknown" if age is None else f"{age:.1f} s"
        part = Part("model", f"version {s.model_version}, age {old}")
        if s.model_version == 0:
            part.sentence = "there is no model yet"
        elif age is not None:
            part.judge(age, (self.config.model_age_warn, 0.0), f"the model is {old} old")
        if self._new("rollbacks", s.rollbacks):
            part.add(WARN, f"rolled back to version {s.model_version}, as a later one was worse")
        part.values = {
            "version": s.model_version,
            "good version": s.good_model_version,
            "age [s]": "" if age is None else f"{age:.1f}",
            "held-out error": f"{s.held_out_error:.4f}",
            "prediction error": f"{s.prediction_error:.4f}",
            "rollbacks": s.rollbacks,
        }
        return part

    def _delivery(self, s: ControllerStatus) -> Part:
        left = s.unacknowledged
        part = Part("delivery", f"{left} transitions are on their way to the learner")
        part.judge(
            left * self._period,
            (self.config.unacknowledged_warn, 0.0),
            f"{left} transitions were not stored by a learner yet",
        )
        if dropped := self._new("dropped", s.dropped):
            part.add(ERROR, f"{dropped} transitions were lost, as no learner stores any")
        part.values = {
            "transitions": s.transitions,
            "unacknowledged": left,
            "dropped": s.dropped,
        }
        return part


class Part:
    """One DiagnosticStatus in the making.

    Args:
        sentence: its message as long as there is nothing else to say.
    """

    def __init__(self, name: str, sentence: str) -> None:
        self.name, self.sentence = name, sentence
        self.values: dict[str, object] = {}
        self._found: list[tuple[bytes, str]] = []

    def add(self, level: bytes, sentence: str) -> None:
        """There is something to say."""
        self._found.append((level, sentence))

    def judge(self, value: float, thresholds: tuple[float, float], sentence: str) -> None:
        """Says it when the value has reached a threshold for WARN or for ERROR, unless that is 0;
        NaN reaches none."""
        warn, error = thresholds
        if 0 < error <= value:
            self.add(ERROR, sentence)
        elif 0 < warn <= value:
            self.add(WARN, sentence)

    def to_msg(self, node: str, robot: str) -> DiagnosticStatus:
        """The worst level, and all there is to say, the worst first."""
        found = sorted(self._found, key=lambda each: each[0], reverse=True)
        return DiagnosticStatus(
            level=found[0][0] if found else OK,
            name=f"{node}: {self.name}",
            message="; ".join(sentence for _, sentence in found) or self.sentence,
            hardware_id=robot,
            values=[KeyValue(key=k, value=str(v)) for k, v in self.values.items()],
        )


def waits(s: ControllerStatus) -> str:
    """Why the active controller does not act, when it has not failed."""
    if s.waits_for:
        return "waits"
    return "waits for a model" if s.model_version == 0 else "is not ready"


def _inverse(seconds: float) -> float:
    return 1.0 / seconds if seconds else math.nan
