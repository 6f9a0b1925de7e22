"""Sampling MPC as a controller: the plan for the next tick is made while the present action
runs."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from mbrl_node.control.controller import Array, Controller, Observation
from mbrl_node.planning import Effort, Planner, PlanningError, Rollout


@dataclass(frozen=True, slots=True)
class TimedPlan:
    """A plan and when it holds."""

    time: int  # robot time at which actions[0] takes effect, ns
    actions: Array  # [H, m]
    model_version: int
    plan_time: float  # s it took
    states: Array | None = None  # [H + 1, n], predicted; None: nobody asked
    predicted_return: float = math.nan
    effort: Effort | None = None  # what it looked at


@dataclass(frozen=True, slots=True)
class _Request:
    observation: Observation
    action: Array  # sent at that observation, [m]
    past: list[tuple[Array, Array]]  # states and actions before, oldest first
    epoch: int


class PlanningController(Controller):
    """Executes the newest plan and has the next one made in the background.

    When the action of tick k is sent, the state at tick k + 1 is predicted from it, and the plan
    for k + 1 starts there: planning time is hidden, the action of k + 1 goes out on time. If that
    plan is late, the second action of the plan before is sent, and so on to the end of its horizon.

    Args:
        planner: used only by the planning thread.
        dt: control period, s.
        background: False plans within `commanded`, for loops that need not keep real time.
        on_plan: called with every plan, in the thread that planned; its states are filled in when
            `wants_states` says so.
    """

    def __init__(
        self,
        name: str,
        planner: Planner,
        dt: float,
        background: bool = True,
        on_plan: Callable[[TimedPlan], None] = lambda plan: None,
        wants_states: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(name)
        self._planner, self._period = planner, round(dt * 1e9)
        self._on_plan, self._wants_states = on_plan, wants_states
        self._model: tuple[Rollout, int] | None = None
        self._plan: TimedPlan | None = None
        self._failure: Exception | None = None
        self._epoch = 0  # plans begun before the last `activate` are thrown away
        self._planned_for = 0
        self._planned_epoch = 0
        self.late_plans = 0
        self._wake = threading.Condition()
        self._past: list[
            tuple[Array, Array]
        ] = []  # states and actions that the model looks back at
        self._request: _Request | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        if background:
            self._thread = threading.Thread(target=self._work, name=f"plan-{name}", daemon=True)
            self._thread.start()

    def set_model(self, rollout: Rollout, version: int) -> None:
        """The next plan uses this model. May be called from any thread."""
        self._model = (rollout, version)

    @property
    def not_ready(self) -> str:
        return "" if self._model else "waits for the first model"

    def activate(self) -> None:
        with self._wake:
            self._epoch += 1
            self._plan, self._request, self._failure, self._past = None, None, None, []

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread:
            self._thread.join()

    def update(self, observation: Observation, last_action: Array) -> Array:
        """The action that the newest plan has for this time.

        Raises:
            PlanningError: planning failed, or the newest plan has run out.
        """
        with self._wake:
            plan, failure = self._plan, self._failure
        if failure is not None:
            raise failure
        if plan is None:
            return last_action  # the first plan is being made
        index = max(0, round((observation.time - plan.time) / self._period))
        if index >= len(plan.actions):
            raise PlanningError(f"the newest plan ended {index - len(plan.actions) + 1} ticks ago")
        self.late_plans += index > 0
        self.model_version = plan.model_version
        action: Array = plan.actions[index]
        return action

    def commanded(self, observation: Observation, action: Array) -> None:
        with self._wake:
            request = _Request(observation, action, self._past, self._epoch)
            self._request = request
            self._wake.notify()
        if self._model is not None:
            look_back = self._model[0].history - 1
            past = [*self._past, (observation.state, action)]
            self._past = past[len(past) - look_back :] if look_back else []
        if self._thread is None:
            self._serve(request)

    def _work(self) -> None:
        # A tick that wakes up must not wait for a plan that has the processor. On Linux this is
        # the priority of the thread alone.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._request is not None or self._closed)
                if self._closed:
                    return
                request, self._request = self._request, None
            if request is not None:
                self._serve(request)

    def _serve(self, request: _Request) -> None:
        made: tuple[TimedPlan, Rollout, torch.Tensor] | None = None
        failure: Exception | None = None
        try:
            made = self._make_plan(request)
        except Exception as error:  # a failing planner must not end the thread; update() raises it
            failure = error
        with self._wake:
            if request.epoch != self._epoch:
                return
            self._failure = failure
            if made is not None:
                self._plan = made[0]
        if made is not None:
            self._show(*made)

    @torch.no_grad()
    def _make_plan(self, request: _Request) -> tuple[TimedPlan, Rollout, torch.Tensor]:
        """The plan, the model that it was made with, and the model state it starts from, [x]."""
        begin = time.perf_counter()
        if self._model is None:
            raise PlanningError(f"{self.name} {self.not_ready}")
        rollout, version = self._model
        at = request.observation.time + self._period
        if request.epoch != self._planned_epoch:
            self._planner.reset()
            self._planned_epoch = request.epoch
        else:
            self._planner.shift(round((at - self._planned_for) / self._period))
        self._planned_for = at
        past_states, past_actions = [s for s, _ in request.past], [a for _, a in request.past]
        states, actions = (
            torch.as_tensor(np.stack(x), dtype=torch.float32, device=rollout.device)
            for x in ([*past_states, request.observation.state], [*past_actions, request.action])
        )
        sent = actions[-1]
        now = rollout.model_state(states, actions[:-1])
        start = rollout.step(now, sent)
        proposals = rollout.proposals(start, self._planner.horizon)
        plan = self._planner.plan(rollout, start, sent, proposals)
        values = plan.cpu().numpy().astype(np.float64)
        took = time.perf_counter() - begin
        return TimedPlan(at, values, version, took, effort=self._planner.used), rollout, start

    def _show(self, plan: TimedPlan, rollout: Rollout, start: torch.Tensor) -> None:
        if self._wants_states():
            actions = torch.as_tensor(plan.actions, dtype=torch.float32, device=rollout.device)
            states, total = rollout.trajectory(start, actions)
            values = states.cpu().numpy().astype(np.float64)
            plan = replace(plan, states=values, predicted_return=total)
        self._on_plan(plan)
