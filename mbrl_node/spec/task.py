"""What a robot is to do, as functions of its states and actions."""

from __future__ import annotations

from dataclasses import dataclass

from mbrl_node.spec.robot import RobotSpec
from mbrl_node.spec.terms import (
    ConstraintFunction,
    RangeTermination,
    RewardFunction,
    TerminationFunction,
    TermReward,
    constraint_function,
)


@dataclass(frozen=True)
class Task:
    """Reward and end of an episode as far as they are given; what is None is learned."""

    reward: RewardFunction | None = None
    termination: TerminationFunction | None = None
    # What breaking (or nearing) a limit costs in a plan: next state [..., n] -> [...], 0 or more.
    constraint: ConstraintFunction | None = None

    @classmethod
    def of(cls, spec: RobotSpec) -> Task:
        """As the robot's file says."""
        return cls(TermReward(spec), RangeTermination(spec), constraint_function(spec))
