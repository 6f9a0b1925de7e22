"""Training an inverse model beside the dynamics, while the data grows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from mbrl_node.data import ReplayBuffer
from mbrl_node.learning.fit import gradient_step
from mbrl_node.learning.trainer import TrainReport, copied
from mbrl_node.models import InverseModel


class InverseTrainer:
    """Improves an inverse model by a bounded number of gradient steps an update, from its present
    weights.

    Args:
        seed: of the batches.
    """

    def __init__(self, inverse: InverseModel, seed: int = 0) -> None:
        self.inverse = inverse
        self._generator = torch.Generator().manual_seed(seed)
        self._optimizer = torch.optim.AdamW(
            inverse.parameters(),
            lr=inverse.config.learning_rate,
            weight_decay=1e-4,
            fused=True,
        )

    def train(
        self, buffer: ReplayBuffer, cancelled: Callable[[], bool] = lambda: False
    ) -> TrainReport | None:
        """Takes the configured number of gradient steps on all of the buffer; None: there are not
        two sequences of `inverse.steps` steps in it yet.

        Args:
            cancelled: asked before every step; when it says yes, there are no more steps.

        Raises:
            FloatingPointError: the loss is not finite; the weights are those of before this call.
        """
        begin, inverse, config = time.monotonic(), self.inverse, self.inverse.config
        rows, first = inverse.rows(buffer.batch(), buffer.first())
        if len(first) < 2:
            return None
        device, before = next(inverse.parameters()).device, copied(inverse.state_dict())
        on_device = tuple(x.to(device) for x in rows)
        inverse.fit_normalizer(*on_device)
        shape, total, done = (inverse.net.members, config.batch_size), 0.0, 0
        while done < config.gradient_steps and not cancelled():
            index = torch.randint(len(first), shape, generator=self._generator)
            total += gradient_step(inverse, self._optimizer, on_device, index)
            done += 1
        if not math.isfinite(total):
            inverse.load_state_dict(before)
            self._optimizer.state.clear()
            raise FloatingPointError("the training loss is not finite")
        return TrainReport(total / max(done, 1), done, time.monotonic() - begin)
