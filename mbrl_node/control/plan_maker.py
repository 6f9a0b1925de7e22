"""What makes the plans of a planning controller: a planner, and the newest model."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch

from mbrl_node.control.candidates import Candidates, take_candidates
from mbrl_node.control.controller import Array, no_limits
from mbrl_node.control.model_watch import Happened, ModelWatch
from mbrl_node.data.transition import no_targets
from mbrl_node.planning import Effort, Planner, PlanningError, Rollout

SHOWN = 10  # of the sampled sequences, beside the plan


@dataclass(frozen=True, slots=True)
class TimedPlan:
    """A plan and when it holds."""

    time: int  # robot time at which actions[0] is to be sent, ns
    asked: int  # robot time of the tick that asked for it, ns
    actions: Array  # [H, m]
    model_version: int
    plan_time: float  # s it took
    states: Array | None = None  # [H + 1, n], predicted; None: nobody asked
    predicted_return: float = math.nan
    effort: Effort | None = None  # what it looked at
    candidates: Candidates | None = None  # the best of the samples; None: nobody asked


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What a plan is to start from."""

    time: int  # robot time at which the plan is to hold, ns
    asked: int  # robot time of the tick that asks, ns
    epoch: int  # plans of another epoch do not matter to this one
    states: Array  # measured, oldest first, the last is of now, [P + 1, n]
    ages: Array  # s before the asking tick at which each was measured, [P + 1]
    past_actions: Array  # in effect in those before the last, [P, m]
    ahead: Array  # in effect from now until the plan holds, one a control period, [A, m]
    show: bool  # somebody will look at it
    targets: Array = field(default_factory=no_targets)  # what the task aims at, [t]
    limits: Array = field(default_factory=no_limits)  # of the actions, see `Observation`

    @property
    def happened(self) -> Happened:
        """The steps that led to it."""
        return Happened(1e-9 * self.asked - self.ages, self.states, self.past_actions)


class Maker(Protocol):
    """Makes plans, here or elsewhere."""

    @property
    def history(self) -> int:
        """How many states the model looks at; 0: there is no model yet."""

    @property
    def horizon(self) -> int:
        """Actions of a plan."""

    def make(self, request: PlanRequest) -> TimedPlan:
        """A plan, without its states.

        Raises:
            PlanningError: there is none.
        """

    def shown(self, plan: TimedPlan) -> TimedPlan:
        """The plan that was made last, with its states."""


class PlanMaker:
    """Makes plans here. One thread makes them; others may set model and planner.

    Args:
        dt: control period, s.
        watch: knows the model to plan with, and is told what happened. None: the model is that of
            `set_model`.
    """

    def __init__(self, planner: Planner, dt: float, watch: ModelWatch | None = None) -> None:
        self._planner, self._period = planner, round(dt * 1e9)
        self._model: tuple[Rollout, int] | None = None
        self._watch = watch
        self._last_planner, self._last_time, self._last_epoch = planner, 0, -1
        self._last: tuple[Rollout, torch.Tensor] | None = None  # model and start of the last plan

    def set_model(self, rollout: Rollout, version: int) -> None:
        """The next plan uses this model, unless a watch knows better."""
        self._model = (rollout, version)

    def set_planner(self, planner: Planner) -> None:
        """The next plan is made by this one, going on from where the old one was if it plans as
        far."""
        self._planner = planner

    @property
    def _in_use(self) -> tuple[Rollout, int] | None:
        return self._model if self._watch is None else self._watch.used

    @property
    def history(self) -> int:
        used = self._in_use
        return used[0].history if used else 0

    @property
    def horizon(self) -> int:
        return self._planner.horizon

    @torch.no_grad()
    def make(self, request: PlanRequest) -> TimedPlan:
        """See `Maker`."""
        begin = time.perf_counter()
        if self._watch is not None:
            self._watch.judge(request.happened)
        used, planner = self._in_use, self._planner
        if used is None:
            raise PlanningError("there is no model yet")
        if request.epoch != self._last_epoch:
            planner.reset()
        else:
            if planner is not self._last_planner:
                planner.resume(self._last_planner)
            planner.shift(round((request.time - self._last_time) / self._period))
        self._last_planner, self._last_time = planner, request.time
        self._last_epoch = request.epoch
        planner.keep = SHOWN if request.show else 0
        try:
            plan = self._plan(used[0], planner, request)
        except PlanningError as error:
            good = self._watch.good if self._watch is not None else None
            if self._watch is None or good is None or good[1] == used[1]:
                raise
            plan = self._plan(good[0], planner, request)  # fails too where no model is to blame
            self._watch.failed(used[1], f"there was no plan with it: {error}")
            used = good
        values = plan.cpu().numpy().astype(np.float64)
        took = time.perf_counter() - begin
        return TimedPlan(request.time, request.asked, values, used[1], took, effort=planner.used)

    def _plan(self, rollout: Rollout, planner: Planner, request: PlanRequest) -> torch.Tensor:
        if request.targets.size:
            rollout.aim(request.targets)
        planner.limit(_tensor(request.limits, rollout) if request.limits.size else None)
        past = rollout.history - 1
        states = _tensor(request.states[-1 - past :], rollout)
        earlier = max(0, len(request.past_actions) - past)  # than the model looks back
        past_actions = _tensor(request.past_actions[earlier:], rollout)
        ahead = _tensor(request.ahead, rollout)
        start = rollout.model_state(states, past_actions)
        for action in ahead:
            start = rollout.step(start, action)
        proposals = rollout.proposals(start, planner.horizon)
        plan = planner.plan(rollout, start, ahead[-1], proposals)
        self._last = (rollout, start)
        return plan

    def shown(self, plan: TimedPlan) -> TimedPlan:
        """See `Maker`."""
        if self._last is None:
            return plan
        rollout, start = self._last
        states, total = rollout.trajectory(start, _tensor(plan.actions, rollout))
        return replace(
            plan,
            states=states.cpu().numpy().astype(np.float64),
            predicted_return=total,
            candidates=take_candidates(self._last_planner, rollout, start),
        )


def _tensor(rows: Array, rollout: Rollout) -> torch.Tensor:
    return torch.as_tensor(rows, dtype=torch.float32, device=rollout.device)
