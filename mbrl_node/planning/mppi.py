"""Model predictive path integral control."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from mbrl_node.planning.planner import ActionSpace, Planner
from mbrl_node.planning.rollout import Rollout


class MPPIConfig(BaseModel):
    """Parameters of MPPI."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon: float = Field(1.2, gt=0, description="how far ahead it plans, s")
    samples: int = Field(120, ge=1, description="action sequences an iteration")
    iterations: int = Field(1, ge=1, description="times the mean is improved in a plan")
    noise: float = Field(
        0.6,
        gt=0,
        description="standard deviation of the samples around the mean, as a part of each "
        "action's half range",
    )
    correlation: float = Field(
        0.8, ge=0, lt=1, description="of the noise from one control period to the next"
    )
    temperature: float = Field(
        0.1, gt=0, description="in standard deviations of the samples' returns; lower is greedier"
    )


class MPPI(Planner):
    """Moves a mean sequence towards samples around it, weighted by exp(return / temperature)
    (arXiv 1707.02342), with first-order autoregressive noise for smooth actions.

    The temperature is relative to the spread of the returns, so that it fits any scale of reward,
    and a robot at rest, where all returns are nearly the same, is still moved. The first sample is
    the mean.
    """

    def __init__(self, config: MPPIConfig, space: ActionSpace, dt: float, seed: int = 0) -> None:
        super().__init__(space, max(1, round(config.horizon / dt)), seed)
        self._config = config
        # Row t of this lower-triangular matrix turns white noise into AR(1) noise of unit variance.
        rho, steps = config.correlation, torch.arange(self.horizon)
        power = rho ** (steps[:, None] - steps[None, :]).clamp(min=0).float()
        scale = torch.where(steps == 0, torch.ones(()), torch.tensor((1 - rho**2) ** 0.5))
        self._colour = torch.tril(power) * scale

    def plan(self, rollout: Rollout, state: Tensor) -> Tensor:
        config, space = self._config, self.space.to(state.device)
        if self._mean is None:
            self._mean = space.centre.expand(self.horizon, -1).clone()
        mean, colour = self._mean.to(state.device), self._colour.to(state.device)
        for _ in range(config.iterations):
            white = self._normal(config.samples, self.horizon, len(space.low)).to(state.device)
            noise = config.noise * space.half_range * torch.einsum("ht,ntm->nhm", colour, white)
            noise[0] = 0.0
            actions = space.clip(mean + noise)
            returns = rollout.returns(state, actions)
            finite = returns[torch.isfinite(returns)]
            scale = config.temperature * finite.std(correction=0).clamp(min=1e-6)
            weights = torch.softmax((returns - finite.max()) / scale, 0)
            mean = torch.einsum("n,nhm->hm", weights, actions)
        self._mean = mean
        return mean
