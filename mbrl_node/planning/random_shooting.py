"""Random shooting: the plain baseline of sampling MPC."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from mbrl_node.planning.planner import ActionSpace, Planner, PlannerConfig, Returns, held


class RandomShootingConfig(PlannerConfig):
    """Parameters of random shooting."""

    samples: int = Field(150, ge=1, le=1_000_000, description="action sequences a plan")
    action_hold: int = Field(
        4, ge=1, description="control periods for which a drawn action is held"
    )


class RandomShooting(Planner):
    """Draws action sequences from U(a) and takes the best; nothing is carried from plan to plan
    (the planner of Nagabandi et al., arXiv 1708.02596)."""

    Config = RandomShootingConfig

    def __init__(
        self, config: RandomShootingConfig, space: ActionSpace, dt: float, seed: int = 0
    ) -> None:
        super().__init__(config, space, dt, seed)
        self._config = config

    def plan(
        self,
        rollout: Returns,
        state: Tensor,
        last_action: Tensor | None = None,
        proposals: Tensor | None = None,
    ) -> Tensor:
        space, hold = self.space, self._config.action_hold
        for samples, _ in self._iterations():
            drawn = self._uniform(samples, -(-self.horizon // hold), len(space.low))
            drawn = held(drawn, hold, self.horizon)
            actions = space.low + drawn * (space.high - space.low)
            actions = self._candidates(space, actions, last_action, proposals)
            highest = self._returns(rollout, state, actions).argmax(0, keepdim=True)
        return actions.index_select(0, highest)[0]
