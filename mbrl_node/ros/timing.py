"""When each tick of the control loop was, and what a second of ticks amounts to."""

from __future__ import annotations

import math
import statistics
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import SupportsFloat, TypeVar

import numpy as np
from mbrl_msgs.msg import ControllerStatus, Timing
from numpy.typing import NDArray

from mbrl_node.control import TimedPlan
from mbrl_node.planning import Effort
from mbrl_node.ros.stamps import to_time

Array = NDArray[np.float64]
Item = TypeVar("Item")
_Tick = tuple[int, int, int, int, int | None, str]  # the arguments of `TickTimes.add`
KEPT = 4096  # ticks, and plans, that nobody has taken: 8 s at 500 Hz


@dataclass(frozen=True)
class Second:
    """The T ticks and the plans since the report before, in s. Without a tick the figures of
    lateness, latency and execution are 0 and the others NaN.

    A period is from the first instruction of a tick to that of the next; the first one begins with
    the last tick of the report before.
    """

    slot: Array  # on the machine's steady clock, [T]
    lateness: Array  # from the slot to the first instruction, [T]
    latency: Array  # from the slot to the command's being sent, [T]
    state_ages: Array  # from the arrival of the state to the command's being sent; NaN: none, [T]
    execution: Array  # from the first instruction to the last, [T]
    acting: tuple[str, ...]  # the controller in command, T times
    rate: float  # Hz; NaN, like the periods: fewer than two ticks
    period_mean: float
    period_std: float
    period_min: float
    period_max: float
    lateness_p99: float
    lateness_max: float
    latency_median: float
    latency_max: float
    execution_mean: float
    execution_max: float
    state_age: float  # at the last tick
    plan_time: float  # median; NaN: no plan
    effort: Effort | None  # of the newest plan there ever was

    def fill(self, status: ControllerStatus) -> None:
        """Writes the figures into a status message."""
        for name in (
            *("rate", "period_mean", "period_std", "period_min", "period_max"),
            *("lateness_max", "execution_mean", "execution_max", "state_age", "plan_time"),
        ):
            setattr(status, name, getattr(self, name))
        if self.effort is not None:
            status.plan_samples = self.effort.samples
            status.plan_iterations = self.effort.iterations

    def to_msg(self, stamp: int, period: float, missed: int) -> Timing:
        """Every tick as a message.

        Args:
            stamp: robot time, ns.
            period: what it should be, s.
            missed: slots without a command of their own since the start.
        """
        msg = Timing(
            period=period,
            missed=missed,
            slot=_doubles(self.slot),
            lateness=_doubles(self.lateness),
            latency=_doubles(self.latency),
            state_age=_doubles(self.state_ages),
            execution=_doubles(self.execution),
            acting=list(self.acting),
        )
        msg.header.stamp = to_time(stamp)
        return msg


class TickTimes:
    """Collects what `take` sums up. The control thread adds ticks, planning threads add plans, and
    one other thread takes: each by single operations on a deque, so that nobody waits."""

    def __init__(self) -> None:
        self._ticks: deque[_Tick] = deque(maxlen=KEPT)
        self._plan_times: deque[float] = deque(maxlen=KEPT)
        self._effort: Effort | None = None
        self._before: int | None = None  # when the last tick that was taken started

    def add(
        self,
        slot: int,
        started: int,
        sent: int,
        finished: int,
        state_received: int | None,
        acting: str,
    ) -> None:
        """A tick is over. All times as `time.monotonic_ns` counts.

        Args:
            slot: its slot began.
            started: its first instruction.
            sent: the command was published.
            finished: its last instruction, after the bookkeeping.
            state_received: the state that it used arrived; None: there was none.
            acting: the controller in command.
        """
        self._ticks.append((slot, started, sent, finished, state_received, acting))

    def add_plan(self, plan: TimedPlan) -> None:
        """A plan was made."""
        self._plan_times.append(plan.plan_time)
        self._effort = plan.effort or self._effort

    def take(self) -> Second:
        """What was added since the last call."""
        before = self._before if len(self._ticks) < KEPT else None  # else there is a gap between
        ticks, plan_times = _taken(self._ticks), _taken(self._plan_times)
        if ticks:
            self._before = ticks[-1][1]
        return _second(before, ticks, plan_times, self._effort)


def _taken(items: deque[Item]) -> list[Item]:
    """Takes what is there now, while others add."""
    return [items.popleft() for _ in range(len(items))]


def _second(
    before: int | None, ticks: list[_Tick], plan_times: list[float], effort: Effort | None
) -> Second:
    # Few and large operations: meanwhile the control thread waits for the interpreter.
    columns = zip(*ticks, strict=True) if ticks else ((),) * 6
    slot, started, sent, finished, received, acting = columns
    begin, first, last = _ns(slot), _ns(started), _ns(sent)
    arrived = _ns([-1 if r is None else r for r in received])
    lateness, latency, execution = (
        1e-9 * x for x in (first - begin, last - begin, _ns(finished) - first)
    )
    state_ages = np.where(arrived < 0, np.nan, 1e-9 * (last - arrived))
    starts = first if before is None else np.append(before, first)
    period = 1e-9 * np.diff(starts)
    return Second(
        1e-9 * begin,
        lateness,
        latency,
        state_ages,
        execution,
        acting,
        rate=1.0 / float(period.mean()) if period.any() else math.nan,
        period_mean=_of(np.mean, period, math.nan),
        period_std=_of(np.std, period, math.nan),
        period_min=_of(np.min, period, math.nan),
        period_max=_of(np.max, period, math.nan),
        lateness_p99=_of(lambda x: np.percentile(x, 99), lateness, 0.0),
        lateness_max=_of(np.max, lateness, 0.0),
        latency_median=_of(np.median, latency, 0.0),
        latency_max=_of(np.max, latency, 0.0),
        execution_mean=_of(np.mean, execution, 0.0),
        execution_max=_of(np.max, execution, 0.0),
        state_age=float(state_ages[-1]) if ticks else math.nan,
        plan_time=statistics.median(plan_times) if plan_times else math.nan,
        effort=effort,
    )


def _ns(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def _of(function: Callable[[Array], SupportsFloat], values: Array, nothing: float) -> float:
    return float(function(values)) if len(values) else nothing


def _doubles(values: Array) -> array[float]:
    """What a message takes without a look at each number."""
    return array("d", values.tobytes())
