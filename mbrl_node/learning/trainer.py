"""Warm training: more gradient steps on the same weights as the data grows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import BaseModel, ConfigDict, Field

from mbrl_node.data import ReplayBuffer
from mbrl_node.models import DynamicsModel


class TrainerConfig(BaseModel):
    """How a dynamics model is fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(2e-3, gt=0, description="of AdamW")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")
    batch_size: int = Field(64, ge=1, description="transitions a gradient step, of each member")


class Trainer:
    """Fits a model to a replay buffer; every member draws batches of its own.

    Args:
        seed: of the batches.
    """

    def __init__(self, model: DynamicsModel, config: TrainerConfig, seed: int = 0) -> None:
        self.model = model
        self._config = config
        self._generator = torch.Generator().manual_seed(seed)
        self._optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def train(
        self, buffer: ReplayBuffer, steps: int, cancelled: Callable[[], bool] = lambda: False
    ) -> float:
        """Takes `steps` gradient steps on all of the buffer and gives back the mean loss.

        Args:
            cancelled: asked before every step; when it says yes, there are no more steps.

        Raises:
            FloatingPointError: the loss is not finite; the weights are those of before this call.
        """
        state, action, next_state = buffer.tensors()
        device = self.model.input_mean.device
        state, action, next_state = state.to(device), action.to(device), next_state.to(device)
        before = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.fit_normalizer(state, action, next_state)
        shape = (self.model.config.members, self._config.batch_size)
        total = 0.0
        for _ in range(steps):
            if cancelled():
                break
            index = torch.randint(len(state), shape, generator=self._generator)
            loss = self.model.loss(state[index], action[index], next_state[index])
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()
            total += float(loss.detach())
        if not torch.isfinite(torch.tensor(total)):
            self.model.load_state_dict(before)
            self._optimizer.state.clear()
            raise FloatingPointError("the training loss is not finite")
        return total / steps
