"""The cross-entropy method."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from mbrl_node.planning.planner import (
    ActionSpace,
    Planner,
    PlannerConfig,
    Returns,
    best,
    held,
    towards,
)


class CEMConfig(PlannerConfig):
    """Parameters of the cross-entropy method."""

    samples: int = Field(40, ge=1, le=1_000_000, description="action sequences an iteration")
    iterations: int = Field(3, ge=1, le=1000, description="times the mean is improved in a plan")
    elite_ratio: float = Field(
        0.2, gt=0, le=1, description="part of the samples, the best, that make the next mean"
    )
    action_hold: int = Field(
        4, ge=1, description="control periods for which a drawn deviation from the mean is held"
    )
    noise: float = Field(
        0.5,
        gt=0,
        description="standard deviation of the first samples around the mean, as a part of each "
        "action's half range",
    )
    min_noise: float = Field(
        0.05, gt=0, description="the least standard deviation, as a part of each half range"
    )
    momentum: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="part of the mean and deviation kept from iteration to iteration",
    )


class CEM(Planner):
    """Draws samples around a mean, then moves the mean and the standard deviation of every action
    to those of the best samples, the elites (Rubinstein 1999; as in PETS, arXiv 1805.12114). The
    plan is the mean, not the single best sample, which owes its place to the model's errors too.

    Samples are from a normal distribution truncated to the bounds, not clipped, so that no
    probability piles up on a bound. Each plan starts from the mean of the last, and from the full
    noise.
    """

    Config = CEMConfig

    def __init__(self, config: CEMConfig, space: ActionSpace, dt: float, seed: int = 0) -> None:
        super().__init__(config, space, dt, seed)
        self._config = config

    def plan(
        self,
        rollout: Returns,
        state: Tensor,
        last_action: Tensor | None = None,
        proposals: Tensor | None = None,
    ) -> Tensor:
        config, space = self._config, self.space
        hold, blocks = config.action_hold, -(-self.horizon // config.action_hold)
        floor = config.min_noise * space.half_range
        mean = space.project(self._warm_start(), last_action)
        std = (config.noise * space.half_range).expand_as(mean)
        extra = proposals
        for samples, _ in self._iterations():
            uniform = held(self._uniform(samples, blocks, len(space.low)), hold, self.horizon)
            actions = truncated_normal(uniform, mean, std, space)
            actions, extra = self._candidates(space, actions, last_action, extra), None
            returns = self._returns(rollout, state, actions)
            count = max(1, round(config.elite_ratio * samples))
            elite = best(actions, returns, count, fill=self.tops is not None)
            mean, std = towards(elite, mean, std, config.momentum, floor)
        self._mean = mean
        return mean


def truncated_normal(uniform: Tensor, mean: Tensor, std: Tensor, space: ActionSpace) -> Tensor:
    """Normal samples conditioned on being within the box, by the inverse of their distribution.

    Args:
        uniform: from [0, 1), [N, H, m].
        mean: within the box, [H, m].
        std: [H, m].
    """
    low = torch.special.ndtr((space.low - mean) / std)
    high = torch.special.ndtr((space.high - mean) / std)
    # Where a bound is many deviations away the ends are 0 and 1, and their inverse infinite: the
    # clip of the caller would put such a draw on the bound. 1e-7 is 5.2 deviations.
    quantile = (uniform * (high - low)).add_(low).clamp_(1e-7, 1 - 1e-7)
    # erfinv is several times as fast as ndtri.
    samples: Tensor = quantile.mul_(2).sub_(1).erfinv_().mul_(2**0.5 * std).add_(mean)
    return samples
