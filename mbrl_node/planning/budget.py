"""How much a planner can look at in a given time, on this machine, under the load that there is."""

from __future__ import annotations

import time
from dataclasses import dataclass

SLOWER, FASTER = 0.5, 0.2  # how fast what is expected follows times that are longer, shorter
RESERVE = 0.9  # part of the budget that is planned with; the rest is for what cannot be foreseen
FEWEST = 8  # sequences an iteration


@dataclass(frozen=True)
class Effort:
    """What a plan looks at: action sequences an iteration, and iterations."""

    samples: int
    iterations: int

    @property
    def sequences(self) -> int:
        return self.samples * self.iterations


class Budget:
    """Chooses the effort of the next plan so that it takes a given time, from how long those before
    took.

    From the effort that was configured, samples grow with the power 2/3 of the time there is and
    iterations with the power 1/3: with 8 times the time there are 4 times the samples in twice the
    iterations.

    Args:
        time: a plan may take, s.
        configured: where the proportions are taken from.
        iterates: the planner can have several iterations.
    """

    def __init__(self, time: float, configured: Effort, iterates: bool) -> None:
        self._time, self._configured, self._iterates = time, configured, iterates
        self._each = 0.0  # s a sequence, as expected; 0: not known yet
        self._begin = 0.0

    def choose(self) -> Effort:
        """The effort of a plan that begins now."""
        self._begin = time.perf_counter()
        if self._each == 0.0:
            return Effort(FEWEST, 1)
        affordable = RESERVE * self._time / self._each
        scale = affordable / self._configured.sequences
        iterations = 1
        if self._iterates:
            iterations = max(1, round(self._configured.iterations * scale ** (1 / 3)))
        return Effort(max(FEWEST, int(affordable / iterations)), iterations)

    def allows(self, samples: int) -> bool:
        """Whether there is time for an iteration of so many samples in the plan under way."""
        return time.perf_counter() - self._begin + samples * self._each < self._time

    def spent(self, effort: Effort) -> None:
        """The plan under way is done; `effort` is what it looked at."""
        each = (time.perf_counter() - self._begin) / effort.sequences
        rate = SLOWER if each > self._each else FASTER
        known = self._each > 0.0
        self._each = self._each + rate * (each - self._each) if known else each
