"""Has the reward fallen since another version of the model acts?

A version may predict each step well and act badly all the same, by what it has learned of rewards
or as a policy. That shows in what the robot is paid.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from mbrl_node.control.controller import Array
from mbrl_node.data.transition import no_targets

BIN = 0.25  # s that are taken together
HELD, RECENT = 5.0, 3.0  # s that a level was held, and over which it must be lower since
SETTLED = 1.0  # s before the end of the level at which the version to blame was not there yet
STEADY = 0.1  # part of the range of rewards by which a level may vary
FALL = 0.25  # part of the range of rewards that is a fall
ACTED = 0.5  # part of the time since that the version to blame has acted for


@dataclass(frozen=True, slots=True)
class Fall:
    """The reward has fallen."""

    before: float  # mean reward of a step
    now: float
    seconds: float  # over which it is now so
    version: int  # acts now
    good: int  # was the good one while the level was held


@dataclass(frozen=True, slots=True)
class _Bin:
    reward: float  # mean of a step
    version: int
    good: int


class ReturnWatch:
    """Told of each step, says when the reward has clearly fallen below a level that older versions
    had held. Only steps of one episode and for the same targets that follow each other are
    compared. While versions come faster than the reward can tell them apart, none is to blame.

    Args:
        dt: control period, s.
    """

    def __init__(self, dt: float) -> None:
        self._steps = max(1, round(BIN / dt))  # of a bin
        seconds = self._steps * dt
        self._recent, self._held = (max(4, round(s / seconds)) for s in (RECENT, HELD))
        self._settled = max(1, round(SETTLED / seconds))
        self._seconds = self._recent * seconds
        self._bins: deque[_Bin] = deque(maxlen=self._recent + self._held)
        self._sum, self._count = 0.0, 0
        self._lowest, self._highest = math.inf, -math.inf  # of means over `RECENT`
        self._targets = no_targets()  # of the last step

    def interrupt(self) -> None:
        """The next step does not follow the last: the robot was stopped or reset, or another
        controller acted."""
        self._bins.clear()
        self._sum, self._count = 0.0, 0

    def add(
        self, reward: float, version: int, good: int, targets: Array | None = None
    ) -> Fall | None:
        """A step.

        Args:
            version: of the model that acted.
            good: that would be gone back to.
            targets: of the task, which the reward is for, [t]; None: there are none.
        """
        targets = no_targets() if targets is None else targets
        if not np.array_equal(targets, self._targets):
            self.interrupt()
        self._targets = targets
        self._sum, self._count = self._sum + reward, self._count + 1
        if self._count < self._steps:
            return None
        self._bins.append(_Bin(self._sum / self._count, version, good))
        self._sum, self._count = 0.0, 0
        fall = self._judge()
        if fall is not None:
            self.interrupt()
        return fall

    def _judge(self) -> Fall | None:
        bins = list(self._bins)
        if len(bins) < self._recent:
            return None
        now = _mean(bins[-self._recent :])
        self._lowest, self._highest = min(self._lowest, now), max(self._highest, now)
        if len(bins) < self._recent + self._held:
            return None
        held, span = bins[: self._held], self._highest - self._lowest
        before = _mean(held)
        if not before - now > FALL * span:  # NaN: a reward that nobody knows
            return None
        size = self._settled
        levels = [_mean(held[i : i + size]) for i in range(0, len(held) - size + 1, size)]
        if max(levels) - min(levels) > STEADY * span:
            return None
        version, then = bins[-1].version, len(held) - size
        acted = sum(b.version == version for b in bins[self._held :])
        if acted < ACTED * self._recent or any(b.version == version for b in held[: then + 1]):
            return None
        return Fall(before, now, self._seconds, version, held[then].good)


def _mean(bins: list[_Bin]) -> float:
    return sum(b.reward for b in bins) / len(bins)
