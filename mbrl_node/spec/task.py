"""What a robot is to do, as functions of its states and actions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mbrl_node.spec.robot import RobotSpec
from mbrl_node.spec.terms import (
    ConstraintFunction,
    RangeTermination,
    RewardFunction,
    Targets,
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

    @property
    def aims(self) -> bool:
        """Whether its reward depends on targets."""
        return isinstance(self.reward, TermReward) and self.reward.aims

    def real_reward(
        self, state: Tensor, action: Tensor, next_state: Tensor, paid: Tensor
    ) -> Tensor:
        """The reward of steps that happened, [...]: what a robot's task would pay for them with the
        targets of now, because targets and task may have been others then; else what was paid."""
        if isinstance(self.reward, TermReward):
            return self.reward(state, action, next_state)
        return paid

    @classmethod
    def of(cls, spec: RobotSpec, targets: Targets | None = None) -> Task:
        """As the robot's file says.

        Args:
            targets: what it aims at, to be changed by who holds them; None: what it begins with.
        """
        return cls(TermReward(spec, targets), RangeTermination(spec), constraint_function(spec))
