"""What was predicted, and what then happened: the newest plans and the newest measurements."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

POINTS = 160  # of a curve
RECENT = 0.5  # s since the end of a plan that is still shown


@dataclass(frozen=True)
class Prediction:
    """Where a plan leads.

    Attributes:
        start: robot time at which it begins, s.
        dt: from state to state, s.
        states: [H + 1, n].
    """

    start: float
    dt: float
    states: Array

    @property
    def end(self) -> float:
        """Robot time of its last state, s."""
        return self.start + self.dt * (len(self.states) - 1)

    @property
    def times(self) -> Array:
        """Robot time of each state, s, [H + 1]."""
        return self.start + self.dt * np.arange(len(self.states))


@dataclass(frozen=True)
class Curves:
    """A field of the state over time, NaN where there is none; all [POINTS].

    Attributes:
        time: s from now on.
        measured: what happened.
        foretold: what was predicted for it, by the newest plan that is over.
        ahead: what is predicted.
    """

    time: Array
    measured: Array
    foretold: Array
    ahead: Array


class Foresight:
    """Keeps plans and measurements of the last seconds. It begins anew when time does."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=2000)
        self._states: deque[Array] = deque(maxlen=2000)
        self._plans: deque[Prediction] = deque(maxlen=200)

    def measured(self, time: float, state: Array) -> None:
        """The robot was in a state [n] at a robot time in s."""
        if self._times and time <= self._times[-1]:
            if time > self._times[-1] - 1.0:
                return  # once more the same, or one on another way
            self.forget()
        self._times.append(time)
        self._states.append(state)
        while self._times[0] < time - 3.0 * self.horizon - 1.0:
            self._times.popleft()
            self._states.popleft()
        while len(self._plans) > 1 and self._plans[0].end < time - self.horizon - 1.0:
            self._plans.popleft()

    def predicted(self, plan: Prediction) -> None:
        """A plan was made. What is not finite ends it."""
        finite = np.isfinite(plan.states).all(1)
        if not finite.all():
            plan = Prediction(plan.start, plan.dt, plan.states[: int(finite.argmin())])
        if len(plan.states) > 1:
            self._plans.append(plan)

    def forget(self) -> None:
        """Nobody has looked for a while, or time has begun anew."""
        self._times.clear()
        self._states.clear()
        self._plans.clear()

    @property
    def now(self) -> float:
        """Robot time of the newest measurement, s; NaN: there is none."""
        return self._times[-1] if self._times else np.nan

    @property
    def horizon(self) -> float:
        """How far plans reach, s; 1 where there is none."""
        return self._plans[-1].end - self._plans[-1].start if self._plans else 1.0

    @property
    def ahead(self) -> Prediction | None:
        """The newest plan, if it is of now."""
        plan = self._plans[-1] if self._plans else None
        return plan if plan is not None and plan.end > self.now else None

    @property
    def over(self) -> Prediction | None:
        """The newest plan of which all has happened, if that was now."""
        ended = (plan for plan in reversed(self._plans) if plan.end <= self.now)
        newest = next(ended, None)
        return newest if newest is not None and newest.end > self.now - RECENT else None

    def trail(self, seconds: float) -> tuple[Array, Array]:
        """The times [T] and the states [T, n] measured in the last seconds."""
        times = np.array(self._times)
        kept = times >= self.now - seconds
        return times[kept], np.array([s for s, k in zip(self._states, kept, strict=True) if k])

    def curves(self, column: int, angle: bool) -> Curves | None:
        """A field of the state before and after now; None: nothing was measured.

        Args:
            angle: the field is one; it is unwound, so that no curve jumps.
        """
        if not self._times:
            return None
        times, states = self.trail(2.0 * self.horizon)
        measured = states[:, column]
        if angle:
            measured = np.unwrap(measured)
            measured = measured - 2 * np.pi * np.round(measured[-1] / (2 * np.pi))
        grid = np.linspace(-2.0 * self.horizon, self.horizon, POINTS)
        return Curves(
            grid,
            _on(grid, times - self.now, measured),
            self._on_grid(self.over, column, angle, grid, times, measured),
            self._on_grid(self.ahead, column, angle, grid, times, measured),
        )

    def _on_grid(
        self,
        plan: Prediction | None,
        column: int,
        angle: bool,
        grid: Array,
        times: Array,
        measured: Array,
    ) -> Array:
        if plan is None:
            return np.full(len(grid), np.nan)
        values = plan.states[:, column]
        if angle:
            values = np.unwrap(values)
            there = np.interp(plan.start, times, measured)
            values = values - 2 * np.pi * np.round((values[0] - there) / (2 * np.pi))
        return _on(grid, plan.times - self.now, values)


def _on(grid: Array, times: Array, values: Array) -> Array:
    curve: Array = np.interp(grid, times, values, left=np.nan, right=np.nan)
    return curve
