"""Judging a model by a run: errors, calibration, and whether it serves the task.

Whoever trains a model by its likelihood and uses it to control should not judge it by its
likelihood alone (objective mismatch, arXiv 2002.04523).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

from mbrl_node.learning.delay import DelayEstimate, delay_of
from mbrl_node.learning.diagnostics.one_step import (
    Calibration,
    OneStep,
    Spread,
    calibration,
    one_step,
    predict,
    spread,
)
from mbrl_node.learning.diagnostics.over_run import Mismatch, Trend, mismatch, trend
from mbrl_node.learning.diagnostics.rollouts import Horizon, Returns, horizon, returns, roll
from mbrl_node.learning.diagnostics.run import DiagnosisError, Run, Version, load_run
from mbrl_node.learning.diagnostics.state_space import StateMap, state_map
from mbrl_node.spec.system import System
from mbrl_node.spec.task import Task

HORIZON = 1.5  # s ahead that rollouts are judged

__all__ = [
    "Calibration",
    "DelayEstimate",
    "Diagnosis",
    "DiagnosisError",
    "Facts",
    "Horizon",
    "Judgement",
    "Mismatch",
    "OneStep",
    "Returns",
    "Spread",
    "StateMap",
    "Trend",
    "diagnose",
    "plain",
]


@dataclass(frozen=True)
class Facts:
    """Of the run."""

    robot: str
    folder: str
    transitions: int
    learned_from: int  # the rest were no steps of one period
    episodes: int
    seconds: float  # of robot time, in those steps
    controllers: dict[str, int]
    newest: int  # version of the model
    kept: list[int]  # versions
    model: dict[str, object]  # its configuration
    fields: list[str]
    units: list[str]
    change_std: list[float]
    state_std: list[float]


@dataclass(frozen=True)
class Judgement:
    """Of one version, on rows that it has or has not seen."""

    version: int
    unseen: bool
    rows: int
    one_step: OneStep
    calibration: Calibration | None
    spread: Spread | None
    horizon: Horizon | None
    returns: Returns | None


@dataclass(frozen=True)
class Diagnosis:
    """All that is found out about a run.

    `unseen` judges the newest version that there is enough data for that it was not trained on;
    None where there is next to none. `seen` is the newest version on its own training data: more
    data, from all of the run, but flattering.
    """

    facts: Facts
    unseen: Judgement | None
    seen: Judgement
    trend: Trend
    mismatch: Mismatch
    state_map: StateMap | None  # of the newest version, on all data
    delay: DelayEstimate | None  # None: the actions do not tell it

    @property
    def judged(self) -> Judgement:
        """What verdicts rest on."""
        return self.unseen or self.seen


def diagnose(run_dir: Path, system: System, task: Task) -> Diagnosis:
    """Judges the model of a run; changes nothing in the folder.

    Raises:
        DiagnosisError: there is no run, it is empty or of another robot, or has no usable model.
    """
    run = load_run(run_dir, system, task)
    newest, judged = run.newest, run.best_judged()
    return Diagnosis(
        _facts(run),
        None if judged is None else _judge(run, judged, run.unseen(judged), True),
        _judge(run, newest, range(max(1, min(newest.transitions, len(run)))), False),
        trend(run),
        mismatch(run),
        state_map(run, predict(run, newest, range(len(run)))),
        delay_of(run.buffer, system),
    )


def _facts(run: Run) -> Facts:
    return Facts(
        run.system.name,
        run.folder.name,
        run.stored,
        len(run),
        len(set(run.episode.tolist())),
        len(run) * run.system.dt,
        run.controllers,
        run.newest.number,
        [version.number for version in run.versions],
        run.newest.dynamics.config.model_dump(mode="json"),
        list(run.fields),
        list(run.units),
        run.change_std.tolist(),
        run.state_std.tolist(),
    )


def _judge(run: Run, version: Version, rows: range, unseen: bool) -> Judgement:
    prediction = predict(run, version, rows)
    rollouts = roll(run, version, rows, max(2, round(HORIZON / run.system.dt)))
    return Judgement(
        version.number,
        unseen,
        len(rows),
        one_step(run, prediction),
        calibration(prediction),
        spread(prediction),
        None if rollouts is None else horizon(run, rollouts),
        None if rollouts is None else returns(run, version, rollouts),
    )


def plain(value: object) -> object:
    """Dataclasses as dictionaries, for JSON: a number that is not finite is None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
