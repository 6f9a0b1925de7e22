"""What every sampling planner is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_node.planning.rollout import Rollout
from mbrl_node.spec import RobotSpec


@dataclass(frozen=True)
class ActionSpace:
    """A box of actions; `low` and `high` are [m]."""

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, spec: RobotSpec) -> ActionSpace:
        """The limits in the robot's spec."""
        low, high = (
            torch.as_tensor(x, dtype=torch.float32) for x in (spec.action_min, spec.action_max)
        )
        return cls(low, high)

    def to(self, device: torch.device) -> ActionSpace:
        """The same box on another device."""
        return ActionSpace(self.low.to(device), self.high.to(device))

    @property
    def centre(self) -> Tensor:
        """[m]."""
        return (self.low + self.high) / 2

    @property
    def half_range(self) -> Tensor:
        """[m]."""
        return (self.high - self.low) / 2

    def clip(self, actions: Tensor) -> Tensor:
        """Actions [..., m] moved into the box."""
        return torch.minimum(torch.maximum(actions, self.low), self.high)


class Planner(ABC):
    """Chooses action sequences by sampling, and remembers the last for a warm start.

    A plan is deterministic given the seed, the states and the models it has seen since `reset`.
    """

    def __init__(self, space: ActionSpace, horizon: int, seed: int) -> None:
        self.space, self.horizon, self._seed = space, horizon, seed
        self.reset()

    def reset(self) -> None:
        """Forgets everything that earlier plans left, the state of the random numbers too."""
        self._generator = torch.Generator().manual_seed(self._seed)
        self._mean: Tensor | None = None

    @abstractmethod
    def plan(self, rollout: Rollout, state: Tensor) -> Tensor:
        """The best action sequence found from `state` [n], as [H, m] within the action space.

        Raises:
            PlanningError: the model gives no finite return.
        """

    def shift(self, steps: int) -> None:
        """Moves the remembered sequence `steps` control periods on, because that time has
        passed."""
        if self._mean is not None and steps > 0:
            keep = self._mean[min(steps, self.horizon) :]
            self._mean = torch.cat((keep, self.space.centre.expand(self.horizon - len(keep), -1)))

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self._generator)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator)
