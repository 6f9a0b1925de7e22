"""What the robot aims at now, and whether it has got there: targets that are told, or its own."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mbrl_node.spec.errors import show
from mbrl_node.spec.robot import RobotSpec
from mbrl_node.spec.terms import Targets, goal_function

Array = npt.NDArray[np.float64]


class Goals:
    """Keeps a task's targets, and counts for how long its goal holds.

    Until somebody tells targets, a robot whose goal has `patience` practises: it draws the next
    target by itself when it has reached one, or given it up. One thread calls `begin`, `aim` and
    `watch`; any may `tell`.

    Args:
        seed: of the targets it draws.

    Attributes:
        targets: what it aims at, [t].
        told: whether they were told.
        in_a_row: targets that were reached one after the other.
        held_time: s for which the goal holds without a break.
        solved_at: s of robot time at which the hold began that solved the task, or where there are
            targets, at which the last of those in a row was reached; NaN: it is not solved.
    """

    def __init__(self, spec: RobotSpec, seed: int = 0) -> None:
        self._spec, self._goal = spec, goal_function(spec)
        self._rng = np.random.default_rng(seed)
        self._low = np.array([field.min for field in spec.target_fields])
        self._high = np.array([field.max for field in spec.target_fields])
        self.targets: Array = Targets(spec).values.numpy().copy()
        unset = np.array([field.initial is None for field in spec.target_fields], bool)
        self.targets[unset] = self._drawn()[unset]
        self._turn = threading.Lock()  # around what is pending; never held for long
        self._pending: Array | None = None
        self.told, self.in_a_row, self.held_time = False, 0, 0.0
        self.solved_at = math.nan
        self._since: int | None = None  # the goal holds, robot time in ns
        self._aimed_at: int | None = None  # the target was set, ns
        self._reached = False  # this target was

    def _drawn(self) -> Array:
        return self._rng.uniform(self._low, self._high)

    def tell(self, values: Sequence[float], first: int = 0) -> None:
        """Aims at these targets, of the columns from `first` on, from the next tick on.

        Raises:
            ValueError: one is not within its range.
        """
        fields = self._spec.target_fields[first : first + len(values)]
        for field, value in zip(fields, values, strict=True):
            if not field.min <= value <= field.max:
                limits = f"{show(field.min)} and {show(field.max)}"
                raise ValueError(f"{field.name} = {value:.4g} {field.unit} is not between {limits}")
        with self._turn:
            pending = (self.targets if self._pending is None else self._pending).copy()
            pending[first : first + len(values)] = values
            self._pending = pending

    def begin(self) -> None:
        """What comes does not follow on what was: an episode begins, or the robot was stopped."""
        self._since, self.held_time, self._aimed_at = None, 0.0, None

    def aim(self, now: int) -> str:
        """Takes over targets that were told; what there is to say of it.

        Args:
            now: robot time, ns.
        """
        if self._aimed_at is None:
            self._aimed_at = now
        with self._turn:
            pending, self._pending = self._pending, None
        if pending is None:
            return ""
        self.told = True
        self._set(pending, now)
        return f"new target: {self.describe()}"

    def _set(self, targets: Array, now: int) -> None:
        self.targets, self._aimed_at = targets, now
        self._since, self.held_time, self._reached = None, 0.0, False

    def describe(self) -> str:
        """The targets in words."""
        fields = zip(self._spec.target_fields, self.targets.tolist(), strict=True)
        return ", ".join(f"{field.name} {value:.3g} {field.unit}" for field, value in fields)

    def holds(self, state: Array) -> bool:
        """Whether the goal's conditions hold in a state [n]."""
        return self._goal(state, self.targets)

    def watch(self, state: Array, now: int, started: int) -> list[str]:
        """Whether the goal holds in a state [n]; what there is to say of it, a line each.

        Args:
            now, started: robot time now and of the first command, ns.
        """
        goal = self._spec.goal
        if goal is None:
            return []
        if not self.holds(state):
            self._since, self.held_time = None, 0.0
            return self._give_up(now, goal.patience)
        if self._since is None:
            self._since = now
        self.held_time = (now - self._since) * 1e-9
        if self._reached or self.held_time < goal.hold_time:
            return []
        self._reached = True
        if not self._spec.targets:
            return self._solve(self._since, started)
        aimed_at = now if self._aimed_at is None else self._aimed_at
        self.in_a_row += 1
        events = [f"reached after {(self._since - aimed_at) * 1e-9:.1f} s: {self.describe()}"]
        if self.in_a_row == goal.in_a_row:
            events += self._solve(self._since, started)
        if goal.patience is not None and not self.told:
            self._set(self._drawn(), now)
        return events

    def _give_up(self, now: int, patience: float | None) -> list[str]:
        if patience is None or self._aimed_at is None or not self._spec.targets:
            return []
        if (now - self._aimed_at) * 1e-9 < patience:
            return []
        event = f"not reached in {patience:g} s: {self.describe()}"
        self.in_a_row = 0
        self._set(self.targets if self.told else self._drawn(), now)
        return [event]

    def _solve(self, since: int, started: int) -> list[str]:
        assert self._spec.goal is not None
        if not math.isnan(self.solved_at):
            return []
        self.solved_at = (since - started) * 1e-9
        if self._spec.targets:
            what = f"{self.in_a_row} targets were reached in a row, the last"
        else:
            what = f"the goal has held for {self.held_time:.1f} s without a break, beginning"
        return [f"SOLVED: {what} {self.solved_at:.1f} s after the first command"]
