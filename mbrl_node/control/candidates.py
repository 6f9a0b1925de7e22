"""Where the best of what a planner looked at would have led: for pictures, not for control."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mbrl_node.control.controller import Array
from mbrl_node.planning import Planner, Rollout


@dataclass(frozen=True, slots=True)
class Candidates:
    """Sampled trajectories, best first."""

    states: Array  # [K, H + 1, n]
    returns: Array  # [K]


def take_candidates(planner: Planner, rollout: Rollout, start: Tensor) -> Candidates | None:
    """Where the sequences lead that the planner kept of its last plan; each is given once.

    Args:
        start: the model state that the plan starts from, [x].

    Returns:
        None: it kept none, see `Planner.keep`.
    """
    kept, planner.kept = planner.kept, None
    if kept is None:
        return None
    actions, returns = kept
    states, _ = rollout.trajectories(start, actions)
    return Candidates(*(x.cpu().numpy().astype(np.float64) for x in (states, returns)))
