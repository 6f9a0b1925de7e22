"""What one step of a model says: errors, likelihood, calibration, and what its spread is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mbrl_node.learning.diagnostics.run import Run, Version
from mbrl_node.learning.diagnostics.statistics import (
    LEVELS,
    Array,
    Correlation,
    chance_error,
    correlation,
    coverage,
    evenly,
)

MOST_ROWS = 20_000  # that are predicted, evenly over the run
BINS = 8  # of the ensemble's spread


@dataclass(frozen=True)
class OneStep:
    """Errors of the ensemble's mean over one period, by field [d] and over all.

    `relative` errors are over the standard deviation of the change in the whole run: 1 is as good
    as always predicting the mean change. `nll` is the negative log-likelihood under the members'
    mixture, in nats a field, of the change in that unit: always predicting the Gaussian of all
    changes gives 1.42, lower is better. None: the model knows no distribution.
    """

    rows: int
    rmse: list[float]
    bias: list[float]  # mean of prediction - truth
    relative: list[float]
    relative_all: float
    nll: list[float] | None
    nll_all: float


@dataclass(frozen=True)
class Calibration:
    """How often central intervals of the prediction hold what happened."""

    observations: int
    levels: list[float]
    observed: list[list[float]]  # by field, [d][levels]
    observed_all: list[float]  # mean over the fields
    error: float  # mean distance of observed from expected, over levels and fields
    bias: float  # mean of observed - expected: below 0 the model is too sure of itself
    by_chance: float  # the error that a perfect model would have with so few observations


@dataclass(frozen=True)
class Spread:
    """Whether the members disagree where they are wrong. Spread and error of a row are root mean
    squares over the fields, in standard deviations of the change."""

    correlation: Correlation
    spread: list[float]  # of some rows
    error: list[float]
    bin_spread: list[float]  # medians of bins with the same number of rows
    bin_error: list[float]


@dataclass(frozen=True)
class Prediction:
    """Of B rows by E members, in standard deviations of the change."""

    mean: Tensor  # [E, B, d]
    std: Tensor  # [E, B, d]
    truth: Tensor  # [B, d]

    @property
    def error(self) -> Tensor:
        """Prediction - truth, [B, d]."""
        return self.mean.mean(0) - self.truth

    @property
    def knows_noise(self) -> bool:
        return bool((self.std > 0).any())

    def nll(self) -> Tensor:
        """Under the members' mixture, [B, d]."""
        z = (self.truth - self.mean) / self.std
        log_density = -0.5 * (z.square() + math.log(2 * math.pi)) - self.std.log()
        return math.log(len(self.mean)) - log_density.logsumexp(0)

    def quantile(self) -> Tensor:
        """Where in its predicted distribution the truth lies, [B, d].

        Of members that know no noise, the distribution is the Gaussian of their means.
        """
        mean, std = self.mean, self.std
        if not self.knows_noise:
            mean, std = mean.mean(0, keepdim=True), mean.std(0, keepdim=True).clamp(min=1e-9)
        result: Tensor = torch.special.ndtr((self.truth - mean) / std).mean(0)
        return result


@torch.no_grad()
def predict(run: Run, version: Version, rows: range | Array) -> Prediction:
    """One-step predictions of some rows, at most `MOST_ROWS` of them."""
    data = run.batch(version)[torch.as_tensor(evenly(rows, MOST_ROWS))]
    model = version.dynamics
    inputs = (t.expand(model.members, *t.shape) for t in (data.state, data.action))
    mean, std = (t.double() / run.change_std for t in model.distribution(*inputs))
    truth = model.difference(data.state, data.next_state).double() / run.change_std
    return Prediction(mean, std, truth)


def one_step(run: Run, prediction: Prediction) -> OneStep:
    """Errors and likelihood."""
    error = prediction.error
    relative = error.square().mean(0).sqrt()
    nll = prediction.nll().mean(0) if prediction.knows_noise else None
    return OneStep(
        len(error),
        (relative * run.change_std).tolist(),
        (error.mean(0) * run.change_std).tolist(),
        relative.tolist(),
        float(error.square().mean().sqrt()),
        None if nll is None else nll.tolist(),
        math.nan if nll is None else float(nll.mean()),
    )


def calibration(prediction: Prediction) -> Calibration | None:
    """None where there is no distribution: a single deterministic network."""
    if len(prediction.mean) == 1 and not prediction.knows_noise:
        return None
    return calibration_of(prediction.quantile().numpy())


def calibration_of(quantile: Array, levels: tuple[float, ...] = LEVELS) -> Calibration:
    """Of quantiles [K, d]."""
    observed = coverage(quantile, levels)
    apart = observed - np.array(levels)[:, None]
    return Calibration(
        len(quantile),
        list(levels),
        observed.T.tolist(),
        observed.mean(1).tolist(),
        float(np.abs(apart).mean()),
        float(apart.mean()),
        chance_error(len(quantile), levels),
    )


def spread(prediction: Prediction) -> Spread | None:
    """None for a single network."""
    if len(prediction.mean) == 1:
        return None
    apart = prediction.mean.std(0).square().mean(-1).sqrt().numpy()
    error = prediction.error.square().mean(-1).sqrt().numpy()
    bins = [part for part in np.array_split(np.argsort(apart), BINS) if len(part)]
    some = evenly(range(len(apart)), 400)
    return Spread(
        correlation(apart, error),
        apart[some].tolist(),
        error[some].tolist(),
        [float(np.median(apart[part])) for part in bins],
        [float(np.sqrt(np.square(error[part]).mean())) for part in bins],
    )
