"""When each tick of the control loop was, and what a second of ticks amounts to."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, SupportsFloat, TypeVar

import numpy as np
from mbrl_msgs.msg import ControllerStatus, Timing
from numpy.typing import NDArray

from mbrl_node.control import TimedPlan
from mbrl_node.planning import Effort
from mbrl_node.ros.convert import to_time

Array = NDArray[np.float64]
Item = TypeVar("Item")
KEPT = 4096  # ticks, and plans, that nobody has taken: 8 s at 500 Hz


class TickTime(NamedTuple):
    """One tick, in ns of `time.monotonic_ns`."""

    slot: int  # its slot began
    started: int  # its first instruction
    sent: int  # the command was published
    finished: int  # its last instruction, after the bookkeeping
    state_received: int | None  # the state it used arrived; None: there was none
    acting: str  # the controller in command

    @property
    def state_age(self) -> float:
        """s that the state was old when the command made of it was sent; NaN: no state."""
        received = self.state_received
        return math.nan if received is None else (self.sent - received) * 1e-9


@dataclass(frozen=True)
class Second:
    """What the ticks and plans since the report before amount to, in s. Without a tick, lateness,
    latency and execution are 0 and the rest is NaN.

    A period is from the first instruction of a tick to that of the next; the first one begins with
    the last tick of the report before.
    """

    ticks: tuple[TickTime, ...]
    rate: float  # Hz; NaN, like the periods: fewer than two ticks
    period_mean: float
    period_std: float
    period_min: float
    period_max: float
    lateness_p99: float  # from the slot to the first instruction
    lateness_max: float
    latency_median: float  # from the slot to the command's being sent
    latency_max: float
    execution_mean: float  # from the first instruction to the last
    execution_max: float
    state_age: float  # at the last tick; NaN: no state
    plan_time: float  # median; NaN: no plan
    effort: Effort | None  # of the newest plan there ever was

    def fill(self, status: ControllerStatus) -> None:
        """Writes these figures into a status message."""
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
        ticks = self.ticks
        msg = Timing(
            period=period,
            missed=missed,
            slot=[t.slot * 1e-9 for t in ticks],
            lateness=[(t.started - t.slot) * 1e-9 for t in ticks],
            latency=[(t.sent - t.slot) * 1e-9 for t in ticks],
            state_age=[t.state_age for t in ticks],
            execution=[(t.finished - t.started) * 1e-9 for t in ticks],
            acting=[t.acting for t in ticks],
        )
        msg.header.stamp = to_time(stamp)
        return msg


class TickTimes:
    """Collects what `take` sums up. The control thread adds ticks, planning threads add plans, and
    one other thread takes: each by single operations on a deque, so that nobody waits."""

    def __init__(self) -> None:
        self._ticks: deque[TickTime] = deque(maxlen=KEPT)
        self._plan_times: deque[float] = deque(maxlen=KEPT)
        self._effort: Effort | None = None
        self._before: TickTime | None = None  # the last one taken

    def add(
        self,
        slot: int,
        started: int,
        sent: int,
        finished: int,
        state_received: int | None,
        acting: str,
    ) -> None:
        """A tick is over; see `TickTime`."""
        self._ticks.append(TickTime(slot, started, sent, finished, state_received, acting))

    def add_plan(self, plan: TimedPlan) -> None:
        """A plan was made."""
        self._plan_times.append(plan.plan_time)
        self._effort = plan.effort or self._effort

    def take(self) -> Second:
        """What was added since the last call."""
        before = self._before if len(self._ticks) < KEPT else None  # else there is a gap between
        ticks = tuple(_taken(self._ticks))
        plan_times = _taken(self._plan_times)
        if ticks:
            self._before = ticks[-1]
        return _second(before, ticks, plan_times, self._effort)


def _taken(items: deque[Item]) -> list[Item]:
    """Takes what is there now, while others add."""
    return [items.popleft() for _ in range(len(items))]


def _second(
    before: TickTime | None,
    ticks: tuple[TickTime, ...],
    plan_times: list[float],
    effort: Effort | None,
) -> Second:
    starts = [t.started for t in (before, *ticks) if t is not None]
    period = _seconds(b - a for a, b in pairwise(starts)) if ticks else np.empty(0)
    lateness = _seconds(t.started - t.slot for t in ticks)
    latency = _seconds(t.sent - t.slot for t in ticks)
    execution = _seconds(t.finished - t.started for t in ticks)
    return Second(
        ticks,
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
        state_age=ticks[-1].state_age if ticks else math.nan,
        plan_time=statistics.median(plan_times) if plan_times else math.nan,
        effort=effort,
    )


def _seconds(ns: Iterable[int]) -> Array:
    return 1e-9 * np.fromiter(ns, dtype=np.int64)


def _of(function: Callable[[Array], SupportsFloat], values: Array, nothing: float) -> float:
    return float(function(values)) if len(values) else nothing
