"""iCEM, the sample-efficient cross-entropy method."""

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
    filtered,
    towards,
)


class ICEMConfig(PlannerConfig):
    """Parameters of iCEM."""

    samples: int = Field(
        48, ge=1, le=1_000_000, description="action sequences in the first iteration"
    )
    iterations: int = Field(3, ge=1, le=1000, description="times the mean is improved in a plan")
    decay: float = Field(
        1.25, ge=1, description="by which the samples get fewer from iteration to iteration"
    )
    elite_ratio: float = Field(
        0.2, gt=0, le=1, description="part of the first samples, the best, that make the next mean"
    )
    keep_elites: float = Field(
        0.3,
        ge=0,
        le=1,
        description="part of the elites that compete again in the next iteration, "
        "and, shifted, in the next plan",
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
    colour: float = Field(
        2.0, ge=0, description="β of the noise's spectrum 1/f^β; 0: white, higher: smoother"
    )
    momentum: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="part of the mean and deviation kept from iteration to iteration",
    )


class ICEM(Planner):
    """The cross-entropy method with smooth noise and a memory (Pinneri et al., arXiv 2008.06389):
    noise of spectrum 1/f^β, clipped at the bounds; the best elites compete again in the next
    iteration and the next plan; fewer samples from iteration to iteration; and the mean is one of
    the samples of the last iteration.

    Unlike the paper's, the plan is the mean of the elites, not the best sample. Kept elites are
    evaluated anew, so that a lucky return is not kept with them.
    """

    Config = ICEMConfig
    remembers = ("_mean", "_elite")

    def __init__(self, config: ICEMConfig, space: ActionSpace, dt: float, seed: int = 0) -> None:
        super().__init__(config, space, dt, seed)
        self._config = config
        self._colour = coloured_noise(self.horizon, config.colour).to(space.low)

    def reset(self) -> None:
        super().reset()
        self._elite: Tensor | None = None

    def shift(self, steps: int) -> None:
        super().shift(steps)
        if self._elite is not None and steps > 0:
            self._elite = self._later(self._elite, steps, self.space.centre)

    def plan(
        self,
        rollout: Returns,
        state: Tensor,
        last_action: Tensor | None = None,
        proposals: Tensor | None = None,
    ) -> Tensor:
        config, space = self._config, self.space
        floor = config.min_noise * space.half_range
        mean = space.project(self._warm_start(), last_action)
        elite = self._elite
        std = (config.noise * space.half_range).expand_as(mean)
        extra, first = proposals, 0
        for i, (samples, last) in enumerate(self._iterations()):
            first = first or samples
            elites = max(1, round(config.elite_ratio * first))
            # At least twice the elites, as in the paper, but not more than at first.
            count = min(first, round(max(first / config.decay**i, 2 * elites)))
            white = self._normal(count, *mean.shape)
            actions = filtered(self._colour, white).mul_(std).add_(mean)
            centre = mean[None] if last else None
            actions = self._candidates(space, actions, last_action, elite, extra, centre)
            extra = None
            returns = self._returns(rollout, state, actions)
            elite = best(actions, returns, elites, fill=self.tops is not None)
            mean, std = towards(elite, mean, std, config.momentum, floor)
            elite = elite[: round(config.keep_elites * elites)]
        self._mean, self._elite = mean, elite
        return mean


def coloured_noise(horizon: int, exponent: float) -> Tensor:
    """The [H, H] matrix that turns white noise of H steps into noise of unit variance whose
    spectrum is 1/f^exponent (Timmer and König 1995)."""
    frequency = torch.fft.rfftfreq(horizon, dtype=torch.float64)
    frequency[0] = 1 / horizon  # the mean of the sequence has the power of the lowest frequency
    gain = frequency ** (-exponent / 2)
    white = torch.fft.rfft(torch.eye(horizon, dtype=torch.float64), dim=0)
    matrix = torch.fft.irfft(gain[:, None] * white, n=horizon, dim=0)
    unit: Tensor = matrix / matrix.square().sum(1, keepdim=True).sqrt()
    return unit.float()
