"""A run's folder, read for judging: what the robot did and which models of it are left."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl_node import data
from mbrl_node.data import Batch, Records, ReplayBuffer, RunStore, StoreError
from mbrl_node.learning.learner import is_one_step
from mbrl_node.models import CheckpointError, DynamicsModel, WorldModel, load_checkpoint
from mbrl_node.models.checkpoint import checkpoints
from mbrl_node.models.geometry import StateGeometry
from mbrl_node.spec.robot import RobotSpec
from mbrl_node.spec.system import System
from mbrl_node.spec.task import Task

log = logging.getLogger(__name__)
IntArray = NDArray[np.int64]

# Transitions that a version has not seen, to judge it by: a third of the run, within these.
ENOUGH = (40, 200)
FEW = 20  # with fewer nothing can be said


class DiagnosisError(Exception):
    """A run cannot be judged; the message names the folder or file and says why."""


@dataclass(frozen=True)
class Version:
    """A kept version of the model, and how many transitions it was trained on (the first ones)."""

    number: int
    transitions: int
    world: WorldModel

    @cached_property
    def dynamics(self) -> DynamicsModel:
        """What a planner uses of it."""
        return self.world.dynamics.elite()


@dataclass(frozen=True)
class HeldOut:
    """How well a version predicted the transitions that came after it was trained."""

    version: int
    transitions: int  # that it was trained on
    error: float  # RMSE over the standard deviation of the change
    loss: float  # see `Ensemble.loss`


@dataclass(frozen=True)
class Run:
    """All there is of a run. Rows are the transitions that were learned from, in order.

    Shapes: N rows, n state and m action fields, d fields of a difference.
    """

    folder: Path
    system: System
    task: Task
    buffer: ReplayBuffer
    acting: IntArray  # version of the model behind the action of each row, 0: none, [N]
    episode: IntArray  # a number for each episode, [N]
    stored: int  # transitions, with those that were not learned from
    controllers: dict[str, int]  # how many rows each had
    held_out: tuple[HeldOut, ...]  # of every version there ever was, by version
    versions: tuple[Version, ...]  # that are left, by version; at least one

    def __len__(self) -> int:
        return len(self.buffer)

    @property
    def newest(self) -> Version:
        return self.versions[-1]

    @property
    def geometry(self) -> StateGeometry:
        return self.newest.world.dynamics.geometry

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of what is predicted, [d]."""
        return self.geometry.difference_names

    @cached_property
    def units(self) -> tuple[str, ...]:
        """Of each of `fields`; empty where it is not known."""
        known = {}
        if isinstance(self.system, RobotSpec):
            known = {field.name: field.unit for field in self.system.state_fields}
        return tuple(known.get(f, "rad" if "_rotation_" in f else "") for f in self.fields)

    def batch(self, version: Version) -> Batch:
        """All rows as this version looks at them."""
        return self.buffer.batch(version.dynamics.config.history)

    @cached_property
    def change_std(self) -> Tensor:
        """Standard deviation of the change over one period, over the whole run, [d]; 1 where
        nothing changes."""
        rows = self.buffer.batch()
        return _spread(self.geometry.difference(rows.state, rows.next_state))

    @cached_property
    def state_std(self) -> Tensor:
        """Standard deviation of the states, [d].

        From differences of random pairs, which is the same for plain fields and means something
        for angles and orientations, too.
        """
        states = self.buffer.batch().state
        pairs = torch.randint(len(states), (2, 5000), generator=torch.Generator().manual_seed(0))
        apart = self.geometry.difference(states[pairs[0]], states[pairs[1]])
        result = (apart.square().mean(0) / 2).sqrt()
        return torch.where(result > 1e-6, result, torch.ones_like(result))

    def unseen(self, version: Version) -> range:
        """The rows that a version was not trained on."""
        return range(min(version.transitions, len(self)), len(self))

    def best_judged(self) -> Version | None:
        """The newest version with enough rows that it has not seen, else the one with most; None
        if there are next to none."""
        enough = min(max(len(self) // 3, ENOUGH[0]), ENOUGH[1])
        for version in reversed(self.versions):
            if len(self.unseen(version)) >= enough:
                return version
        most = max(self.versions, key=lambda v: len(self.unseen(v)))
        return most if len(self.unseen(most)) >= FEW else None


def load_run(folder: Path, system: System, task: Task) -> Run:
    """Reads what a `Learner` wrote.

    Raises:
        DiagnosisError: there is no run, it is empty or of another robot, or has no usable model.
    """
    if not folder.is_dir():
        raise DiagnosisError(f"{folder}: there is no such run folder")
    if not (folder / "transitions.db").exists():
        raise DiagnosisError(f"{folder}: is not a run folder: it has no transitions.db")
    try:
        store = RunStore(folder / "transitions.db", system, read_only=True)
        stored, history = store.records(), store.versions()
        store.close()
    except StoreError as error:
        raise DiagnosisError(str(error)) from error
    rows = stored[is_one_step(stored, system.dt)]
    if len(rows) < FEW:
        raise DiagnosisError(
            f"{folder}: holds {len(rows)} transitions, too few to judge a model by ({FEW} are the "
            "least); let the robot run longer"
        )
    buffer = ReplayBuffer(system.state_dim, system.action_dim)
    buffer.add(rows)
    return Run(
        folder,
        system,
        task,
        buffer,
        rows["model_version"].astype(np.int64),
        _episodes(rows),
        len(stored),
        _controllers(rows),
        _held_out(history),
        _versions(folder, system),
    )


def _versions(folder: Path, system: System) -> tuple[Version, ...]:
    result, problems = [], []
    for path in checkpoints(folder / "models"):
        try:
            world, info = load_checkpoint(path, system)
            number, transitions = int(info["version"]), int(info["transitions"])  # type: ignore[call-overload]
        except (CheckpointError, KeyError, TypeError, ValueError) as error:
            problems.append(str(error))
            log.warning("passed over: %s", error)
        else:
            result.append(Version(number, transitions, world))
    if not result:
        why = f": {problems[-1]}" if problems else "; no update has been made yet"
        raise DiagnosisError(f"{folder}: has no usable model in models/{why}")
    return tuple(sorted(result, key=lambda version: version.number))


def _held_out(history: list[data.Version]) -> tuple[HeldOut, ...]:
    """What each version's successor found out about it: an update judges the version before on
    what came since, and keeps that with its own version."""
    before = {version.number: version.transitions for version in history}
    found: dict[int, HeldOut] = {}
    for version in history:
        values = [version.metrics.get(f"held_out_{key}", math.nan) for key in ("error", "loss")]
        known = before.get(version.parent)
        # Without new data, as where it is a copy, it judged nothing.
        if known is not None and version.transitions > known and np.isfinite(values).all():
            found.setdefault(version.parent, HeldOut(version.parent, known, *values))
    return tuple(found[number] for number in sorted(found))


def _controllers(rows: Records) -> dict[str, int]:
    """How many rows each had, most first."""
    names, counts = np.unique(rows["controller"], return_counts=True)
    most = sorted(zip(counts.tolist(), names.tolist(), strict=True), key=lambda pair: -pair[0])
    return {name.decode(errors="replace"): count for count, name in most}


def _episodes(rows: Records) -> IntArray:
    """A number for each episode, in their order, [N]."""
    ids = np.stack([rows["session"], rows["episode"].astype(np.uint64)])
    numbers: IntArray = np.cumsum((np.diff(ids, prepend=ids[:, :1]) != 0).any(0))
    return numbers


def _spread(values: Tensor) -> Tensor:
    std = values.std(0, correction=0)
    return torch.where(std > 1e-6, std, torch.ones_like(std))
