"""The learner: keeps what the robot did, retrains the model on it and writes versioned checkpoints.

A run lives in one folder: `transitions.db` (SQLite), `models/v000001.safetensors`, … and
`updates.jsonl`, a line for each version there ever was. A learner that is started on a folder goes
on where the one before it stopped, however that ended.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from pydantic import BaseModel, ConfigDict, Field

from mbrl_node.data import ReplayBuffer, Transition, TransitionStore
from mbrl_node.learning.delay import delay_of
from mbrl_node.learning.imagination import PolicyTrainer
from mbrl_node.learning.inverse import InverseTrainer
from mbrl_node.learning.trainer import Trainer, TrainerConfig
from mbrl_node.models import (
    InverseConfig,
    InverseModel,
    ModelConfig,
    WorldModel,
    newest_checkpoint,
    save_checkpoint,
)
from mbrl_node.models.checkpoint import checkpoint_path, checkpoints
from mbrl_node.models.policy import Policy, PolicyConfig
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.system import System
from mbrl_node.spec.task import Task

log = logging.getLogger(__name__)

KEPT_CHECKPOINTS = 10
DELAY_FIRST, DELAY_EVERY = 100, 1000  # transitions at which the delay of commands is measured


class LearnerConfig(BaseModel):
    """When the model is retrained, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_transitions: int = Field(20, ge=1, description="transitions before the first update")
    gradient_steps: int = Field(80, ge=1, description="gradient steps an update")
    refit: bool = Field(
        False, description="each update trains a new model until its validation loss stops falling"
    )
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
    held_out_loss: float


class Learner:
    """Owns a run's store, buffer, model and checkpoints.

    Args:
        run_dir: the run's folder; made where there is none.
        seed: of the first weights and of the batches.
        device: of torch, where the model is trained.
        policy: trained after the model at each update if it says so. The one that a model in the
            folder has keeps its shape.
        inverse: trained after that if it says so. One in the folder goes on if it has this shape.

    Raises:
        StoreError: the folder's database cannot be used for this robot.
    """

    def __init__(
        self,
        system: System,
        task: Task,
        run_dir: Path,
        config: LearnerConfig | None = None,
        trainer: TrainerConfig | None = None,
        model: ModelConfig | None = None,
        seed: int = 0,
        device: str = "cpu",
        policy: PolicyConfig | None = None,
        inverse: InverseConfig | None = None,
    ) -> None:
        self._system, self._task, self._config = system, task, config or LearnerConfig()
        self._model_config, self._trainer_config = model, trainer or TrainerConfig()
        self._device = device
        self._run_dir, self._models = run_dir, run_dir / "models"
        self._models.mkdir(parents=True, exist_ok=True)
        self.store = TransitionStore(run_dir / "transitions.db", system)
        self.buffer = ReplayBuffer(system.state_dim, system.action_dim)
        self._next_sequence: dict[int, int] = {}
        self.lost = 0
        self.refused = 0  # updates that made the model worse
        self._remember(self.store)
        self._trained_on, self._measure_delay_at = 0, DELAY_FIRST
        torch.manual_seed(seed)
        self.latest: Update | None = None
        if newest := newest_checkpoint(self._models, system):
            path, world, info = newest
            self.latest = Update(path=path, **info)  # type: ignore[arg-type]
            self._trained_on = self.latest.transitions
        else:
            world = self._new_model()
        if policy is not None and policy.train:
            world.policy = _continued(world.policy, system, policy)
        world = world.to(device).requires_grad_(True).train()
        self._trainer = Trainer(world, self._trainer_config, seed)
        self._policy_trainer: PolicyTrainer | None = None
        if policy is not None and policy.train and world.policy is not None:
            self._policy_trainer = PolicyTrainer(world.policy, seed)
        self._inverse_trainer: InverseTrainer | None = None
        if inverse is not None and inverse.train:
            world.inverse, trained = _continued_inverse(world.inverse, system, inverse)
            self._inverse_trainer = InverseTrainer(trained.to(device), seed)

    @property
    def model(self) -> WorldModel:
        """What is being trained; a planner beside it must use the checkpoints."""
        return self._trainer.model

    def _new_model(self) -> WorldModel:
        return WorldModel.for_task(self._system, self._task, self._model_config)

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
            if is_one_step(t, self._system.dt):
                usable.append(t)
        self.buffer.add(usable)

    @property
    def due(self) -> bool:
        """Whether there is anything new to learn from."""
        return len(self.buffer) >= max(self._config.min_transitions, self._trained_on + 1)

    def update(self, cancelled: Callable[[], bool] = lambda: False) -> Update | None:
        """Retrains on all data and writes the next version; None if it was cancelled or refused.

        A retrained model that predicts the newest data clearly worse than the one before is refused
        and the one before stays. May run beside `add`, in another thread.

        Args:
            cancelled: asked before every gradient step.

        Raises:
            FloatingPointError: the training diverged; the model is as before.
            OSError: the version could not be written; it is tried again at the next update.
        """
        begin, size = time.monotonic(), len(self.buffer)
        error, loss = self._judge()
        before = self._trainer.snapshot()
        expected = self._recent_error(self.model)
        if self._config.refit:
            world = self._new_model().to(self._device)
            world.policy, world.inverse = self.model.policy, self.model.inverse
            trainer = Trainer(world, self._trainer_config, seed=size)
            report = trainer.fit(self.buffer, cancelled)
        else:
            trainer = self._trainer
            report = trainer.train(self.buffer, self._config.gradient_steps, cancelled)
        if cancelled():
            return None
        self._trained_on = size
        found = self._recent_error(trainer.model)
        if self.latest is not None and not found < 1.5 * expected + 0.02:
            self.refused += 1
            log.warning("update refused: its error is %.3g, %.3g before", found, expected)
            self._trainer.restore(before)
            return None
        self._trainer = trainer
        self._train_policy(cancelled)
        self._train_inverse(cancelled)
        if cancelled():
            return None
        version = self.latest.version + 1 if self.latest else 1
        info: dict[str, object] = {
            "version": version,
            "transitions": size,
            "gradient_steps": report.gradient_steps,
            "train_time": time.monotonic() - begin,
            "held_out_error": error,
            "held_out_loss": loss,
        }
        path = checkpoint_path(self._models, version)
        save_checkpoint(self._trainer.model, path, info)
        self.latest = Update(path=path, **info)  # type: ignore[arg-type]
        _append_line(self._run_dir / "updates.jsonl", json.dumps(info))
        # Versions 1, 2, 4, 8, … stay: half of a run is then data that some kept model never saw,
        # and a diagnosis needs such data.
        milestones = {checkpoint_path(self._models, 1 << k) for k in range(version.bit_length())}
        for old in checkpoints(self._models)[:-KEPT_CHECKPOINTS]:
            if old not in milestones:
                old.unlink(missing_ok=True)
        self._check_delay(size)
        return self.latest

    def _check_delay(self, size: int) -> None:
        """Says when the robot's file is wrong about its commands, now and then."""
        if size < self._measure_delay_at or not isinstance(self._system, RobotSpec):
            return
        self._measure_delay_at = size + DELAY_EVERY
        found = delay_of(self.buffer, self._system)
        if found is not None and found.correction:
            log.warning("%s: %s", self._system.name, found.correction)

    def _recent_error(self, world: WorldModel) -> float:
        """How well a model predicts the newest transitions, see `DynamicsModel.error`."""
        model, newest = world.dynamics, max(0, len(self.buffer) - 1000)
        data = self.buffer.batch(model.config.history, newest).to(model.device)
        return model.error(data.state, data.action, data.next_state)

    def _train_policy(self, cancelled: Callable[[], bool]) -> None:
        if self._policy_trainer is None:
            return
        report = self._policy_trainer.train(self.model, self._task, self.buffer, cancelled)
        if report.skipped:
            log.warning(
                "the policy: %d of %d gradient steps were not taken, as they were not finite",
                report.skipped,
                report.gradient_steps,
            )

    def _train_inverse(self, cancelled: Callable[[], bool]) -> None:
        if self._inverse_trainer is None:
            return
        try:
            report = self._inverse_trainer.train(self.buffer, cancelled)
        except FloatingPointError as error:  # the dynamics are none the worse for it
            log.warning("the inverse model stays as it was: %s", error)
            return
        if report is not None:  # what has learned nothing is not to be saved, and not to control
            self.model.inverse = self._inverse_trainer.inverse

    def _judge(self) -> tuple[float, float]:
        """Error and loss of the newest model on what came since it was trained; NaN: no such
        model."""
        if self.latest is None:
            return math.nan, math.nan
        model = self.model.dynamics
        new = self.buffer.batch(model.config.history, self._trained_on)
        if len(new) == 0:
            return self.latest.held_out_error, self.latest.held_out_loss
        new = new.to(model.device)
        if model.config.elites:
            self._trainer.choose_elites(new)
        data = new.state, new.action, new.next_state
        return model.error(*data), float(model.scores(*data).mean())


def _continued(policy: Policy | None, system: System, config: PolicyConfig) -> Policy:
    """The policy to train: that of an earlier session, with the parameters of this one."""
    shape = config if policy is None else config.model_copy(update={"hidden": policy.config.hidden})
    result = Policy(system, shape)
    if policy is not None:
        result.load_state_dict(policy.state_dict())
    return result


def _continued_inverse(
    found: InverseModel | None, system: System, config: InverseConfig
) -> tuple[InverseModel | None, InverseModel]:
    """The inverse model to offer and the one to train: both that of an earlier session, or none
    and a new one where there is none of this shape."""
    new = InverseModel(system, config)
    shape = {"steps", "members", "hidden"}
    if found is None or found.config.model_dump(include=shape) != config.model_dump(include=shape):
        return None, new
    new.load_state_dict(found.state_dict())
    return new, new


def lock_run(run_dir: Path) -> TextIO:
    """Makes this process the only learner of a run, until the file is closed or the process ends,
    however it ends.

    Raises:
        BlockingIOError: another process is.
        OSError: the folder cannot be written.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = open(run_dir / "learner.lock", "a")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise
    return lock


def _append_line(path: Path, text: str) -> None:
    """Adds a line to a file; one before that a killed process left unfinished stays apart."""
    with open(path, "ab+") as file:
        torn = file.tell() > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read() != b"\n"
        file.write((b"\n" if torn else b"") + text.encode() + b"\n")


def is_one_step(t: Transition, dt: float) -> bool:
    """Whether it may be learned from: a late tick makes a step that is longer than the control
    period of `dt` s."""
    period = dt * 1e9
    return abs(t.next_stamp - t.stamp - period) < 0.25 * period
