"""Random shooting: the plain baseline of sampling MPC."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from mbrl_node.planning.planner import ActionSpace, Planner
from mbrl_node.planning.rollout import Rollout


class RandomShootingConfig(BaseModel):
    """Parameters of random shooting."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon: float = Field(1.2, gt=0, description="how far ahead it plans, s")
    samples: int = Field(150, ge=1, description="action sequences a plan")
    action_hold: int = Field(
        4, ge=1, description="control periods for which a drawn action is held"
    )


class RandomShooting(Planner):
    """Draws action sequences from U(a) and takes the best; nothing is carried from plan to plan."""

    def __init__(
        self, config: RandomShootingConfig, space: ActionSpace, dt: float, seed: int = 0
    ) -> None:
        super().__init__(space, max(1, round(config.horizon / dt)), seed)
        self._config = config

    def plan(self, rollout: Rollout, state: Tensor) -> Tensor:
        space = self.space.to(state.device)
        hold = self._config.action_hold
        drawn = self._uniform(self._config.samples, -(-self.horizon // hold), len(space.low))
        actions = drawn.repeat_interleave(hold, dim=1)[:, : self.horizon].to(state.device)
        actions = space.low + actions * (space.high - space.low)
        returns = rollout.returns(state, actions)
        return actions[torch.argmax(returns)]
