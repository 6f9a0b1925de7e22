"""Which sequence numbers of a session are there: exact, and small however many they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Sequences:
    """A set of numbers as runs of consecutive ones.

    Args:
        first, end: of each run, rising, [R]: all from `first` to below `end` are there.
        skipped: what is missing below this will not come any more.
    """

    first: Numbers
    end: Numbers
    skipped: int = 0

    @classmethod
    def of(cls, runs: Iterable[tuple[int, int]] = (), skipped: int = 0) -> Sequences:
        """From runs (first, end) that do not overlap."""
        table = np.array(sorted(runs), np.int64).reshape(-1, 2)
        return cls(table[:, 0], table[:, 1], skipped)

    def contain(self, numbers: Numbers) -> NDArray[np.bool_]:
        """Which of some numbers [N] are there, [N]."""
        if not len(self.first):
            return np.zeros(len(numbers), bool)
        run = np.searchsorted(self.first, numbers, side="right") - 1
        found: NDArray[np.bool_] = (run >= 0) & (numbers < self.end[run])
        return found

    def extended(self, numbers: Numbers) -> Sequences:
        """With numbers [N] that are not there yet, rising."""
        if not len(numbers):
            return self
        breaks = np.flatnonzero(np.diff(numbers) != 1)
        first = np.concatenate((self.first, numbers[np.r_[0, breaks + 1]]))
        end = np.concatenate((self.end, numbers[np.r_[breaks, -1]] + 1))
        order = np.argsort(first)
        first, end = first[order], end[order]
        apart = first[1:] != end[:-1]
        return Sequences(first[np.r_[True, apart]], end[np.r_[apart, True]], self.skipped)

    @property
    def complete(self) -> int:
        """All below are there or were skipped."""
        run = int(np.searchsorted(self.first, self.skipped, side="right")) - 1
        return self.skipped if run < 0 else max(self.skipped, int(self.end[run]))

    @property
    def lost(self) -> int:
        """How many were skipped and are not there."""
        there = np.minimum(self.end, self.skipped) - np.minimum(self.first, self.skipped)
        return self.skipped - int(there.sum())
