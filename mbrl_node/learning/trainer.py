"""Fitting a world model: warm updates as the data grows, and full fits with early stopping."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from mbrl_node.data import Batch, ReplayBuffer
from mbrl_node.models import WorldModel

# Of an epoch: a pass over little data is too few steps for its validation loss to say anything.
LEAST_STEPS = 40


class TrainerConfig(BaseModel):
    """How a model is fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(2e-3, gt=0, description="of AdamW")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")
    batch_size: int = Field(64, ge=1, description="transitions a gradient step, of each member")
    batches: Literal["own", "shared", "bootstrap"] = Field(
        "own",
        description="own: each member draws its own from all data; shared: all see the same; "
        "bootstrap: each member also has a random resample of the data of its own",
    )
    beta: float = Field(
        1.0,
        ge=0,
        le=1,
        description="a Gaussian's likelihood is weighted by its variance to this power; 0: plain",
    )
    loss_horizon: int = Field(
        1, ge=1, description="steps that the loss predicts from one measured state"
    )
    validation: float = Field(
        0.1, gt=0, lt=1, description="part of the episodes that a full fit sets aside"
    )
    patience: int = Field(
        5, ge=1, description="epochs without a better validation loss that end a full fit"
    )


@dataclass(frozen=True)
class TrainReport:
    """What came of training."""

    loss: float  # mean over the steps
    gradient_steps: int
    seconds: float
    validation_loss: float = float("nan")  # the best; of a full fit
    epochs: int = 0

    @property
    def steps_per_s(self) -> float:
        return self.gradient_steps / self.seconds if self.seconds > 0 else float("nan")


@dataclass(frozen=True)
class Snapshot:
    """Weights and optimiser as they were."""

    weights: dict[str, Tensor]
    optimizer: dict[str, Any]


class Trainer:
    """Fits a model to a replay buffer.

    Args:
        seed: of the batches.
    """

    def __init__(self, model: WorldModel, config: TrainerConfig, seed: int = 0) -> None:
        self.model = model
        self._config = config
        self._generator = torch.Generator().manual_seed(seed)
        self._resampling = torch.Generator().manual_seed(seed)
        self._counts = torch.empty(0, model.dynamics.members)  # of each row in the resamples
        self._optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def train(
        self,
        buffer: ReplayBuffer,
        steps: int,
        cancelled: Callable[[], bool] = lambda: False,
        weights: Tensor | None = None,
    ) -> TrainReport:
        """A warm update: `steps` gradient steps on all of the buffer from the present weights.

        Args:
            cancelled: asked before every step; when it says yes, there are no more steps.
            weights: how much each row of the buffer counts, [N], 0 or more: how often it is drawn;
                None: all the same.

        Raises:
            FloatingPointError, ValueError: the loss is not finite (the weights are those of before
                this call); fewer than two transitions.
        """
        data = self._data(buffer)
        rows = _counting(len(data), weights)
        before = self.snapshot()
        self._fit_normalizers(data if weights is None else data[rows])
        begin = time.monotonic()
        total, done = self._steps(data, buffer.first(), rows, steps, weights, cancelled)
        if total != total or abs(total) == float("inf"):
            self.restore(before)
            raise FloatingPointError("the training loss is not finite")
        return TrainReport(total / max(done, 1), done, time.monotonic() - begin)

    def settle(self, buffer: ReplayBuffer, weights: Tensor | None = None, steps: int = 60) -> None:
        """Lets the optimiser see gradients of a model that was trained before, and changes nothing:
        the first steps of one that has seen none are large enough to spoil a good model."""
        data = self._data(buffer)
        rows = _counting(len(data), weights)
        for group in self._optimizer.param_groups:
            group["lr"] = 0.0
        self._steps(data, buffer.first(), rows, steps, weights, lambda: False)
        for group in self._optimizer.param_groups:
            group["lr"] = self._config.learning_rate

    def snapshot(self) -> Snapshot:
        """What `restore` goes back to."""
        return Snapshot(copied(self.model.state_dict()), deepcopy(self._optimizer.state_dict()))

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to what was, with nothing left of the steps since."""
        self.model.load_state_dict(snapshot.weights)
        self._optimizer.load_state_dict(deepcopy(snapshot.optimizer))

    def fit(
        self,
        buffer: ReplayBuffer,
        cancelled: Callable[[], bool] = lambda: False,
        weights: Tensor | None = None,
        max_epochs: int = 1000,
    ) -> TrainReport:
        """Trains until the loss on episodes set aside has stopped falling; leaves the weights that
        were best there, and the elites that it chose.

        Raises:
            FloatingPointError, ValueError: the loss is not finite; fewer than two transitions.
        """
        epochs = self.epochs(buffer, cancelled, weights, max_epochs)
        while True:
            try:
                next(epochs)
            except StopIteration as end:
                report: TrainReport = end.value
                return report

    def epochs(
        self,
        buffer: ReplayBuffer,
        cancelled: Callable[[], bool] = lambda: False,
        weights: Tensor | None = None,
        max_epochs: int = 1000,
    ) -> Generator[None, None, TrainReport]:
        """As `fit`, on what the buffer holds now; gives way after every `LEAST_STEPS` steps."""
        data, first = self._data(buffer), buffer.first()
        rows = _counting(len(data), weights)
        training, validation = (
            rows[part]
            for part in split(buffer.episode()[rows], self._config.validation, self._generator)
        )
        if weights is not None:
            validation = self._draw(validation, _cumulative(weights, validation), validation.shape)
        before = self.snapshot()
        self._fit_normalizers(data[training])
        begin, total, done = time.monotonic(), 0.0, 0
        best, best_weights, since, epoch = float("inf"), before.weights, 0, 0
        steps = max(-(-len(training) // self._config.batch_size), LEAST_STEPS)
        while epoch < max_epochs and since < self._config.patience and not cancelled():
            for begun in range(0, steps, LEAST_STEPS):
                part = min(LEAST_STEPS, steps - begun)
                sum_, count = self._steps(data, first, training, part, weights, cancelled)
                total, done = total + sum_, done + count
                yield
            epoch, since = epoch + 1, since + 1
            score = float(self._scores(data[validation]).mean())
            # Likelihoods are negative as soon as they are any good, squared errors end at 0.
            if score < (best - 1e-3 if self.model.dynamics.config.probabilistic else 0.99 * best):
                best, best_weights, since = score, copied(self.model.state_dict()), 0
        self.restore(Snapshot(best_weights, before.optimizer))
        if best == float("inf") and not cancelled():
            raise FloatingPointError("the training loss is not finite")
        self.choose_elites(data[validation])
        return TrainReport(total / max(done, 1), done, time.monotonic() - begin, best, epoch)

    def choose_elites(self, data: Batch) -> None:
        """Orders the members by how well they predict transitions that they were not trained on."""
        self.model.dynamics.elites.copy_(self._scores(data).argsort())

    def _scores(self, data: Batch) -> Tensor:
        return self.model.dynamics.scores(data.state, data.action, data.next_state)

    def _data(self, buffer: ReplayBuffer) -> Batch:
        dynamics = self.model.dynamics
        return buffer.batch(dynamics.config.history).to(dynamics.device)

    def _fit_normalizers(self, data: Batch) -> None:
        n = self.model.dynamics.state_dim
        self.model.dynamics.fit_normalizer(data.state, data.action, data.next_state)
        if self.model.reward is not None:
            self.model.reward.fit_normalizer(data.state[:, :n], data.reward)
        if self.model.termination is not None:
            self.model.termination.fit_normalizer(data.next_state, data.terminated)

    def _steps(
        self,
        data: Batch,
        first: Tensor,
        rows: Tensor,
        steps: int,
        weights: Tensor | None,
        cancelled: Callable[[], bool],
    ) -> tuple[float, int]:
        """Takes gradient steps on some rows [K] of the data; sum of the losses and their number."""
        members, config = self.model.dynamics.members, self._config
        shape = torch.Size((1 if config.batches == "shared" else members, config.batch_size))
        # The buffer may have grown since; and no step leads on to rows that are not learned from.
        sequence = torch.full((len(data),), -1)
        sequence[rows] = first[rows]
        cumulative = None if weights is None else _cumulative(weights, rows)
        total = 0.0
        for done in range(steps):
            if cancelled():
                return total, done
            index = self._draw(rows, cumulative, shape).expand(members, -1)
            loss = self._loss(data, sequence, index)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()
            total += float(loss.detach())
        return total, steps

    def _draw(self, rows: Tensor, cumulative: Tensor | None, shape: torch.Size) -> Tensor:
        """Some of the rows [K], each as often as it counts, see `_cumulative`."""
        if cumulative is None:
            return rows[torch.randint(len(rows), shape, generator=self._generator)]
        where = torch.rand(shape, generator=self._generator, dtype=torch.float64)
        picks = torch.searchsorted(cumulative, where * cumulative[-1], right=True)
        return rows[picks.clamp_(max=len(rows) - 1)]

    def _loss(self, data: Batch, first: Tensor, index: Tensor) -> Tensor:
        """Of rows [E, B], a scalar: sum over the members, so that each learns at the same rate
        however many there are."""
        model, beta, batch = self.model, self._config.beta, data[index]
        each = model.dynamics.loss(batch.state, batch.action, batch.next_state, beta)
        if self._config.loss_horizon > 1:
            each = each + self._later_steps(data, first, index, batch)
        if self._config.batches == "bootstrap":
            member = torch.arange(len(index))[:, None]
            each = each * self._resample(len(data))[index, member].to(each.device)
        loss: Tensor = each.mean(1).sum() + model.dynamics.net.bound_loss()
        if model.reward is None and model.termination is None:
            return loss
        one = data[index[0]]
        if model.reward is not None:
            now = one.state[..., : model.dynamics.state_dim]
            loss = loss + model.reward.loss(now, one.action, one.next_state, one.reward)
        if model.termination is not None:
            loss = loss + model.termination.loss(one.next_state, one.terminated)
        return loss

    def _later_steps(self, data: Batch, first: Tensor, index: Tensor, batch: Batch) -> Tensor:
        """The losses of predictions made from predictions, [E, B], as far as an unbroken sequence
        of steps goes."""
        dynamics, steps = self.model.dynamics, self._config.loss_horizon
        state, action = batch.state, batch.action
        result = torch.zeros(index.shape, device=state.device)
        unbroken = torch.ones(index.shape, dtype=torch.bool)
        for ahead in range(1, steps):
            later = (index + ahead).clamp(max=len(data) - 1)
            follows = (first[later] == first[index]) & (index + ahead < len(data))
            unbroken = unbroken & follows
            state = dynamics.predict(state, action)
            there = data[later]
            action = there.action
            loss = dynamics.loss(state, action, there.next_state, self._config.beta)
            result = result + torch.where(unbroken.to(loss.device), loss, 0.0)
        return result

    def _resample(self, size: int) -> Tensor:
        """How often each row stands in each member's bootstrap resample, [N, E].

        Poisson counts, the limit of drawing with replacement, so that rows can be added later.
        """
        if missing := size - len(self._counts):
            ones = torch.ones(missing, self._counts.shape[1])
            self._counts = torch.cat(
                (self._counts, torch.poisson(ones, generator=self._resampling))
            )
        return self._counts


def split(episode: Tensor, part: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows to train on and rows to validate on, split by episode.

    Neighbouring transitions are nearly the same, so rows of one episode on both sides would hide
    overfitting. Of a single episode its last part is set aside.

    Args:
        episode: for each row a number that says of which episode it is, [N].
        part: of the rows to validate on, at most; more only where the shortest episode is longer.
    """
    episodes, sizes = torch.unique(episode, return_counts=True)
    rows = torch.arange(len(episode))
    if len(episodes) == 1:
        keep = min(len(rows) - 1, max(1, round(len(rows) * (1 - part))))
        return rows[:keep], rows[keep:]
    aside, held = [int(sizes.argmin())], 0
    for k in torch.randperm(len(episodes), generator=generator).tolist():
        if held + int(sizes[k]) <= part * len(rows):
            aside = [*aside, k] if held else [k]
            held += int(sizes[k])
    validation = torch.isin(episode, episodes[aside])
    return rows[~validation], rows[validation]


def _counting(size: int, weights: Tensor | None) -> Tensor:
    """The rows that are learned from: all, or those whose weight is not 0."""
    rows = torch.arange(size)
    if weights is not None:
        rows = rows[weights.cpu()[:size] > 0]
    if len(rows) < 2:
        raise ValueError("there are fewer than two transitions to learn from")
    return rows


def _cumulative(weights: Tensor, rows: Tensor) -> Tensor:
    """The sum of the weights [N] of the first 1, 2, … K of some rows, [K]; for many draws."""
    return weights.cpu()[rows].double().cumsum(0)


def trajectory_weights(states: Tensor, reference: Tensor, scale: Tensor, width: float) -> Tensor:
    """Weights that make a model best where the robot should go (arXiv 2002.04523, section 5).

    exp(-d² / (2 width²)), d the distance to the nearest state of the reference in units of
    `scale`; normalised to a mean of 1.

    Args:
        states: of the data, [N, n].
        reference: a trajectory that is good, [T, n].
        scale: what counts as far, of each field, [n].
    """
    distance = torch.cdist(states / scale, reference / scale).min(1).values
    weights = torch.exp(-0.5 * (distance / width) ** 2)
    return weights / weights.mean().clamp(min=1e-9)


def copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A `state_dict` that training does not change."""
    return {k: v.clone() for k, v in weights.items()}
