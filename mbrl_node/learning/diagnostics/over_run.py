"""How the model's quality went over the run, and whether the robot did better for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mbrl_node.learning.diagnostics.one_step import one_step, predict
from mbrl_node.learning.diagnostics.run import IntArray, Run
from mbrl_node.learning.diagnostics.statistics import Correlation, correlation

EPISODES = 8  # as many are judged by their return; with fewer, spans of a second are
SPAN = 1.0  # s


@dataclass(frozen=True)
class Kept:
    """A version that is left, on rows that it has not seen."""

    version: int
    transitions: int  # that it was trained on
    relative: float
    relative_fields: list[float]
    nll: float


@dataclass(frozen=True)
class Trend:
    """Errors of all versions, each on what came right after it (`held_out`), and of those that are
    left and have not seen the last `rows` transitions, all on these (`kept`)."""

    versions: list[int]
    transitions: list[int]
    held_out_error: list[float]
    rows: int
    kept: list[Kept]
    late_change: float  # of the error, from the second to the last third of the versions, as a part


@dataclass(frozen=True)
class Mismatch:
    """Does the model's likelihood tell how well the robot does? (arXiv 2002.04523)

    `loss` is that of the versions while they acted, each held out; `reward` what came of it, for
    each episode the return, for each span the mean reward of a step.
    """

    unit: Literal["episode", "span"]
    likelihood: bool  # the loss is an NLL in nats a field; else a squared error
    loss: list[float]
    reward: list[float]
    when: list[int]  # the middle of each, in transitions
    correlation: Correlation


def trend(run: Run) -> Trend:
    """The course of the one-step error."""
    judged, kept = run.best_judged(), []
    rows = run.unseen(judged) if judged else range(0)
    for version in run.versions if judged else ():
        if version.transitions <= rows.start:
            step = one_step(run, predict(run, version, rows))
            kept.append(
                Kept(
                    version.number,
                    version.transitions,
                    step.relative_all,
                    step.relative,
                    step.nll_all,
                )
            )
    errors = np.array([h.error for h in run.held_out])
    _, middle, last = np.array_split(errors, 3)
    change = math.nan if len(errors) < 9 else float(np.median(last) / np.median(middle) - 1)
    return Trend(
        [h.version for h in run.held_out],
        [h.transitions for h in run.held_out],
        errors.tolist(),
        len(rows),
        kept,
        change,
    )


def mismatch(run: Run) -> Mismatch:
    """Held-out loss of the versions that acted, against what the robot was paid meanwhile."""
    losses = {h.version: h.loss for h in run.held_out}
    likelihood = run.newest.dynamics.net.probabilistic
    loss = np.array([losses.get(int(version), math.nan) for version in run.acting])
    if likelihood:  # the loss is without its constant and doubled
        loss = 0.5 * (loss + math.log(2 * math.pi))
    reward = run.buffer.batch().reward.numpy().astype(np.float64)
    known = np.isfinite(loss) & np.isfinite(reward)
    by_episode = len(np.unique(run.episode[known])) >= EPISODES
    group = run.episode if by_episode else _spans(run)
    numbers = [k for k in np.unique(group) if known[group == k].mean() > 0.5]
    pick = [np.flatnonzero((group == k) & known) for k in numbers]
    x = np.array([loss[rows].mean() for rows in pick])
    y = np.array([reward[rows].sum() if by_episode else reward[rows].mean() for rows in pick])
    return Mismatch(
        "episode" if by_episode else "span",
        likelihood,
        x.tolist(),
        y.tolist(),
        [int(np.median(rows)) for rows in pick],
        correlation(x, y),
    )


def _spans(run: Run) -> IntArray:
    """Rows cut into spans of about a second each, none over the end of an unbroken sequence."""
    steps = max(1, round(SPAN / run.system.dt))
    first = run.buffer.first().numpy()
    index = np.arange(len(first))
    result: IntArray = first + (index - first) // steps * steps
    return result
