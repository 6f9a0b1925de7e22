"""Model predictive path integral control."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from mbrl_node.planning.planner import (
    ActionSpace,
    Planner,
    PlannerConfig,
    Returns,
    by_time,
    filtered,
)


class MPPIConfig(PlannerConfig):
    """Parameters of MPPI."""

    iterations: int = Field(1, ge=1, le=1000, description="times the mean is improved in a plan")
    noise: float = Field(
        0.6,
        gt=0,
        description="standard deviation of the samples around the mean, as a part of each "
        "action's half range",
    )
    covariance: tuple[float, ...] = Field(
        (1.0,),
        description="of the noise between actions, in units of noise²: one number, a variance for "
        "each action, or a whole matrix row by row",
    )
    correlation: float = Field(
        0.8, ge=0, lt=1, description="of the noise from one control period to the next"
    )
    temperature: float = Field(
        0.1, gt=0, description="in standard deviations of the samples' returns; lower is greedier"
    )
    smoothing: int = Field(
        0, ge=0, description="control periods on each side that smooth the plan; 0: none"
    )
    lifted: bool = Field(
        False, description="search changes of the action instead of actions: smoother, slower"
    )


class MPPI(Planner):
    """Moves a mean sequence towards samples around it, weighted by exp(return / temperature)
    (arXiv 1707.02342), with first-order autoregressive noise for smooth actions.

    The temperature is relative to the spread of the returns, so that it fits any scale of reward,
    and a robot at rest, where all returns are nearly the same, is still moved. The first sample is
    the mean.

    Lifted (SMPPI, arXiv 2112.09988), the noise is on the changes of the action from one control
    period to the next, and so is what is remembered: a plan goes on from the last action, and stays
    there beyond what the plan before knew. The noise is scaled such that its mean square over the
    horizon is the same as otherwise.

    Raises:
        ValueError: `covariance` is not a covariance of this many actions.
    """

    Config = MPPIConfig
    remembers = ("_mean", "_before")

    def __init__(self, config: MPPIConfig, space: ActionSpace, dt: float, seed: int = 0) -> None:
        super().__init__(config, space, dt, seed)
        self._config = config
        # Row t of this lower-triangular matrix turns white noise into AR(1) noise of unit variance.
        rho, steps = config.correlation, torch.arange(self.horizon)
        power = rho ** (steps[:, None] - steps[None, :]).clamp(min=0).float()
        scale = torch.where(steps == 0, torch.ones(()), torch.tensor((1 - rho**2) ** 0.5))
        self._colour = torch.tril(power) * scale
        if config.lifted:
            total = self._colour.cumsum(0)
            self._colour = total / total.square().sum(1).mean().sqrt()
        factor = covariance_factor(config.covariance, len(space.low))
        self._independent = not torch.tril(factor, -1).any()
        self._colour = self._colour.to(space.low)
        self._factor = factor.to(space.low)
        self._smoother = line_filter(self.horizon, config.smoothing).to(space.low)

    def reset(self) -> None:
        super().reset()
        self._before: Tensor | None = None  # lifted: the action that the remembered changes follow

    def resume(self, other: Planner) -> None:
        # What is remembered is another thing with `lifted` than without.
        if isinstance(other, MPPI) and other._config.lifted == self._config.lifted:
            super().resume(other)

    def shift(self, steps: int) -> None:
        if not self._config.lifted:
            super().shift(steps)
        elif self._mean is not None and self._before is not None and steps > 0:
            self._before = self._before + self._mean[:steps].sum(0)
            self._mean = self._later(self._mean, steps, torch.zeros_like(self._before))

    def plan(
        self,
        rollout: Returns,
        state: Tensor,
        last_action: Tensor | None = None,
        proposals: Tensor | None = None,
    ) -> Tensor:
        space, mean, extra = self.space, self._warm_start(last_action), proposals
        spread = self._config.noise * space.half_range[:, None] * self._factor
        for samples, _ in self._iterations():
            white = self._normal(samples, *mean.shape)
            white[0] = 0.0
            noise = filtered(self._colour, white)
            if self._independent:
                noise.mul_(spread.diagonal())
            else:
                noise = (spread @ by_time(noise)).permute(2, 0, 1)
            actions = self._candidates(space, noise.add_(mean), last_action, extra)
            extra = None
            weights = self._weights(self._returns(rollout, state, actions))
            mean = by_time(actions) @ weights
        if self._config.smoothing:
            mean = space.project(self._smoother @ mean, last_action)
        self._remember(mean, last_action)
        return mean

    def _weights(self, returns: Tensor) -> Tensor:
        """How much each sequence counts, [N]; they add up to 1."""
        # In double precision the spread is finite whatever a diverging model returns.
        exact = returns.double()
        if self.tops is None and float(exact.min()) > -math.inf:
            spread = exact.std(correction=0)
        else:
            spread = self._spread_of_finite(exact)
        return torch.softmax(exact / (self._config.temperature * spread.clamp(min=1e-6)), 0).float()

    @staticmethod
    def _spread_of_finite(returns: Tensor) -> Tensor:
        """The standard deviation of those above -inf, without looking at a number."""
        below = returns - returns.max()
        lost = below == -math.inf
        known, count = below.masked_fill(lost, 0.0), len(below) - lost.sum()
        return (known.dot(known) / count - (known.sum() / count).square()).clamp(min=0.0).sqrt()

    def _start(self, last_action: Tensor | None) -> Tensor:
        """The action before the plan's first, [m]."""
        if last_action is not None:
            return last_action
        return self.space.centre if self._before is None else self._before

    def _warm_start(self, last_action: Tensor | None = None) -> Tensor:
        if not self._config.lifted:
            return super()._warm_start()
        start = self._start(last_action)
        if self._mean is None:
            return start.expand(self.horizon, -1)
        return start + self._mean.cumsum(0)

    def _remember(self, mean: Tensor, last_action: Tensor | None) -> None:
        self._mean = mean
        if self._config.lifted:
            self._before = self._start(last_action)
            self._mean = mean.diff(dim=0, prepend=self._before[None])


def covariance_factor(values: tuple[float, ...], actions: int) -> Tensor:
    """The lower-triangular [m, m] matrix whose product with its transpose is the covariance given.

    Args:
        values: one variance, one for each of the m actions, or the m × m covariance row by row.

    Raises:
        ValueError: it is none of these, not symmetric or not positive definite.
    """
    given = torch.tensor(values, dtype=torch.float64)
    if len(given) in (1, actions):
        matrix = torch.diag(given.expand(actions))
    elif len(given) == actions**2:
        matrix = given.view(actions, actions)
    else:
        sizes = " or ".join(str(n) for n in sorted({1, actions, actions**2}))
        raise ValueError(f"covariance: {sizes} numbers expected, got {len(given)}")
    if not torch.allclose(matrix, matrix.T, equal_nan=True):
        raise ValueError(f"covariance: {matrix.tolist()} is not symmetric")
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed or not torch.isfinite(factor).all():
        raise ValueError(f"covariance: {matrix.tolist()} is not positive definite")
    return factor.float()


def line_filter(horizon: int, width: int) -> Tensor:
    """The [H, H] matrix that puts in each value's place that of the line fitted to it and to
    `width` neighbours on each side (Savitzky and Golay 1964, of first order): a moving average
    that leaves straight lines alone up to the very first and last value."""
    steps = torch.arange(horizon, dtype=torch.float64)
    rows = []
    for t in steps:
        near = ((steps - t).abs() <= width).double()
        basis = torch.stack((near, near * (steps - t)), 1)
        rows.append(torch.linalg.pinv(basis)[0])
    return torch.stack(rows).float()
