"""A planner as a controller: the plan for a coming tick is made while the present action runs."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mbrl_node.control.controller import Array, Controller, Observation
from mbrl_node.control.plan_maker import Maker, PlanMaker, PlanRequest, TimedPlan
from mbrl_node.models import WorldModel
from mbrl_node.planning import Planner, PlanningError, Rollout

log = logging.getLogger(__name__)

DELAYS = 20  # how many of the newest plans tell how long planning takes
LAST_WAIT = 2.0  # s that `close` waits for the plan under way
REMEMBERED = 8  # steps that a plan's maker is told of, beyond those that the model looks at


@dataclass(frozen=True, slots=True)
class _Request:
    observation: Observation
    action: Array  # sent at that observation, [m]
    past: list[tuple[Observation, Array]]  # before, and what was in effect then, oldest first
    plans: list[TimedPlan]  # what will be sent until the plan holds
    lead: int  # ticks until then
    epoch: int


class PlanningController(Controller):
    """Executes the newest plan and has the next one made in the background.

    When the action of tick k is sent, a plan is asked for that holds from tick k + lead on, where
    `lead` is how many ticks planning has taken lately. It starts from the state predicted for that
    time, with the commands that will be in effect until then: those in flight, the one just sent,
    and those that the plans before have for the ticks between. So neither planning nor the way to
    the actuator makes the plan late. If a plan does come late, the next action of the one before is
    sent.

    Args:
        planner: makes the plans here; or what has them made elsewhere. Used only by the planning
            thread.
        dt: control period, s.
        background: False plans within `commanded`, for loops that need not keep real time.
        on_plan: called with every plan, in the thread that planned; its states are filled in when
            `wants_states` says so.
        max_late: ticks in a row that may pass without a plan in time.
    """

    learned = True

    def __init__(
        self,
        name: str,
        planner: Planner | Maker,
        dt: float,
        background: bool = True,
        on_plan: Callable[[TimedPlan], None] = lambda plan: None,
        wants_states: Callable[[], bool] = lambda: False,
        max_late: int = 5,
    ) -> None:
        super().__init__(name)
        self._maker = PlanMaker(planner, dt) if isinstance(planner, Planner) else planner
        self._period, self.max_late = round(dt * 1e9), max_late
        self._on_plan, self._wants_states = on_plan, wants_states
        self._failure: Exception | None = None
        self._epoch = 0  # plans begun before the last `activate` are thrown away
        self.late_plans = 0
        self._wake = threading.Condition()
        # Of the control thread alone:
        self._plans: list[TimedPlan] = []  # the one in use, and those for later
        self._waited = 0  # ticks without any plan
        self._delays: deque[int] = deque(maxlen=DELAYS)  # ticks from asking to having, each plan
        self._past: list[tuple[Observation, Array]] = []  # and what was in effect then
        # Of the planning thread alone, of its last plan:
        self._planned_epoch = -1
        self._newest: TimedPlan | None = None  # of this epoch
        self._not_shown = ""  # why a plan was not
        # Handed over between the threads:
        self._arrived: list[TimedPlan] = []
        self._request: _Request | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        if background:
            self._thread = threading.Thread(target=self._work, name=f"plan-{name}", daemon=True)
            self._thread.start()

    def set_model(self, model: Rollout | WorldModel, version: int) -> None:
        """The next plan uses this model, if plans are made here. May be called from any thread."""
        if isinstance(self._maker, PlanMaker) and not isinstance(model, WorldModel):
            self._maker.set_model(model, version)

    def set_planner(self, planner: Planner) -> None:
        """The next plan is made by this one, if plans are made here. May be called from any
        thread."""
        if isinstance(self._maker, PlanMaker):
            self._maker.set_planner(planner)

    @property
    def not_ready(self) -> str:
        return "" if self._maker.history else "waits for the first model"

    @property
    def lead(self) -> int:
        """Ticks from asking for a plan to its taking effect, as measured."""
        if not self._delays:
            return 1
        delays = sorted(self._delays)
        usual = delays[(9 * len(delays) - 1) // 10]  # nine of ten plans are in time
        return max(1, min(usual, self._maker.horizon // 2))

    def activate(self) -> None:
        with self._wake:
            self._epoch += 1
            self._request, self._failure, self._arrived = None, None, []
        self._plans, self._past, self._waited = [], [], 0

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread:
            self._thread.join(LAST_WAIT)  # a planner that hangs must not keep the process

    def update(self, observation: Observation, last_action: Array) -> Array:
        """The action that the newest plan has for this time.

        Raises:
            PlanningError: planning failed, or has been late for too long.
        """
        self._take_arrived(observation.time)
        plan = self._plan_at(observation.time, self._plans)
        if plan is None:  # the first plan is being made, or is for later
            self._waited += 1
            if self._waited > self.max_late + self.lead:
                raise PlanningError(f"no plan came within {self._waited - 1} ticks")
            return last_action
        late = self._ticks(plan.time, observation.time)
        self.late_plans += late > 0
        if late >= min(self.max_late, len(plan.actions)):
            raise PlanningError(
                f"no plan in time for {late} ticks; the last took {1e3 * plan.plan_time:.1f} ms "
                f"(control period {1e-6 * self._period:g} ms)"
            )
        self.model_version = plan.model_version
        action: Array = plan.actions[late]
        return action

    def _ticks(self, since: int, until: int) -> int:
        """Ticks are where they should be to half a period."""
        return round((until - since) / self._period)

    def _take_arrived(self, now: int) -> None:
        with self._wake:
            arrived, self._arrived = self._arrived, []
            failure = self._failure
        for plan in arrived:
            self._delays.append(self._ticks(plan.asked, now))
            self._plans = _joined(self._plans, plan)
        if failure is not None:
            raise failure
        while len(self._plans) > 1 and self._ticks(self._plans[1].time, now) >= 0:
            del self._plans[0]

    def _plan_at(self, time: int, plans: list[TimedPlan]) -> TimedPlan | None:
        """The newest that holds at this time."""
        return next((p for p in reversed(plans) if self._ticks(p.time, time) >= 0), None)

    def commanded(self, observation: Observation, action: Array) -> None:
        history = self._maker.history
        if not history:
            return
        plans = list(self._plans)
        with self._wake:
            request = _Request(observation, action, self._past, plans, self.lead, self._epoch)
            self._request = request
            self._wake.notify()
        past = [*self._past, (observation, observation.in_effect(action))]
        self._past = past[-(history - 1 + REMEMBERED) :]
        if self._thread is None:
            self._serve(request)

    # Planning: the planning thread.

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._request is not None or self._closed)
                if self._closed:
                    return
                request, self._request = self._request, None
            if request is not None:
                self._serve(request)

    def _serve(self, request: _Request) -> None:
        plan: TimedPlan | None = None
        failure: Exception | None = None
        wanted = self._wants_states()
        try:
            plan = self._newest = self._maker.make(self._complete(request, wanted))
        except Exception as error:  # a failing planner must not end the thread; update() raises it
            failure = error
        with self._wake:
            if request.epoch != self._epoch or self._closed:
                return
            self._failure = failure
            if plan is not None:
                self._arrived.append(plan)
        if plan is not None:
            try:
                self._on_plan(self._maker.shown(plan) if wanted else plan)
            except Exception as error:  # who only looks must not end the thread, either
                problem = f"'{self.name}': a plan is not shown: {type(error).__name__}: {error}"
                if problem != self._not_shown:
                    log.warning(problem)
                self._not_shown = problem

    def _complete(self, request: _Request, wanted: bool) -> PlanRequest:
        if request.epoch != self._planned_epoch:
            self._newest, self._planned_epoch = None, request.epoch
        now, action = request.observation, request.action
        past_actions = [a for _, a in request.past]
        observations = [*(o for o, _ in request.past), now]
        return PlanRequest(
            now.time + request.lead * self._period,
            now.time,
            request.epoch,
            np.stack([o.state for o in observations]),
            np.array([1e-9 * (now.time - o.stamp) for o in observations]),
            np.array(past_actions).reshape(-1, len(action)),
            np.stack([*now.in_flight, action, *self._coming(request)]),
            wanted,
            now.targets,
            now.limits,
        )

    def _coming(self, request: _Request) -> list[Array]:
        """What will be sent between the tick of the request and the plan's first, oldest first."""
        # The plan before this one may not have been there at that tick.
        plans = request.plans if self._newest is None else _joined(request.plans, self._newest)
        actions = []
        for i in range(1, request.lead):
            time = request.observation.time + i * self._period
            plan = self._plan_at(time, plans)
            if plan is None:
                actions.append(request.action)
            else:
                index = min(self._ticks(plan.time, time), len(plan.actions) - 1)
                actions.append(plan.actions[index])
        return actions


def _joined(plans: list[TimedPlan], newer: TimedPlan) -> list[TimedPlan]:
    return [p for p in plans if p.time < newer.time] + [newer]
