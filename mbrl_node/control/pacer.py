"""Fixed-rate ticks on absolute deadlines."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Time in ns, and waiting for it."""

    def now(self) -> int:
        """The time now."""
        ...

    def wait_until(self, deadline: int) -> int | None:
        """Waits, and tells when the deadline was there as `time.monotonic_ns` counts.

        None: the wait was ended before the deadline.
        """
        ...


class SteadyClock:
    """The machine's monotonic clock."""

    SPIN = 100_000  # ns before the deadline at which sleeping is too coarse

    def now(self) -> int:
        return time.monotonic_ns()

    def wait_until(self, deadline: int) -> int | None:
        while (left := deadline - time.monotonic_ns()) > 0:
            if left > self.SPIN:
                time.sleep((left - self.SPIN) * 1e-9)
        return deadline


class Pacer:
    """Slots at whole multiples of the period on a clock. One that is missed is skipped, never made
    up for, so that the phase is kept and commands do not come in bursts."""

    def __init__(self, period: int, clock: Clock) -> None:
        self.period, self.clock = period, clock
        self._slot = clock.now() // period
        self.missed = 0

    def wait(self) -> int | None:
        """Waits for the next slot and tells when it began, as `time.monotonic_ns` counts.

        None: the wait was ended first, or the clock was set back.
        """
        now = self.clock.now() // self.period
        if now < self._slot:  # the clock was set back
            self._slot = now
            return None
        self.missed += now - self._slot
        self._slot = now + 1
        began = self.clock.wait_until(self.deadline)
        if began is None:
            self._slot = min(self._slot, self.clock.now() // self.period)
        return began

    @property
    def deadline(self) -> int:
        """The time of the present slot on the clock, ns."""
        return self._slot * self.period
