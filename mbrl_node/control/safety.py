"""The last thing between any controller and the robot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mbrl_node.spec import RobotSpec

Array = NDArray[np.float64]


class SafetyFilter:
    """Makes every command finite, of the right size, and within the spec's limits and rate
    limits."""

    def __init__(self, spec: RobotSpec) -> None:
        self._low, self._high, self._safe = spec.action_min, spec.action_max, spec.action_safe
        self._step = spec.action_max_rate * spec.dt  # largest change a tick; inf: none

    def __call__(self, requested: Array, last: Array) -> tuple[Array, str]:
        """The command to send, and why it is not what was requested (empty: within limits or
        clipped).

        Args:
            requested: from a controller, anything.
            last: the command before, [m].
        """
        problem = ""
        if requested.shape != self._safe.shape:
            problem = (
                f"an action of {len(self._safe)} values was expected, got shape {requested.shape}"
            )
        elif not np.isfinite(requested).all():
            problem = f"the action {requested} is not finite"
        if problem:
            requested = self._safe
        # The limits come last: a rate limit never keeps a command outside them.
        limited = np.clip(requested, last - self._step, last + self._step)
        return np.clip(limited, self._low, self._high), problem
