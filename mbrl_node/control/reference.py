"""Which state is wanted when, for the controllers that follow a reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mbrl_node.control.controller import Array
from mbrl_node.spec.system import System

StateAt = Callable[[float], Array]  # time since the start, s -> state [n]


@dataclass(frozen=True, eq=False)
class Reference:
    """A trajectory of states."""

    at: StateAt

    @classmethod
    def of(cls, states: ArrayLike | StateAt, system: System) -> Reference:
        """Checks what is wanted.

        Args:
            states: one that is held, [n]; or one a control period, [T, n], the last of which is
                held; or a function of the time since the start in s.

        Raises:
            ValueError: they have another shape or are not finite.
        """
        if callable(states):
            return cls(states)
        values, n = np.array(states, dtype=np.float64), system.state_dim
        if values.ndim not in (1, 2) or values.size == 0 or values.shape[-1] != n:
            raise ValueError(f"the reference has shape {values.shape}, not [{n}] or [T, {n}]")
        if not np.isfinite(values).all():
            raise ValueError("the reference has a value that is not finite")
        rows, last = np.atleast_2d(values), values.size // n - 1
        return cls(lambda time: rows[min(round(time / system.dt), last)])


class Follower:
    """A reference and when it began: at the first look after it was given, or after `restart`."""

    def __init__(self, reference: Reference | None = None) -> None:
        self.reference = reference  # may be given from any thread
        self._began: tuple[Reference, int] | None = None

    def restart(self) -> None:
        """The next look is the first."""
        self._began = None

    def look(self, now: int, ahead: float = 0.0) -> Array:
        """The state that is wanted `ahead` s after the robot time `now` in ns, [n].

        Raises:
            RuntimeError: there is no reference.
        """
        reference = self.reference  # once: it may be another one any time
        if reference is None:
            raise RuntimeError("there is no reference to follow")
        if self._began is None or self._began[0] is not reference or now < self._began[1]:
            self._began = reference, now
        return reference.at((now - self._began[1]) * 1e-9 + ahead)
