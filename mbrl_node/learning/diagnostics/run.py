"""A run's folder, read for judging: what the robot did and which models of it are left."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl_node.data import Batch, ReplayBuffer, StoreError, Transition, TransitionStore
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
        store = TransitionStore(folder / "transitions.db", system)
        stored = list(store)
        store.close()
    except StoreError as error:
        raise DiagnosisError(str(error)) from error
    rows = [t for t in stored if is_one_step(t, system.dt)]
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
        np.array([t.model_version for t in rows]),
        _episodes(rows),
        len(stored),
        dict(Counter(t.controller for t in rows).most_common()),
        _held_out(folder / "updates.jsonl"),
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


def _held_out(path: Path) -> tuple[HeldOut, ...]:
    """What each version's successor found out about it: an update judges the version before on
    what came since, and writes that in its own line."""
    lines = {}
    for number, line in enumerate(_lines(path), 1):
        try:
            record = json.loads(line)
            lines[int(record["version"])] = (
                int(record["transitions"]),
                float(record["held_out_error"]),
                float(record["held_out_loss"]),
            )
        except (ValueError, KeyError, TypeError):
            # A process that is killed while it writes leaves a torn line.
            log.warning("passed over: %s: line %d is not a whole record", path, number)
    return tuple(
        HeldOut(version, lines[version][0], *lines[version + 1][1:])
        for version in sorted(lines)
        if version + 1 in lines and np.isfinite(lines[version + 1][1:]).all()
    )


def _episodes(rows: list[Transition]) -> IntArray:
    numbers: dict[tuple[int, int], int] = {}
    return np.array([numbers.setdefault((t.session, t.episode), len(numbers)) for t in rows])


def _spread(values: Tensor) -> Tensor:
    std = values.std(0, correction=0)
    return torch.where(std > 1e-6, std, torch.ones_like(std))


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []
