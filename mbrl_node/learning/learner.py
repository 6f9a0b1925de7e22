"""The learner: keeps what the robot did, retrains the model on it and offers versions of it.

A run lives in one folder: `transitions.db` (SQLite) and `models/v000001.safetensors`, …; see
`RunStore` and `Versions`. A learner that is started on a folder goes on where the one before it
stopped, however that ended.
"""

from __future__ import annotations

import fcntl
import logging
import math
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl_node.data import Records, ReplayBuffer, RunStore
from mbrl_node.learning.delay import delay_of
from mbrl_node.learning.gate import Gate, GateConfig
from mbrl_node.learning.imagination import PolicyTrainer
from mbrl_node.learning.inverse import InverseTrainer
from mbrl_node.learning.priorities import Priorities, Surprise
from mbrl_node.learning.refit import Refit, RefitSchedule
from mbrl_node.learning.trainer import Trainer, TrainerConfig, TrainReport
from mbrl_node.learning.update import LearnerConfig, LearnerProgress, Update
from mbrl_node.learning.versions import VersionError, Versions
from mbrl_node.models import (
    CheckpointError,
    InverseConfig,
    InverseModel,
    ModelConfig,
    WorldModel,
    load_checkpoint,
    newest_checkpoint,
)
from mbrl_node.models.policy import Policy, PolicyConfig
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.system import System
from mbrl_node.spec.task import Task

log = logging.getLogger(__name__)

DELAY_FIRST, DELAY_EVERY = 100, 1000  # transitions at which the delay of commands is measured
RECENT = 1.0  # s that count as recent
FEW = 1000  # transitions; below, every one is worth an update
GROWTH = 0.01  # part of the data that is new and worth an update
LONGEST_WAIT = 5.0  # s of data that are worth an update in any case
SURPRISING = 1.5  # from here on an update is worth it at once
PATIENCE = 5  # refusals in a row, after which training begins again at what is in use
LOOKED_AT = 256  # old rows whose errors are brought up to date at each update


class Learner:
    """Owns a run's store, buffer, model and versions.

    One thread may call `add` while another one calls `due` and `update`.

    Args:
        run_dir: the run's folder; made where there is none.
        seed: of the first weights and of the batches.
        device: of torch, where the model is trained.
        policy: trained after the model at each update if it says so. The one that a model in the
            folder has keeps its shape.
        inverse: trained after that if it says so. One in the folder goes on if it has this shape.
        gate: what a new model must be like.

    Attributes:
        say: called with kind, subject and a sentence when there is something for the run's history.

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
        gate: GateConfig | None = None,
    ) -> None:
        self._system, self._task, self._config = system, task, config or LearnerConfig()
        self._model_config, self._trainer_config = model, trainer or TrainerConfig()
        self._policy_config, self._inverse_config = policy, inverse
        self._device, self._seed = device, seed
        self.say: Callable[[str, str, str], None] = lambda kind, subject, text: None
        self.store = RunStore(run_dir / "transitions.db", system)
        self.buffer = ReplayBuffer(system.state_dim, system.action_dim)
        self._remember(self.store.records())
        self._data = self.buffer.snapshot()  # what the present lesson is about
        self.versions = Versions(run_dir, self.store)
        self._gate = Gate(task, gate or GateConfig(), system.dt)
        recent = max(5, round(RECENT / system.dt))
        self._priorities, self._surprise = Priorities(recent), Surprise(recent)
        self._generator = torch.Generator().manual_seed(seed)
        self.progress = LearnerProgress()
        self._lock = threading.Lock()  # around all that changes models
        self._trained_on, self._looked_at, self._measure_delay_at = 0, 0, DELAY_FIRST
        self._refit: Refit | None = None
        torch.manual_seed(seed)
        self.latest: Update | None = None
        if newest := newest_checkpoint(self.versions.folder, system):
            path, world, info = newest
            self.latest = Update.of(path, info)
            self._trained_on = min(self.latest.transitions, len(self.buffer))
            self._priorities.begin_era(min(int(str(info.get("era", 0))), len(self.buffer)))
        else:
            world = WorldModel.for_task(system, task, model)
        self._looked_at = len(self.buffer)
        self._refits = RefitSchedule(self._config.refit, self._era_size)
        self._take(world)

    def _take(self, world: WorldModel) -> None:
        """From now on this model is trained."""
        if self._policy_config is not None and self._policy_config.train:
            world.policy = _continued(world.policy, self._system, self._policy_config)
        world = world.to(self._device).requires_grad_(True).train()
        self._trainer = Trainer(world, self._trainer_config, self._seed)
        self._settled = self.latest is None
        self._good = self._trainer.snapshot()  # of the newest version
        self._refused_in_a_row = 0
        self._policy_trainer: PolicyTrainer | None = None
        if world.policy is not None and self._policy_config and self._policy_config.train:
            self._policy_trainer = PolicyTrainer(world.policy, self._seed)
        self._inverse_trainer: InverseTrainer | None = None
        if self._inverse_config is not None and self._inverse_config.train:
            world.inverse, trained = _continued_inverse(
                world.inverse, self._system, self._inverse_config
            )
            self._inverse_trainer = InverseTrainer(trained.to(self._device), self._seed)
        self._in_use = deepcopy(world).requires_grad_(False)

    @property
    def model(self) -> WorldModel:
        """The newest version. It does not change; the next one is another object."""
        return self._in_use

    @property
    def lost(self) -> int:
        """Transitions that never came."""
        return self.store.lost

    @property
    def era(self) -> int:
        """The row of the buffer from which on the robot is what it is now."""
        return self._priorities.era

    @property
    def _era_size(self) -> int:
        return len(self._data) - self._priorities.era

    def add(self, records: Records) -> None:
        """Stores transitions durably and makes them available to the next update.

        Those seen before are ignored.

        Raises:
            StoreError: the batch could not be written; it may be added again.
        """
        self._remember(self.store.add(records))

    def _remember(self, records: Records) -> None:
        self.buffer.add(records[is_one_step(records, self._system.dt)])

    @property
    def due(self) -> bool:
        """Whether there is something to gain from an update: enough new data, surprising data, the
        end of an episode, or a refit under way."""
        self._data = self.buffer.snapshot()
        size, new = len(self._data), len(self._data) - self._trained_on
        if size < self._config.min_transitions:
            return False
        if new <= 0:
            return self._refit is not None
        self._look()
        return (
            self._refit is not None
            or self._era_size < FEW
            or new >= min(GROWTH * self._era_size, LONGEST_WAIT / self._system.dt)
            or self.progress.surprise > SURPRISING
            or bool(self._data.episode()[size - 1] >= self._trained_on)
        )

    def _look(self) -> None:
        """How well does the model in use predict what has come?"""
        size = len(self._data)
        if self.latest is None or size <= self._looked_at:
            return
        rows = torch.arange(self._looked_at, size)
        errors = self._errors(rows)
        self._looked_at = size
        self._priorities.note(rows, errors)
        self._surprise.note(errors)
        self.progress.surprise = self._surprise.value
        if 0 < self._config.change < self.progress.surprise and self._priorities.contradiction:
            self._begin_era(size)

    def _errors(self, rows: torch.Tensor) -> torch.Tensor:
        """Square errors of the model in use, see `DynamicsModel.square_errors`, [K]."""
        model = self._in_use.dynamics
        first = int(rows.min())
        data = self._data.batch(model.config.history, first)[rows - first].to(model.device)
        return model.square_errors(data.state, data.action, data.next_state)

    def _begin_era(self, size: int) -> None:
        text = (
            f"the robot has changed: the model's error is {self.progress.surprise:.1f} times the "
            "usual, and what it learns now contradicts what it learned before, which counts little "
            "from now on"
        )
        log.warning("%s", text)
        self.say("robot", "changed", text)
        self._priorities.begin_era(max(0, size - round(RECENT / self._system.dt)))
        self._surprise.forget()
        self.progress.surprise = self._surprise.value
        self._refit, self._refits = None, RefitSchedule(self._config.refit, 0)

    def update(self, cancelled: Callable[[], bool] = lambda: False) -> Update | None:
        """Learns from what is new, and goes on with a refit if one is under way; the newest version
        that was accepted meanwhile, if any.

        May run beside `add`, in another thread.

        Args:
            cancelled: asked before every gradient step.

        Raises:
            FloatingPointError: the training diverged; the model is as before.
            OSError, StoreError: the version could not be written; it is tried again at the next
                update.
        """
        with self._lock:
            begin, before = time.monotonic(), self.latest
            self._data = self.buffer.snapshot()
            try:
                if self._refit is None or len(self._data) > self._trained_on:
                    self._train(cancelled)
                if not cancelled():
                    self._go_on_with_refit(cancelled)
            finally:
                self.progress.training_time += time.monotonic() - begin
                self.progress.refitting = self._refit is not None
            return None if self.latest is before else self.latest

    def _train(self, cancelled: Callable[[], bool]) -> None:
        """A warm update: some gradient steps from the weights in use."""
        self._look()
        begin, size, trainer = time.monotonic(), len(self._data), self._trainer
        weights, dynamics = self._weights(), trainer.model.dynamics
        if not self._settled:
            trainer.settle(self._data, weights)
            self._settled, self._good = True, trainer.snapshot()
        before = trainer.snapshot()
        if dynamics.config.elites and self.latest is not None:
            new = self._data.batch(dynamics.config.history, self._trained_on)
            trainer.choose_elites(new.to(dynamics.device))
        steps = self._config.gradient_steps
        report = trainer.train(self._data, steps, cancelled, weights)
        if cancelled():
            trainer.restore(before)
            return
        self.progress.gradient_steps_per_s = report.steps_per_s
        facts = self._facts(size, report, time.monotonic() - begin)
        self._trained_on = size
        if not self._offer(trainer, "warm update", facts, None, cancelled):
            self._refused_in_a_row += 1  # training goes on from here, but not for long
            if self._refused_in_a_row == PATIENCE:
                self._refused_in_a_row = 0
                trainer.restore(self._good)
        self._check_delay(size)

    def _weights(self) -> torch.Tensor:
        """How often each row is drawn, [N]."""
        aside = self._gate.aside(self._data, self._priorities.era)
        return self._priorities.weights(len(self._data), aside)

    def _facts(self, size: int, report: TrainReport, seconds: float) -> dict[str, Any]:
        """Of a version that was trained on the first rows."""
        error, loss = self._judge()
        return {
            "transitions": size,
            "gradient_steps": report.gradient_steps,
            "train_time": seconds,
            "held_out_error": error,
            "held_out_loss": loss,
        }

    def _offer(
        self,
        trainer: Trainer,
        how: str,
        facts: dict[str, Any],
        margin: float | None,
        cancelled: Callable[[], bool],
    ) -> bool:
        """Writes a new version if the gate lets it pass; tells whether it did."""
        in_use = None if self.latest is None else self._in_use
        parent = 0 if self.latest is None else self.latest.version
        era, surprise = self._priorities.era, self.progress.surprise
        if surprise > SURPRISING:  # then older data may be of another robot
            era = max(era, len(self._data) - 2 * round(RECENT / self._system.dt))
        verdict = self._gate.compare(trainer.model, in_use, self._data, era, margin)
        facts |= {
            "horizon_error": verdict.new.state,
            "horizon_error_before": verdict.old.state,
            "return_error": verdict.new.reward,
            "return_error_before": verdict.old.reward,
            "judged_on": verdict.starts,
            "unseen": verdict.unseen,
            "old_error": self._look_back(),
            "surprise": surprise,
            "era": self._priorities.era,
        }
        if verdict.problem:
            self._refuse(trainer, f"{how}: {verdict.problem}", parent, facts)
            return False
        self._trainer = trainer
        self._train_policy(cancelled)
        self._train_inverse(cancelled)
        version, path = self.versions.write(trainer.model, parent, how, False, facts)
        self._in_use = deepcopy(trainer.model).requires_grad_(False)
        self._good, self._refused_in_a_row = trainer.snapshot(), 0
        self.latest = Update.of(path, {"version": version.number, **facts})
        self.progress.accepted += 1
        self.progress.old_error = facts["old_error"]
        return True

    def _refuse(self, trainer: Trainer, reason: str, parent: int, facts: dict[str, Any]) -> None:
        version, _ = self.versions.write(trainer.model, parent, reason, True, facts)
        self.progress.refused, self.progress.reason = self.progress.refused + 1, reason
        log.warning("version %d refused, %s", version.number, reason)
        self.say("model", str(version.number), f"refused, {reason}")

    def _go_on_with_refit(self, cancelled: Callable[[], bool]) -> None:
        """A slice of a fit from scratch, if one is under way or it is time for one."""
        if self._refit is None:
            if self.latest is None or not self._refits.due(self._era_size):
                return
            world = WorldModel.for_task(self._system, self._task, self._model_config)
            now = self._trainer.model
            world.policy, world.inverse = now.policy, now.inverse
            self._refit = Refit(
                world.to(self._device), self._trainer_config, self._data, self._weights()
            )
        refit = self._refit
        try:
            report = refit.advance()
        except FloatingPointError as error:
            self._refit = None
            log.warning("refit given up: %s", error)
            return
        if report is not None:
            self._refit = None
            facts = self._facts(refit.transitions, report, report.seconds)
            self._offer(refit.trainer, "refit", facts, 0.0, cancelled)

    def promote(self, number: int) -> Update:
        """Makes an older or refused version the one in use, as a new version, and goes on from it.

        Raises:
            VersionError: it is not there any more, or cannot be used.
        """
        with self._lock:
            version, path = self.versions.promote(number)
            self._use(path)
            self.say("model", str(version.number), version.reason)
            assert self.latest is not None
            return self.latest

    def roll_back(self, version: int, to: int, reason: str) -> None:
        """A version turned out worse in use: it is taken back with all that was made from it, and
        learning goes on from one before it.

        Args:
            to: the good version, or the newest before it that is still there.
        """
        with self._lock:
            taken = self.versions.roll_back(to, reason)
            self.progress.rolled_back += len(taken)
            self.progress.reason = reason
            log.warning("version %d is taken back for %d: %s", version, to, reason)
            newest = newest_checkpoint(self.versions.folder, self._system)
            if newest is not None:
                self._use(newest[0])

    def _use(self, path: Path) -> None:
        try:
            world, info = load_checkpoint(path, self._system)
        except CheckpointError as error:
            raise VersionError(str(error)) from error
        self.latest = Update.of(path, info)
        self._take(world)
        self._refit = None

    def _check_delay(self, size: int) -> None:
        """Says when the robot's file is wrong about its commands, now and then."""
        if size < self._measure_delay_at or not isinstance(self._system, RobotSpec):
            return
        self._measure_delay_at = size + DELAY_EVERY
        found = delay_of(self._data, self._system)
        if found is not None and found.correction:
            log.warning("%s: %s", self._system.name, found.correction)

    def _look_back(self) -> float:
        """RMS error of the model in use on the older half of the data; a part of it is looked at
        again each time."""
        if self.latest is not None and self._trained_on:
            rows = torch.randint(self._trained_on, (LOOKED_AT,), generator=self._generator).unique()
            self._priorities.note(rows, self._errors(rows))
        return self._priorities.look_back()

    def _train_policy(self, cancelled: Callable[[], bool]) -> None:
        if self._policy_trainer is None:
            return
        report = self._policy_trainer.train(self._trainer.model, self._task, self._data, cancelled)
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
            report = self._inverse_trainer.train(self._data, cancelled)
        except FloatingPointError as error:  # the dynamics are none the worse for it
            log.warning("the inverse model stays as it was: %s", error)
            return
        if report is not None:  # what has learned nothing is not to be saved, and not to control
            self._trainer.model.inverse = self._inverse_trainer.inverse

    def _judge(self) -> tuple[float, float]:
        """Error and loss of the newest model on what came since it was trained; NaN: no such
        model."""
        if self.latest is None:
            return math.nan, math.nan
        model = self._in_use.dynamics
        new = self._data.batch(model.config.history, self._trained_on)
        if len(new) == 0:
            return self.latest.held_out_error, self.latest.held_out_loss
        new = new.to(model.device)
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


def is_one_step(records: Records, dt: float) -> NDArray[np.bool_]:
    """Which may be learned from, [N]: a late tick makes a step that is longer than the control
    period of `dt` s."""
    period = dt * 1e9
    result: NDArray[np.bool_] = (
        abs(records["next_stamp"] - records["stamp"] - period) < 0.25 * period
    )
    return result
