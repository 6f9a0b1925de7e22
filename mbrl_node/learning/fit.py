"""Fitting of a single ensemble to rows of data: inverse and trajectory-based models."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mbrl_node.learning.trainer import TrainReport, copied, split
from mbrl_node.models.ensemble import Ensemble


class Fittable(Protocol):
    """A module with an ensemble and a loss of each member and row, [E, B]."""

    net: Ensemble

    def fit_normalizer(self, *rows: Any, **kwargs: Any) -> None: ...
    def loss(self, *rows: Any, **kwargs: Any) -> Tensor: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def state_dict(self) -> dict[str, Tensor]: ...
    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> Any: ...


def fit(
    model: Fittable,
    rows: tuple[Tensor, ...],
    first: Tensor,
    seed: int = 0,
    learning_rate: float = 2e-3,
    batch_size: int = 128,
    patience: int = 15,
    max_epochs: int = 300,
) -> TrainReport:
    """Trains until the loss on episodes set aside has not fallen for `patience` epochs; leaves the
    weights that were best there.

    Args:
        rows: what `model.loss` takes, each [N, ...].
        first: for each row the row at which its episode began, [N].

    Raises:
        FloatingPointError, ValueError: the loss is not finite (the weights stay as they were);
            fewer than two rows.
    """
    if len(first) < 2:
        raise ValueError("there are fewer than two rows to learn from")
    generator = torch.Generator().manual_seed(seed)
    training, validation = split(first, 0.1, generator)
    before = copied(model.state_dict())
    model.fit_normalizer(*(x[training] for x in rows))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, weight_decay=1e-4, fused=True
    )
    begin, members = time.monotonic(), model.net.members
    held = [x[validation].expand(members, *x[validation].shape) for x in rows]
    best, best_weights, since, epoch, total, steps = float("inf"), before, 0, 0, 0.0, 0
    while epoch < max_epochs and since < patience:
        for _ in range(-(-len(training) // batch_size)):
            picks = torch.randint(len(training), (members, batch_size), generator=generator)
            total += gradient_step(model, optimizer, rows, training[picks])
            steps += 1
        with torch.no_grad():
            score = float(model.loss(*held).mean())
        epoch, since = epoch + 1, since + 1
        # A difference, not a ratio: likelihoods are negative as soon as they are any good.
        if score < best - 1e-3:
            best, best_weights, since = score, copied(model.state_dict()), 0
    model.load_state_dict(best_weights)
    if best == float("inf"):
        raise FloatingPointError("the training loss is not finite")
    return TrainReport(total / steps, steps, time.monotonic() - begin, best, epoch)


def gradient_step(
    model: Fittable, optimizer: torch.optim.Optimizer, rows: tuple[Tensor, ...], index: Tensor
) -> float:
    """Takes one step on the rows that each member is to see, by index [E, B]; their loss."""
    # A beta of 0.5 as in arXiv 2203.09168: with 1 the variances come late.
    losses = model.loss(*(x[index] for x in rows), beta=0.5)
    loss = losses.mean(1).sum() + model.net.bound_loss()
    loss.backward()
    optimizer.step()
    # Gone at once: the model may be a part of another, whose optimiser acts on what it finds.
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())
