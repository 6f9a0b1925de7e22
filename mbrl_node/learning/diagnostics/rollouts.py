"""What a model says of the seconds ahead: open loop over the actions that were really sent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mbrl_node.data import Batch
from mbrl_node.learning.diagnostics.one_step import Calibration, calibration_of
from mbrl_node.learning.diagnostics.run import Run, Version
from mbrl_node.learning.diagnostics.statistics import (
    LEVELS,
    Correlation,
    correlation,
    evenly,
)

MOST_STARTS = 100  # rollouts, evenly over the data
FEWEST_STARTS = 20  # for the sake of these the horizon is shortened
LONGEST = 60  # steps
PARTICLES = 100  # a rollout, over all members
HORIZON_LEVELS = LEVELS[:-1]  # 99 % would need more particles


@dataclass(frozen=True)
class Horizon:
    """Errors h = 1 … H steps ahead, of the members' mean, by field [d][H] and over all [H].

    `relative` errors are over the standard deviation of the states in the run; `stays` is the error
    of saying that the state stays as it is. Infinite where the prediction is.
    """

    starts: int
    seconds: list[float]
    rmse: list[list[float]]
    relative: list[list[float]]
    relative_all: list[float]
    stays: list[list[float]]  # relative, by field
    stays_all: list[float]
    calibration: list[Calibration] | None  # of particles that draw the noise, each step
    spread_correlation: list[float] | None  # rank correlation of spread and error, each step


@dataclass(frozen=True)
class Returns:
    """What the model says that the executed actions would pay, and what they paid, over `steps`."""

    steps: int
    predicted: list[float]
    realised: list[float]
    correlation: Correlation
    bias: float  # mean of predicted - realised: above 0 the model promises too much
    rmse: float
    realised_std: float


@dataclass(frozen=True)
class Rollouts:
    """W starts, H steps, E members, P particles a member.

    Differences are what takes the truth to the prediction, in standard deviations of the state.
    """

    seconds: list[float]  # [H]
    members: Tensor  # [H, E, W, d], without noise
    particles: Tensor | None  # [H, E P, W, d], with noise; None: one network that knows none
    stays: Tensor  # [H, W, d]
    states: Tensor  # predicted by each member without noise, from the start on, [H + 1, E, W, n]
    data: Batch  # what happened, [W, H, ...]


def starts(run: Run, rows: range, wanted: int) -> tuple[torch.Tensor, int]:
    """Rows from which there are enough unbroken steps, and how many steps; none where there are no
    two steps in a row."""
    for steps in range(min(wanted, LONGEST, len(rows)), 1, -1):
        begin = run.buffer.starts(steps, rows)
        if len(begin) >= FEWEST_STARTS or (steps == 2 and len(begin)):
            return torch.as_tensor(evenly(begin.numpy(), MOST_STARTS)), steps
    return torch.empty(0, dtype=torch.long), 0


@torch.no_grad()
def roll(run: Run, version: Version, rows: range, wanted: int, seed: int = 0) -> Rollouts | None:
    """Runs the model over recorded actions from many of the rows; None where no two steps follow
    each other."""
    begin, steps = starts(run, rows, wanted)
    if steps == 0:
        return None
    data = run.batch(version)[begin[:, None] + torch.arange(steps)]
    model, n = version.dynamics, run.system.state_dim
    draws = model.members > 1 or model.net.probabilistic
    copies = -(-PARTICLES // model.members)
    generator = torch.Generator().manual_seed(seed)
    exact = data.state[:, 0].expand(model.members, -1, -1)
    noisy = exact.repeat(1, copies, 1)
    members, particles, stays, states = [], [], [], [exact[..., :n]]
    for h in range(steps):
        action, truth = data.action[:, h], data.next_state[:, h]
        exact = model.predict(exact, action.expand(model.members, -1, -1))
        states.append(exact[..., :n])
        members.append(model.difference(truth.expand_as(exact[..., :n]), exact[..., :n]))
        stays.append(model.difference(truth, data.state[:, 0, :n]))
        if draws:
            actions = action.repeat(copies, 1).expand(model.members, -1, -1)
            shape = (*actions.shape[:2], model.geometry.difference_dim)
            noise = torch.randn(shape, generator=generator).to(noisy.device)
            noisy = model.sample(noisy, actions, noise)
            there = noisy[..., :n].reshape(-1, len(begin), n)
            particles.append(model.difference(truth.expand_as(there), there))
    return Rollouts(
        [(h + 1) * run.system.dt for h in range(steps)],
        torch.stack(members) / run.state_std,
        torch.stack(particles) / run.state_std if draws else None,
        torch.stack(stays) / run.state_std,
        torch.stack(states),
        data,
    )


def horizon(run: Run, rollouts: Rollouts) -> Horizon:
    """Error, calibration and spread, each step ahead."""
    error = rollouts.members.mean(1)  # [H, W, d]
    relative = _rms(error, 1)  # [H, d]
    stays = _rms(rollouts.stays, 1)
    count = rollouts.members.shape[1]
    return Horizon(
        error.shape[1],
        rollouts.seconds,
        (relative * run.state_std).T.tolist(),
        relative.T.tolist(),
        _rms(error, (1, 2)).tolist(),
        stays.T.tolist(),
        _rms(rollouts.stays, (1, 2)).tolist(),
        None if rollouts.particles is None else [_coverage(p) for p in rollouts.particles],
        None
        if count == 1
        else [
            correlation(
                _rms(member.std(0), -1).numpy().astype(np.float64),
                _rms(mean, -1).numpy().astype(np.float64),
            ).spearman
            for member, mean in zip(rollouts.members, error, strict=True)
        ],
    )


def _rms(values: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    return values.square().mean(dim).sqrt().nan_to_num(nan=math.inf)


def _coverage(particles: Tensor) -> Calibration:
    """Of differences truth → particle, [P, W, d]: the truth's quantile is the part below it."""
    below = (particles < 0).sum(0).numpy()
    return calibration_of((below + 0.5) / (len(particles) + 1), HORIZON_LEVELS)


@torch.no_grad()
def returns(run: Run, version: Version, rollouts: Rollouts) -> Returns | None:
    """Of the members' mean, as a planner adds it up; None where nobody knows the reward."""
    task = version.world.completed(run.task)
    if task.reward is None:
        return None
    before, after = rollouts.states[:-1], rollouts.states[1:]
    actions = rollouts.data.action.transpose(0, 1)[:, None].expand(*after.shape[:-1], -1)
    rewards = task.reward(before, actions, after)
    if task.termination is not None:
        lives = task.termination(after).cumsum(0) == 0
        rewards[1:] *= lives[:-1]
    predicted = rewards.sum(0).mean(0).numpy().astype(np.float64)
    data, n = rollouts.data, after.shape[-1]
    real = task.real_reward(data.state[..., :n], data.action, data.next_state, data.reward)
    realised = real.sum(1).numpy().astype(np.float64)
    finite = np.isfinite(predicted) & np.isfinite(realised)
    if not finite.any():
        return None
    predicted, realised = predicted[finite], realised[finite]
    return Returns(
        len(rewards),
        predicted.tolist(),
        realised.tolist(),
        correlation(predicted, realised),
        float((predicted - realised).mean()),
        float(np.sqrt(np.square(predicted - realised).mean())),
        float(realised.std()),
    )
