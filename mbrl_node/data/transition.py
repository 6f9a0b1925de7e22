"""One step of the Markov decision process, as it happened."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def no_targets() -> Array:
    """Those of a task that has none, [0]."""
    return np.zeros(0)


@dataclass(frozen=True, slots=True)
class Transition:
    """In `state` the robot was sent `action`; one control period later it was in `next_state`.

    `(session, sequence)` identifies it; sequences count from 0 without gaps. Stamps are robot time
    in ns. Shapes: state and next_state [n], action and action_requested [m].
    """

    session: int
    sequence: int
    episode: int
    step: int
    stamp: int
    next_stamp: int
    state: Array
    action: Array
    action_requested: Array
    next_state: Array
    reward: float
    terminated: bool
    truncated: bool
    controller: str
    model_version: int
    targets: Array = field(default_factory=no_targets)  # what the task aimed at, [t]
