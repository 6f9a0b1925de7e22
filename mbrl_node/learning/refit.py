"""A fit from scratch that goes on a little at a time, beside the updates of the model in use."""

from __future__ import annotations

from collections.abc import Generator

from torch import Tensor

from mbrl_node.data import ReplayBuffer
from mbrl_node.learning.trainer import Trainer, TrainerConfig, TrainReport
from mbrl_node.models import WorldModel

FIRST = 1000  # transitions at the first
PATIENCE = 30  # epochs, instead of the trainer's: it is to be better than many warm updates


class RefitSchedule:
    """When there is enough more data to fit a new model.

    Args:
        growth: so many times the data of the last fit; 0: never.
        size: transitions of this era that there are already.
    """

    def __init__(self, growth: float, size: int) -> None:
        self._growth = growth
        self._at = max(FIRST, round(growth * size))

    def due(self, size: int) -> bool:
        """Whether to begin one with so many transitions of this era; asked again, not before there
        is more."""
        if not self._growth or size < self._at:
            return False
        self._at = round(self._growth * size)
        return True


class Refit:
    """A fit under way.

    Args:
        world: a new model.
        config: of its trainer.
        weights: how much each row of the buffer counts, [N].
    """

    def __init__(
        self, world: WorldModel, config: TrainerConfig, buffer: ReplayBuffer, weights: Tensor
    ) -> None:
        config = config.model_copy(update={"patience": max(config.patience, PATIENCE)})
        self.trainer = Trainer(world, config, seed=len(weights))
        self.transitions = len(weights)
        self._slices: Generator[None, None, TrainReport] = self.trainer.epochs(
            buffer, weights=weights
        )

    def advance(self, slices: int = 2) -> TrainReport | None:
        """Some dozens of gradient steps; the report when it has ended.

        Raises:
            FloatingPointError: the fit diverged.
        """
        try:
            for _ in range(slices):
                next(self._slices)
        except StopIteration as end:
            report: TrainReport = end.value
            return report
        return None
