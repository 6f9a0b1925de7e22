"""How far a robot's model is trusted: how much of the action's range commands may use."""

from __future__ import annotations

import numpy as np

from mbrl_node.control.controller import Array, no_limits
from mbrl_node.spec import RobotSpec

ALL = "the whole range of the action may be used"


def around_safe(spec: RobotSpec, share: float) -> Array:
    """The limits of the action that leave this share of the way from the safe command to min and to
    max, [2, m]."""
    ends = np.stack((spec.action_min, spec.action_max))
    return np.asarray(spec.action_safe + share * (ends - spec.action_safe))


class Trust:
    """The share of the action's range that is trusted now.

    It begins at `trust.initial` of the robot's file, widens in proportion to the time in which a
    learned model acts that predicts well, and falls half of the way back to where it began when the
    model gives way to an older one, and when the robot leaves its envelope. Without `trust` it is
    always 1. For the control thread alone.

    Attributes:
        share: up to 1.
        limits: the lowest and the highest command that are trusted, [2, m]; [2, 0] where they are
            the robot's own.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self._spec, self._trust = spec, spec.trust
        self._version = 0  # of the model in use
        self._set(self._trust.initial if self._trust is not None else 1.0)

    def _set(self, share: float) -> None:
        self.share = min(share, 1.0)
        self.limits = around_safe(self._spec, share) if share < 1.0 else no_limits()

    def look(self, version: int) -> str:
        """Notices that the model gave way to an older one; what there is to say of it.

        Args:
            version: of the model in use; 0: there is none.
        """
        before, self._version = self._version, version
        return self.lose(f"model {before} gave way to {version}") if version < before else ""

    def earn(self, seconds: float, error: float) -> str:
        """A learned model has acted; what there is to say of it.

        Args:
            seconds: for how long.
            error: its held-out error; NaN: nobody knows.
        """
        trust = self._trust
        if trust is None or self.share == 1.0 or not error < trust.error:
            return ""
        self._set(self.share + seconds * (1.0 - trust.initial) / trust.widen_time)
        return ALL if self.share == 1.0 else ""

    def lose(self, why: str) -> str:
        """Something has gone wrong; what there is to say of it, with a clause that says what."""
        if self._trust is None or self.share == self._trust.initial:
            return ""
        self._set(0.5 * (self.share + self._trust.initial))
        return f"{self.share:.0%} of the action's range may be used, as {why}"
