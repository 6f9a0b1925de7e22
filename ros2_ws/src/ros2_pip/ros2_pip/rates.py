"""How often messages come."""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Callable


class RateMeter:
    """Rate and spread of the intervals between messages.

    Args:
        window: How many intervals to look back on.
        clock: Seconds, monotonic.
    """

    def __init__(self, window: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._intervals: collections.deque[float] = collections.deque(maxlen=window)
        self._clock = clock
        self._last: float | None = None
        self._reported: float | None = None

    def add(self) -> None:
        """A message has come."""
        now = self._clock()
        if self._last is not None:
            self._intervals.append(now - self._last)
        self._last = now

    def report(self) -> str | None:
        """The statistics as the official tool prints them; None if there is nothing new."""
        if not self._intervals or self._last == self._reported:
            return None
        self._reported = self._last
        count = len(self._intervals)
        mean = sum(self._intervals) / count
        spread = math.sqrt(sum((x - mean) ** 2 for x in self._intervals) / count)
        rate = 1.0 / mean if mean > 0 else 0.0
        return (
            f"average rate: {rate:.3f}\n"
            f"\tmin: {min(self._intervals):.3f}s max: {max(self._intervals):.3f}s "
            f"std dev: {spread:.5f}s window: {count}"
        )
