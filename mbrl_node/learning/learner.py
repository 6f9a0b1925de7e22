"""The learner: keeps what the robot did, retrains the model on it and writes versioned checkpoints.

A run lives in one folder: `transitions.db` (SQLite) and `models/v000001.safetensors`, … A learner
that is started on a folder goes on where the one before it stopped, however that ended.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field

from mbrl_node.data import ReplayBuffer, Transition, TransitionStore
from mbrl_node.learning.trainer import Trainer, TrainerConfig
from mbrl_node.models import DynamicsModel, ModelConfig, newest_checkpoint, save_checkpoint
from mbrl_node.models.checkpoint import checkpoint_path, checkpoints
from mbrl_node.spec import RobotSpec

log = logging.getLogger(__name__)

KEPT_CHECKPOINTS = 10


class LearnerConfig(BaseModel):
    """When the model is retrained, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_transitions: int = Field(20, ge=1, description="transitions before the first update")
    gradient_steps: int = Field(80, ge=1, description="gradient steps an update")
    period: float = Field(
        0.2, ge=0, description="least time from one update's start to the next, s"
    )


@dataclass(frozen=True)
class Update:
    """A new version of the model, on disk. The fields are those of mbrl_msgs/ModelUpdate."""

    version: int
    path: Path
    transitions: int
    gradient_steps: int
    train_time: float
    held_out_error: float


class Learner:
    """Owns a run's store, buffer, model and checkpoints.

    Args:
        run_dir: the run's folder; made where there is none.
        seed: of the first weights and of the batches.
        device: of torch, where the model is trained.

    Raises:
        StoreError: the folder's database cannot be used for this robot.
    """

    def __init__(
        self,
        spec: RobotSpec,
        run_dir: Path,
        config: LearnerConfig | None = None,
        trainer: TrainerConfig | None = None,
        model: ModelConfig | None = None,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self._spec, self._config = spec, config or LearnerConfig()
        self._models = run_dir / "models"
        self._models.mkdir(parents=True, exist_ok=True)
        self.store = TransitionStore(run_dir / "transitions.db", spec)
        self.buffer = ReplayBuffer(spec.state_dim, spec.action_dim)
        self._next_sequence: dict[int, int] = {}
        self.lost = 0
        self._remember(self.store)
        self._trained_on = 0
        torch.manual_seed(seed)
        self.latest: Update | None = None
        if newest := newest_checkpoint(self._models, spec):
            path, network, info = newest
            self.latest = Update(path=path, **info)  # type: ignore[arg-type]
            self._trained_on = self.latest.transitions
        else:
            network = DynamicsModel(spec, model)
        network = network.to(device).requires_grad_(True).train()
        self._trainer = Trainer(network, trainer or TrainerConfig(), seed)

    def add(self, transitions: list[Transition]) -> None:
        """Stores transitions durably and makes them available to the next update.

        Those seen before are ignored. Sequence numbers that never came are counted in `lost`.

        Raises:
            StoreError: the batch could not be written; it may be added again.
        """
        new = [t for t in transitions if t.sequence >= self._next_sequence.get(t.session, 0)]
        if new:
            self.store.add(new)
            self._remember(new)

    def _remember(self, transitions: Iterable[Transition]) -> None:
        usable = []
        for t in transitions:
            expected = self._next_sequence.get(t.session, 0)
            if t.sequence > expected:
                self.lost += t.sequence - expected
                log.warning(
                    "%d transitions before %d never came", t.sequence - expected, t.sequence
                )
            self._next_sequence[t.session] = t.sequence + 1
            if self._is_one_step(t):
                usable.append(t)
        self.buffer.add(usable)

    def _is_one_step(self, t: Transition) -> bool:
        """A late tick makes a longer step, which a model of one control period must not learn."""
        period = self._spec.dt * 1e9
        return abs(t.next_stamp - t.stamp - period) < 0.25 * period

    @property
    def due(self) -> bool:
        """Whether there is anything new to learn from."""
        return len(self.buffer) >= max(self._config.min_transitions, self._trained_on + 1)

    def update(self, cancelled: Callable[[], bool] = lambda: False) -> Update | None:
        """Retrains on all data and writes the next version; None if it was cancelled.

        May run beside `add`, in another thread.

        Args:
            cancelled: asked before every gradient step.

        Raises:
            FloatingPointError: the training diverged; the model is as before.
            OSError: the version could not be written; it is tried again at the next update.
        """
        begin, size = time.monotonic(), len(self.buffer)
        error = math.nan
        if self.latest is not None and size > self._trained_on:
            device = self._trainer.model.input_mean.device
            error = self._trainer.model.error(
                *(x.to(device) for x in self.buffer.tensors(self._trained_on))
            )
        elif self.latest is not None:
            error = self.latest.held_out_error
        self._trainer.train(self.buffer, self._config.gradient_steps, cancelled)
        if cancelled():
            return None
        self._trained_on = size
        version = self.latest.version + 1 if self.latest else 1
        info: dict[str, object] = {
            "version": version,
            "transitions": size,
            "gradient_steps": self._config.gradient_steps,
            "train_time": time.monotonic() - begin,
            "held_out_error": error,
        }
        path = checkpoint_path(self._models, version)
        save_checkpoint(self._trainer.model, path, info)
        self.latest = Update(path=path, **info)  # type: ignore[arg-type]
        for old in checkpoints(self._models)[:-KEPT_CHECKPOINTS]:
            old.unlink(missing_ok=True)
        return self.latest
