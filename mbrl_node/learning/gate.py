"""The gate: is a new model at least as good as the one in use, where it matters?

It matters what a planner gets from a model: the states some steps ahead, predicted open loop from a
measured one with the actions that were taken, and what those states pay (one-step likelihood alone
does not tell, arXiv 2002.04523). Both models are judged on the same rows and in the same units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from mbrl_node.data import ReplayBuffer
from mbrl_node.models import WorldModel
from mbrl_node.models.checkpoint import all_finite
from mbrl_node.spec.task import Task

MOST_STARTS = 128
FEWEST_STARTS = 8
WORST = 10.0  # errors of a step count no more than this, so that one start does not decide alone
FLOOR = 0.05  # errors that are as good as none


class GateConfig(BaseModel):
    """When a new model is offered instead of the one in use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon: float = Field(0.5, gt=0, description="s that predictions are judged over, open loop")
    set_aside: int = Field(
        8,
        ge=0,
        description="one of so many stretches of the newest data is judged by and not learned "
        "from; 0: none, and models are judged by what they have learned from",
    )
    margin: float = Field(
        0.5,
        ge=0,
        description="a new model may be worse by this part, as there is little data to tell by; "
        "one that was fitted from scratch may not",
    )


@dataclass(frozen=True)
class Score:
    """How good a model is; lower is better, inf where it is not finite."""

    state: float  # RMS error of the predicted state over how far the state usually goes meanwhile
    reward: float  # the same of the sum of rewards, over its spread; NaN: nobody knows the reward


@dataclass(frozen=True)
class Verdict:
    """What came of a comparison."""

    new: Score
    old: Score
    starts: int  # rows that predictions were made from
    unseen: bool  # neither model has learned from those rows
    problem: str  # why the new model is not to be used; empty: it may be


class Gate:
    """Judges models by the newest data.

    Args:
        dt: control period, s.
    """

    def __init__(self, task: Task, config: GateConfig, dt: float) -> None:
        self._task, self._config = task, config
        self.steps = max(2, round(config.horizon / dt))
        self._block = 2 * self.steps
        self._kept = 8  # stretches

    def aside(self, buffer: ReplayBuffer, era: int = 0) -> Tensor:
        """Which rows are not to be learned from, [N] bool: of the newest data, one stretch of so
        many, each of twice the horizon. In time they are given back, and newer ones set aside.

        Args:
            era: the row at which the robot became what it is: rows before are of another.
        """
        size, every = len(buffer), self._config.set_aside
        mask = torch.zeros(size, dtype=torch.bool)
        if every:
            number = (torch.arange(era, size) - era) // self._block
            newest = (size - 1 - era) // self._block // every
            chosen = (number % every == every - 1) & (number // every > newest - self._kept)
            mask[era:] = chosen
        return mask

    def compare(
        self,
        new: WorldModel,
        old: WorldModel | None,
        buffer: ReplayBuffer,
        era: int = 0,
        margin: float | None = None,
    ) -> Verdict:
        """Whether a new model may take the place of the one in use.

        Judged by the rows set aside, and as long as these are few, by the newest rows, though a
        model has learned from them.

        Args:
            old: None: there is none, so all that is finite is better.
            margin: by which part it may be worse; None: what the configuration says.
        """
        starts, unseen = self._starts(buffer, era)
        scale = self._scale(new, buffer)
        score_new = self._score(new, buffer, starts, scale)
        problem = "" if all_finite(new.state_dict()) else "its weights are not finite"
        if old is None:
            return Verdict(score_new, Score(math.nan, math.nan), len(starts), False, problem)
        score_old = self._score(old, buffer, starts, scale)
        margin = self._config.margin if margin is None else margin
        if problem or len(starts) < FEWEST_STARTS:
            pass  # else there is next to nothing to judge by, nor that it can have learned from
        elif not score_new.state <= (1 + margin) * score_old.state + margin * FLOOR:
            problem = _worse("states", self._config.horizon, score_new.state, score_old.state)
        elif score_new.reward > (1 + 2 * margin) * score_old.reward + FLOOR:
            problem = _worse("rewards", self._config.horizon, score_new.reward, score_old.reward)
        return Verdict(score_new, score_old, len(starts), unseen, problem)

    def _starts(self, buffer: ReplayBuffer, era: int) -> tuple[Tensor, bool]:
        """Rows to predict from [S], and whether they and what follows were set aside."""
        aside, begin = self.aside(buffer, era), buffer.starts(self.steps, range(era, len(buffer)))
        whole = aside[begin] & aside[begin + self.steps - 1]
        if int(whole.sum()) > self._block - self.steps:  # of more than one stretch
            chosen = begin[whole]
            return chosen[_evenly(len(chosen), MOST_STARTS)], True
        return begin[-2 * self._block :], False

    def _scale(self, world: WorldModel, buffer: ReplayBuffer) -> Tensor:
        """Mean square of how far the state goes in 1, 2, … steps, over all of the data, [H, d]."""
        begin = buffer.starts(self.steps)
        begin = begin[_evenly(len(begin), 4 * MOST_STARTS)]
        data = buffer.batch()
        there = data.next_state[begin[:, None] + torch.arange(self.steps)]
        geometry = world.dynamics.geometry
        at = data.state[begin, None].expand_as(there).to(world.dynamics.device)
        moved = geometry.difference(at, there.to(at.device)).square().mean(0)
        return moved.clamp(min=1e-4 * float(moved.mean()) + 1e-12)

    @torch.no_grad()
    def _score(
        self, world: WorldModel, buffer: ReplayBuffer, starts: Tensor, scale: Tensor
    ) -> Score:
        """How far predictions from some rows go wrong, in units of a square root of the scale."""
        if len(starts) == 0:
            return Score(math.nan, math.nan)
        model, n = world.dynamics, world.dynamics.state_dim
        rows = starts[:, None] + torch.arange(self.steps)
        first_row = int(rows.min())
        data = buffer.batch(model.config.history, first_row)[rows - first_row].to(model.device)
        state = data.state[:, 0].expand(model.members, -1, -1)
        task = world.completed(self._task)
        errors, paid = [], torch.zeros(model.members, len(starts), device=state.device)
        for h in range(self.steps):
            action, truth = data.action[:, h], data.next_state[:, h]
            before = state[..., :n]
            actions = action.expand(model.members, -1, -1)
            state = model.predict(state, actions)
            now = state[..., :n]
            errors.append(model.difference(truth.expand_as(now), now).square().mean(0))
            if task.reward is not None:
                paid = paid + task.reward(before, actions, now)
        relative = (torch.stack(errors) / scale[:, None]).clamp(max=WORST**2)
        found = _root(relative.mean())
        if task.reward is None:
            return Score(found, math.nan)
        real = task.real_reward(data.state[..., :n], data.action, data.next_state, data.reward).sum(
            1
        )
        miss = (paid.mean(0) - real).square().mean()
        spread = float(real.std(correction=0)) + 0.05 * float(real.abs().mean()) + 1e-6
        return Score(found, _root(miss) / spread)


def _root(mean_square: Tensor) -> float:
    found = float(mean_square.sqrt())
    return found if math.isfinite(found) else math.inf


def _evenly(size: int, most: int) -> Tensor:
    return torch.linspace(0, size - 1, min(size, most)).round().long()


def _worse(what: str, horizon: float, new: float, old: float) -> str:
    return f"{what} {horizon:g} s ahead: error {new:.3g}, {old:.3g} of the model in use"
