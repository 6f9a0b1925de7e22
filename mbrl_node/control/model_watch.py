"""Is the model in use worse than the last good one?

Whatever let a new version through can be wrong about it: here it is judged by what happens while it
is used. A version is on probation until it has been there for a window of steps; the last that
passed is the good one and is kept. Both predict each step that the robot makes, from the same state
and command, and where the version in use is clearly worse it gives way to the good one.

In the first seconds of learning versions differ by luck, a later one may predict worse than one
before, and to go back would end the learning: only a good one that has some experience is gone back
to because of errors.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mbrl_node.control.controller import Array
from mbrl_node.models import WorldModel
from mbrl_node.models.dynamics import DynamicsModel
from mbrl_node.planning import Rollout

log = logging.getLogger(__name__)

WINDOW = 1.0  # s
FEWEST, MOST = 10, 50  # steps of a window, whatever the period
LATEST, MOSTLY = 5, 3  # of the latest steps, so many must be worse: what is over is no reason
TOGETHER = 0.2  # s of steps that are predicted together, for a step costs as much as ten
FACTOR, MARGIN = 2.0, 0.1  # worse: FACTOR times the good one's error, and MARGIN more
PASSED, SLACK = (
    1.3,
    0.05,
)  # likewise; a version that is worse than this does not become good
BETTER = 0.8  # part of the other's error from which a version counts as better
EXPERIENCE = 10.0  # s of transitions that a version has learned from, before others are worse
FEW = 100  # transitions are no experience, whatever the period
WORST = 10.0  # errors of a step count no more than this
KEPT = 6  # good versions to go back to


class RollbackError(Exception):
    """There is nothing to go back to, or no reason; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Rollback:
    """A version gave way to an older one."""

    bad: int
    good: int
    reason: str  # a clause, as in "it predicted the last second 4.2 times worse"


@dataclass(frozen=True, slots=True)
class Happened:
    """States that were measured one after the other, oldest first, and the commands in between."""

    times: Array  # robot time of each, s, [P + 1]
    states: Array  # [P + 1, n]
    actions: Array  # in effect between them, [P, m]


@dataclass(frozen=True, eq=False)
class _Version:
    number: int
    transitions: int
    world: WorldModel
    rollout: Rollout
    model: DynamicsModel  # on the CPU, where a few steps cost least
    unit: Array  # standard deviation of the change of state in what it has learned from, [d]

    @classmethod
    def of(cls, number: int, transitions: int, world: WorldModel, rollout: Rollout) -> _Version:
        model = rollout.model
        model = model if model.device.type == "cpu" else deepcopy(model).cpu()
        unit = model.delta_std.numpy().astype(np.float64)
        return cls(number, transitions, world, rollout, model, unit)


@dataclass(slots=True)
class _Step:
    """A step that the robot made."""

    states: Tensor  # up to that it began in, [P, n]
    past_actions: Tensor  # [P - 1, m]
    action: Tensor  # [m]
    next_state: Tensor  # [n]


class ModelWatch:
    """Holds the version in use and the good ones before it.

    One thread judges; others may hand in versions, or take one back.

    Args:
        dt: control period, s.
        on_rollback: called in the thread that judges, after it went back by itself.

    Attributes:
        error: RMS error of what was in use over the last window, in standard deviations of the
            change of state, see `DynamicsModel.error`; NaN: nothing was predicted yet.
        refused: versions up to this one are not taken any more.
    """

    def __init__(
        self, dt: float, on_rollback: Callable[[Rollback], None] = lambda rollback: None
    ) -> None:
        self._dt, self._on_rollback = dt, on_rollback
        self._spacing = max(dt, WINDOW / MOST)  # s from one step that is judged to the next
        self._size = max(FEWEST, round(WINDOW / self._spacing))
        self._batch = max(1, min(LATEST, round(TOGETHER / self._spacing)))
        self._experience = max(FEW, round(EXPERIENCE / dt))
        self._lock = threading.Lock()
        self._used: _Version | None = None
        self._goods: deque[_Version] = deque(maxlen=KEPT)
        self._trial: _Version | None = None  # the next good one, if it passes
        self._tried = 0  # steps since it was taken up
        self._since = 0  # steps since the version in use was
        self._steps: list[_Step] = []  # the window, and the errors in it, [S, d]:
        self._lived, self._mine, self._its = (np.empty((0, 0)) for _ in range(3))  # of what was in
        # use at each step, of what is in use now, and of the good one
        self._waiting: list[_Step] = []  # to be predicted
        self._fresh = False  # the version in use has not predicted the window yet
        self._until = -math.inf  # robot time of the newest state that was seen, s
        self._next = -math.inf  # robot time from which on a step is judged, s
        self.error, self.refused = math.nan, 0
        self._told: set[str] = set()

    # What there is: any thread.

    @property
    def used(self) -> tuple[Rollout, int] | None:
        """What to plan with, and its version."""
        used = self._used
        return (used.rollout, used.number) if used else None

    @property
    def good(self) -> tuple[Rollout, int] | None:
        """The good one; None: no version was there for long enough."""
        good = self._good
        return (good.rollout, good.number) if good else None

    @property
    def _good(self) -> _Version | None:
        goods = self._goods
        return goods[-1] if goods else None

    @torch.no_grad()
    def use(
        self,
        world: WorldModel,
        rollout: Rollout,
        number: int,
        transitions: int = 0,
        good: bool = False,
    ) -> None:
        """This version is in use from now on.

        Args:
            world: what the rollout is of.
            transitions: that it has learned from.
            good: it is known to be.

        Raises:
            RollbackError: it was rolled back, or one after it.
        """
        version = _Version.of(number, transitions, world, rollout)
        with self._lock:
            if number <= self.refused:
                raise RollbackError(f"model {number} was rolled back, or one after it")
            self._predict_waiting()
            if self._used is not None and self._used.rollout.history < rollout.history:
                self._steps = []  # their past is too short for it
            self._used, self._fresh, self._since = version, True, 0
            if good:
                self._goods.append(version)
                self._trial = None
            elif self._trial is None:
                self._trial, self._tried = version, 0

    def remake(self, make: Callable[[WorldModel], Rollout]) -> None:
        """Rolls all versions out in another way."""
        with self._lock:
            versions = {v.number: v for v in (self._used, self._trial, *self._goods) if v}
        made = {
            n: _Version.of(n, v.transitions, v.world, make(v.world)) for n, v in versions.items()
        }

        def new(version: _Version) -> _Version:
            return made.get(version.number, version)

        with self._lock:
            self._used = self._used and new(self._used)
            self._trial = self._trial and new(self._trial)
            self._goods = deque(map(new, self._goods), KEPT)

    @torch.no_grad()
    def go_back(self, reason: str, to: int | None = None, unless_better: bool = False) -> Rollback:
        """Goes back to the newest good version before the one in use.

        Args:
            to: it must not be newer than this.
            unless_better: only if the version in use does not predict the last window better.

        Raises:
            RollbackError: there is none, or no reason.
        """
        with self._lock:
            used = self._used
            if used is None:
                raise RollbackError("there is no model yet")
            older = [g for g in self._goods if g.number < used.number]
            fitting = [g for g in older if to is None or g.number <= to]
            if not fitting:
                raise RollbackError(f"there is no good version before model {used.number}")
            target = fitting[-1]
            if unless_better:
                self._check_reason(used, target)
            return self._return_to(target, reason)

    @torch.no_grad()
    def failed(self, number: int, reason: str) -> None:
        """No plan could be made with this version, and one with the good version could."""
        with self._lock:
            good = self._good
            if self._used is None or self._used.number != number or good is None:
                return
            rollback = self._return_to(good, reason)
        self._on_rollback(rollback)

    def _check_reason(self, used: _Version, target: _Version) -> None:
        self._predict_waiting()
        if len(self._steps) < FEWEST:
            return
        mine, its = (_rms(_sizes(_errors(v, self._steps), target)) for v in (used, target))
        if mine < BETTER * its:
            raise RollbackError(
                f"model {used.number} predicts the {self._span} better than {target.number}: "
                f"an error of {mine:.2g} against {its:.2g}"
            )

    def _return_to(self, target: _Version, reason: str) -> Rollback:
        used = self._used
        assert used is not None
        while self._goods[-1] is not target:
            self._goods.pop()
        self._used, self._trial, self._fresh = target, None, False
        # What the bad one did is over, and nothing to be said against those that come.
        self._lived = self._mine = self._its = _errors(target, self._steps)
        self.error = _rms(_sizes(self._lived, target)) if self._steps else math.nan
        self.refused = max(self.refused, used.number)
        return Rollback(used.number, target.number, reason)

    # Judging: the planning thread.

    @torch.no_grad()
    def judge(self, happened: Happened) -> None:
        """Compares what happened with what the versions predict of it. Never raises: what goes
        wrong here is logged once, and costs no plan."""
        rollback = None
        try:
            with self._lock:
                self._waiting += self._new_steps(happened)
                if self._used is not None and (self._fresh or len(self._waiting) >= self._batch):
                    rollback = self._judge()
        except Exception as error:  # whatever a model of somebody else's may do
            self._tell(f"models are not watched: {type(error).__name__}: {error}")
        if rollback is not None:
            self._on_rollback(rollback)

    def _new_steps(self, happened: Happened) -> list[_Step]:
        """The steps since the last time that took one period, at most one a spacing."""
        times, found = happened.times, []
        newest = float(times[-1])
        if newest < self._until:  # the clock was set back
            self._until = self._next = newest
        for i in range(len(times) - 1):
            begin, took = float(times[i]), float(times[i + 1] - times[i])
            if begin < self._until - 1e-6 or begin < self._next - 0.25 * self._dt:
                continue
            if abs(took - self._dt) < 0.25 * self._dt:
                self._next = begin + self._spacing
                found.append(_step(happened, i))
        self._until = newest
        return found

    def _judge(self) -> Rollback | None:
        used, good = self._used, self._good
        assert used is not None
        self._predict_waiting()
        if self._fresh:
            self._mine, self._fresh = _errors(used, self._steps), False
        if not self._steps:
            return None
        yardstick = good or used
        lived, mine, its = (_sizes(e, yardstick) for e in (self._lived, self._mine, self._its))
        self.error = _rms(lived)
        if good is None or good is used:
            self._watch_alone(used, mine)
        elif reason := self._complaint(lived, mine, its):
            return self._return_to(good, reason)
        self._end_trial(its)
        return None

    def _predict_waiting(self) -> None:
        """The steps that wait are predicted by the version in use and by the good one."""
        waiting, self._waiting = self._waiting[-self._size :], []
        used, good = self._used, self._good
        if used is None or not waiting:
            return
        mine = _errors(used, waiting)
        its = mine if good is None or good is used else _errors(good, waiting)
        known = len(self._steps)
        self._steps = [*self._steps, *waiting][-self._size :]
        self._lived, self._mine, self._its = (
            np.concatenate((before, new))[-self._size :] if known else new
            for before, new in ((self._lived, mine), (self._mine, mine), (self._its, its))
        )
        self._tried += len(waiting)
        self._since += len(waiting)

    def _complaint(self, lived: Array, mine: Array, its: Array) -> str:
        """Why the version in use is to give way; '': it is not.

        Args:
            lived, mine, its: sizes of errors [S], as those that are kept.
        """
        if not np.isfinite(mine).all():
            return "its predictions are not finite"
        if len(mine) < FEWEST or not self._experienced:
            return ""
        verb = "predicted" if 2 * self._since >= len(mine) else "would have predicted"
        for sizes, what in ((mine, f"it {verb}"), (lived, "it and those before it predicted")):
            late = sizes[-LATEST:] > FACTOR * its[-LATEST:] + MARGIN
            if late.sum() < MOSTLY or not _worse(sizes, its, FACTOR, MARGIN):
                continue
            ratio = _rms(sizes) / max(_rms(its), 1e-9)
            times = f"{ratio:.1f}" if ratio < 1000 else "over 1000"
            return f"{what} the {self._span} {times} times worse"
        return ""

    @property
    def _experienced(self) -> bool:
        good = self._good
        return good is not None and good.transitions >= self._experience

    @property
    def _span(self) -> str:
        seconds = len(self._steps) * self._spacing
        return "last second" if 0.75 < seconds < 1.5 else f"last {seconds:.2g} s"

    def _watch_alone(self, used: _Version, mine: Array) -> None:
        """There is nothing to go back to: all that can be done is to say so."""
        if not np.isfinite(mine).all():
            self._tell(
                f"the predictions of model {used.number} are not finite, and there is no good "
                "version before it to go back to"
            )

    def _end_trial(self, its: Array) -> None:
        """At the end of a window the version that was there all the time becomes good."""
        trial, good = self._trial, self._good
        if trial is None or self._tried < self._size:
            return
        errors = _errors(trial, self._steps)
        passed = bool(np.isfinite(errors).all())
        if good is not None and self._experienced:
            passed &= not _worse(_sizes(errors, good), its, PASSED, SLACK)
        if passed:
            self._goods.append(trial)
            self._its = errors
        self._trial, self._tried = (None if self._used is self._good else self._used), 0

    def _tell(self, problem: str) -> None:
        if problem not in self._told:
            self._told.add(problem)
            log.warning(problem)


def _step(happened: Happened, i: int) -> _Step:
    def row(values: Array) -> Tensor:
        return torch.tensor(values, dtype=torch.float32)

    states, actions = happened.states, happened.actions
    return _Step(row(states[: i + 1]), row(actions[:i]), row(actions[i]), row(states[i + 1]))


def _errors(version: _Version, steps: Sequence[_Step]) -> Array:
    """What a model's mean prediction of each step lacks, [S, d]."""
    model = version.model
    if not steps:
        return np.empty((0, model.geometry.difference_dim))
    state = torch.stack([model.model_state(s.states, s.past_actions) for s in steps])
    action = torch.stack([s.action for s in steps])
    truth = torch.stack([s.next_state for s in steps])
    members = model.members
    found = model.predict(state.expand(members, -1, -1), action.expand(members, -1, -1)).mean(0)
    missing = model.geometry.difference(found[..., : model.state_dim], truth)
    return missing.numpy().astype(np.float64)


def _sizes(errors: Array, yardstick: _Version) -> Array:
    """Of errors [S, d] in standard deviations of what a version has learned from, [S]; inf where
    one is not finite."""
    squares = np.square(errors / yardstick.unit).mean(1)
    sizes: Array = np.sqrt(np.where(np.isfinite(squares), np.minimum(squares, WORST**2), np.inf))
    return sizes


def _rms(sizes: Array) -> float:
    return math.sqrt(float(np.square(sizes).mean()))


def _worse(sizes: Array, others: Array, factor: float, margin: float) -> bool:
    return _rms(sizes) > factor * _rms(others) + margin
