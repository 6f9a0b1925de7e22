"""Plans for coming ticks, in time and late."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from mbrl_node.control import Observation, PlanningController
from mbrl_node.planning import MPPI, ActionSpace, MPPIConfig, Planner, PlanningError
from mbrl_node.planning.planner import PlannerConfig

DT = 0.1
PERIOD = 100_000_000
SPACE = ActionSpace(torch.tensor([-9.0]), torch.tensor([9.0]))


class Adder:
    """Stands where a rollout would: the model says that an action is added to the state."""

    device = torch.device("cpu")
    history = 1

    def model_state(self, states, actions):
        return states[-1]

    def step(self, state, action):
        return state + action

    def proposals(self, state, horizon):
        return state + torch.ones(2, horizon, 1)

    def trajectory(self, state, actions):
        states = torch.cat((state[None], state + actions.cumsum(0)))
        return states, float(actions.sum())

    def returns(self, state, actions):
        return -actions.square().sum((1, 2))


class Ramp(Planner):
    """Plans start, start + 1, … where start is the state that the plan begins in."""

    def __init__(self, horizon=4, scale=1.0):
        self.shifts, self.resets, self.error, self.scale = [], 0, None, scale
        self.proposals, self.starts = None, []
        super().__init__(PlannerConfig(horizon=horizon * DT), SPACE, DT)

    def plan(self, rollout, state, last_action=None, proposals=None):
        if self.error:
            raise self.error
        self.proposals = proposals
        self.starts.append(float(state[0]))
        return self.scale * state[0] + torch.arange(float(self.horizon))[:, None]

    def shift(self, steps):
        self.shifts.append(steps)

    def reset(self):
        self.resets += 1
        super().reset()


def observed(k, state, in_flight=()):
    """At tick k, which need not be whole."""
    return Observation(round(k * PERIOD), 0, np.array([state]), in_flight)


def tick(controller, k, state, last=0.0):
    observation = observed(k, state)
    action = controller.update(observation, np.array([last]))
    controller.commanded(observation, action)
    return float(action[0])


def make(**kwargs):
    planner = Ramp()
    controller = PlanningController("p", planner, DT, background=False, **kwargs)
    controller.activate()
    controller.set_model(Adder(), 5)
    return planner, controller


class Slow(Ramp):
    """Plans in the background, and is done when the test says so."""

    def __init__(self, horizon=20):
        super().__init__(horizon, scale=0.1)
        self.go, self.begun = threading.Semaphore(0), threading.Semaphore(0)

    def plan(self, rollout, state, last_action=None, proposals=None):
        self.begun.release()
        assert self.go.acquire(timeout=20)
        return super().plan(rollout, state, last_action, proposals)


class Background:
    """A controller with a slow planner, and a robot that moves as its model says.

    Args:
        delay: ticks from a command's being sent to its effect.
    """

    def __init__(self, delay=0, max_late=20):
        self.planner, self.plans, self._made = Slow(), [], threading.Semaphore(0)
        self.controller = PlanningController(
            "p", self.planner, DT, on_plan=self._on_plan, max_late=max_late
        )
        self.controller.activate()
        self.controller.set_model(Adder(), 1)
        self.k, self.states, self.sent = 0, [1.0], [0.0] * delay
        self._begun: int | None = None  # the tick at which the plan under way was begun
        self._serves = -1  # the tick that asked for it
        self._delay = delay
        self.leads: list[int] = []

    def _on_plan(self, plan):
        self.plans.append(plan)
        self._made.release()

    def run(self, ticks, planning):
        """So many ticks, with plans that take `planning` ticks each."""
        for _ in range(ticks):
            if self._begun is not None and self.k - self._begun >= planning:
                self.finish_plan()
            in_flight = tuple(np.array([a]) for a in self.sent[len(self.sent) - self._delay :])
            observation = observed(self.k, self.states[-1], in_flight)
            action = self.controller.update(observation, np.array([self.sent[-1:] or [0.0]])[0])
            self.controller.commanded(observation, action)
            self.sent.append(float(action[0]))
            self.states.append(self.states[-1] + self.sent[-1 - self._delay])
            self.leads.append(self.controller.lead)
            if self._begun is None:
                assert self.planner.begun.acquire(timeout=20)
                self._begun = self._serves = self.k
            self.k += 1

    def finish_plan(self):
        self.planner.go.release()
        assert self._made.acquire(timeout=20)
        self._begun = None
        if self._serves < self.k - 1:  # the next is begun at once, with what was asked for last
            assert self.planner.begun.acquire(timeout=20)
            self._begun, self._serves = self.k, self.k - 1

    def close(self):
        self.planner.go.release(10)
        self.controller.close()


@pytest.fixture
def background():
    made = []

    def make(**settings):
        made.append(Background(**settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


# In time.


def test_the_plan_starts_where_the_state_will_be_at_the_next_tick():
    _, controller = make()
    assert tick(controller, 0, 10.0, last=2.0) == 2.0  # no plan yet: the last command goes on
    assert tick(controller, 1, 0.0) == 12.0  # planned from 10 + 2
    assert controller.model_version == 5


def test_a_plan_starts_after_the_commands_that_are_under_way():
    planner, controller = make()
    in_flight = (np.array([3.0]), np.array([4.0]))
    observation = observed(0, 10.0, in_flight)
    controller.commanded(observation, np.array([5.0]))
    assert planner.starts == [10.0 + 3.0 + 4.0 + 5.0]


def test_a_model_with_a_memory_is_given_the_states_and_the_commands_that_were_in_effect():
    given = []

    class Remembers(Adder):
        history = 3

        def model_state(self, states, actions):
            given.append((states[:, 0].tolist(), actions[:, 0].tolist()))
            return states[-1]

    _, controller = make()
    controller.set_model(Remembers(), 6)
    for k in range(4):
        controller.commanded(observed(k, 10.0 + k, (np.array([k - 1.0]),)), np.array([float(k)]))
    assert given[-1] == ([11.0, 12.0, 13.0], [0.0, 1.0])
    controller.activate()
    controller.commanded(observed(4, 14.0), np.array([4.0]))
    assert given[-1] == ([14.0], [])


@pytest.mark.parametrize("jitter", [-0.3, 0.3])
def test_a_plan_is_used_at_its_tick_although_that_comes_a_little_early_or_late(jitter):
    _, controller = make()
    tick(controller, 0, 10.0)
    assert tick(controller, 1 + jitter, 20.0) == 10.0
    assert tick(controller, 2, 30.0) == 20.0 + 10.0 and controller.late_plans == 0


def test_the_planner_is_offered_what_the_model_proposes_from_there():
    planner, controller = make()
    tick(controller, 0, 10.0, last=2.0)
    assert torch.equal(planner.proposals, torch.full((2, 4, 1), 13.0))


def test_activation_forgets_the_plan_and_resets_the_planner():
    planner, controller = make()
    for k in range(3):
        tick(controller, k, 1.0)
    resets = planner.resets
    controller.activate()
    assert tick(controller, 3, 5.0, last=-1.0) == -1.0 and planner.resets == resets + 1
    assert tick(controller, 4, 0.0) == 4.0


def test_plans_are_shown_with_their_states_only_when_wanted():
    plans = []
    _, controller = make(on_plan=plans.append, wants_states=lambda: len(plans) > 0)
    tick(controller, 0, 1.0)
    tick(controller, 1, 1.0)
    assert plans[0].states is None
    assert plans[1].time == 2 * PERIOD and plans[1].asked == PERIOD
    assert plans[1].states[:, 0].tolist() == [2.0, 4.0, 7.0, 11.0, 16.0]


def test_who_looks_at_plans_and_fails_does_not_stop_planning(caplog):
    def look(plan):
        raise OSError("no screen")

    _, controller = make(on_plan=look)
    assert [tick(controller, k, 1.0) for k in range(3)] == [0.0, 1.0, 2.0]
    assert caplog.messages == ["'p': a plan is not shown: OSError: no screen"]  # once


def test_it_is_ready_once_it_has_a_model():
    controller = PlanningController("p", Ramp(), DT, background=False)
    assert "model" in controller.not_ready
    controller.commanded(observed(0, 0.0), np.zeros(1))  # asks nobody
    controller.set_model(Adder(), 1)
    assert controller.not_ready == ""


# Late.


def test_a_late_plan_means_the_next_action_of_the_one_before():
    _, controller = make()
    tick(controller, 0, 10.0)
    assert tick(controller, 1, 0.0) == 10.0
    for k in (2, 3, 4):  # nobody asks for another
        if k > 2:
            action = controller.update(observed(k, 0.0), np.zeros(1))
            assert action == 10.0 + k - 2
        else:
            assert controller.update(observed(k, 0.0), np.zeros(1)) == 10.0
    assert controller.late_plans == 2


def test_a_plan_moves_the_last_one_on_by_the_time_that_has_passed():
    planner, controller = make()
    for k in range(12):
        tick(controller, k, 0.0)
    tick(controller, 14, 0.0)
    assert planner.shifts == [1] * 11 + [3]


@pytest.mark.parametrize(("max_late", "ticks"), [(2, 2), (3, 3), (9, 4)])
def test_plans_that_are_late_for_too_long_or_have_run_out_are_an_error(max_late, ticks):
    _, controller = make(max_late=max_late)
    tick(controller, 0, 10.0)
    for late in range(ticks):
        assert controller.update(observed(1 + late, 0.0), np.zeros(1)) == 10.0 + late
    words = rf"no plan in time for {ticks} ticks; the last took .* ms \(control period 100 ms\)"
    with pytest.raises(PlanningError, match=words):
        controller.update(observed(1 + ticks, 0.0), np.zeros(1))


def test_how_late_plans_may_be_can_be_changed():
    _, controller = make(max_late=1)
    controller.max_late = 3
    tick(controller, 0, 10.0)
    assert controller.update(observed(3, 0.0), np.zeros(1)) == 12.0


def test_a_first_plan_that_does_not_come_is_an_error_after_a_while(background):
    robot = background(max_late=3)
    robot.run(4, planning=100)
    assert robot.sent == [0.0] * 4  # the command from before
    with pytest.raises(PlanningError, match="no plan came within 4 ticks"):
        robot.run(1, planning=100)


def test_a_failing_planner_is_an_error_until_it_plans_again():
    planner, controller = make()
    planner.error = PlanningError("no")
    tick(controller, 0, 0.0)
    with pytest.raises(PlanningError, match="no"):
        controller.update(observed(1, 0.0), np.zeros(1))
    planner.error = None
    controller.commanded(observed(1, 0.0), np.zeros(1))
    assert tick(controller, 2, 0.0) == 0.0


def test_activation_forgets_a_failure():
    planner, controller = make()
    planner.error = RuntimeError("no")
    tick(controller, 0, 0.0)
    controller.activate()
    assert controller.update(observed(1, 0.0), np.array([3.0])) == 3.0


# Plans that take several ticks.


def test_planning_that_takes_several_ticks_is_begun_as_many_ticks_ahead(background):
    robot = background()
    robot.run(60, planning=3)
    assert robot.leads[0] == 1 and set(robot.leads[30:]) == {4}  # asked for a tick before it begins
    robot.run(80, planning=1)
    assert set(robot.leads[-10:]) == {2}


def test_the_lead_is_half_the_horizon_at_most():
    planner, controller = Ramp(horizon=8), None
    controller = PlanningController("p", planner, DT, background=False, max_late=100)
    controller.activate()
    controller.set_model(Adder(), 1)
    controller.commanded(observed(0, 0.0), np.zeros(1))
    controller.update(observed(7, 0.0), np.zeros(1))
    assert controller.lead == 4


def test_one_slow_plan_in_ten_does_not_change_the_lead_but_two_do():
    _, controller = make(max_late=100)
    for k in range(13):
        tick(controller, k, 0.0)
    for k, lead in ((14, 1), (16, 2)):
        tick(controller, k, 0.0)
        assert controller.lead == lead


@pytest.mark.parametrize("delay", [0, 2])
@pytest.mark.parametrize("planning", [1, 2, 4])
def test_plans_start_from_the_state_that_there_will_be_with_the_actions_until_then(
    background, planning, delay
):
    robot = background(delay=delay)
    robot.run(70, planning)
    starts = dict(zip([p.time // PERIOD for p in robot.plans], robot.planner.starts, strict=False))
    checked = 0
    for k, start in starts.items():
        if k >= 40 and k + delay < len(robot.states):  # from when the lead is right
            assert start == pytest.approx(robot.states[k + delay], rel=1e-4)
            checked += 1
    assert checked >= 20 // planning


def test_once_the_lead_is_right_no_action_is_older_than_a_plan_takes(background):
    robot = background()
    robot.run(50, planning=3)
    before = robot.controller.late_plans
    robot.run(30, planning=3)
    # Each plan serves three ticks: at one of them it is new, at two the next is not there yet.
    assert robot.controller.late_plans - before == 20


def test_a_plan_for_later_does_not_act_early():
    _, controller = make()
    controller._delays.extend([2] * 20)  # plans have taken two ticks
    assert controller.lead == 2
    values = [tick(controller, k, 10.0, last=-1.0) for k in range(4)]
    # The first plan is there at tick 1, but is for tick 2, when the last command has acted twice.
    assert values == [-1.0, -1.0, 8.0, 10.0 - 1.0 + 8.0]


def test_among_plans_the_newest_that_holds_acts_and_older_ones_for_later_are_dropped():
    _, controller = make()
    tick(controller, 0, 10.0)
    controller._delays.extend([3] * 20)  # plans have taken three ticks
    assert controller.lead == 2
    assert tick(controller, 1, 20.0) == 10.0  # asks for tick 3: 20 + 10 + 11
    controller._delays.extend([1] * 20)
    assert tick(controller, 2, 30.0) == 11.0  # asks for tick 3, too, of newer news: 30 + 11
    assert tick(controller, 3, 0.0) == 41.0
    controller._delays.extend([3] * 20)
    assert tick(controller, 4, 0.0) == 41.0  # asked at tick 3 for tick 4; asks for tick 6
    controller._delays.extend([1] * 20)
    observation = observed(5, 50.0)
    assert controller.update(observation, np.zeros(1)) == 42.0  # that for tick 6 is there
    controller.commanded(observation, np.zeros(1))
    assert [p.asked // PERIOD for p in controller._plans] == [3, 4]
    assert controller.update(observed(6, 0.0), np.zeros(1)) == 50.0  # asked for at tick 5


def test_a_slow_planner_does_not_hold_up_a_tick_and_a_plan_of_before_a_break_is_thrown_away():
    planner, planned = Slow(horizon=4), threading.Event()
    planner.scale = 1.0
    controller = PlanningController("p", planner, DT, on_plan=lambda plan: planned.set())
    controller.activate()
    controller.set_model(Adder(), 1)
    assert tick(controller, 0, 7.0, last=3.0) == 3.0  # returned although the planner hangs
    assert planner.begun.acquire(timeout=20)
    controller.activate()
    planner.go.release(2)
    assert tick(controller, 1, 1.0, last=3.0) == 3.0
    assert planned.wait(20)
    assert tick(controller, 2, 0.0) == 4.0
    controller.close()


def test_closing_ends_the_planning_thread():
    controller = PlanningController("p", Ramp(), DT)
    names = {t.name for t in threading.enumerate()}
    assert "plan-p" in names
    controller.close()
    assert "plan-p" not in {t.name for t in threading.enumerate()}


def test_closing_does_not_wait_for_ever_for_a_planner_that_hangs(monkeypatch):
    monkeypatch.setattr("mbrl_node.control.planning_controller.LAST_WAIT", 0.05)
    planner, plans = Slow(), []
    controller = PlanningController("p", planner, DT, on_plan=plans.append)
    controller.activate()
    controller.set_model(Adder(), 1)
    tick(controller, 0, 0.0)
    assert planner.begun.acquire(timeout=20)
    thread = next(t for t in threading.enumerate() if t.name == "plan-p")
    controller.close()
    planner.go.release()
    thread.join(20)
    assert not thread.is_alive() and plans == []  # nobody looks any more


# Another planner.


def mppi(**settings):
    return MPPI(MPPIConfig(horizon=1.0, samples=20, **settings), SPACE, DT)


def test_another_planner_plans_from_the_next_tick_on():
    _, controller = make()
    tick(controller, 0, 10.0)
    controller.set_planner(Ramp(scale=2.0))
    assert tick(controller, 1, 5.0) == 10.0
    assert tick(controller, 2, 0.0) == 2.0 * (5.0 + 10.0)


def test_another_planner_of_the_kind_goes_on_from_what_the_one_before_knew():
    old, new = mppi(), mppi(noise=0.1)
    controller = PlanningController("p", old, DT, background=False)
    controller.activate()
    controller.set_model(Adder(), 1)
    tick(controller, 0, 0.0)
    old._mean = torch.arange(10.0)[:, None]  # known at tick 1
    seen = []
    new.plan = lambda *_: seen.append(new._mean) or torch.zeros(10, 1)
    controller.set_planner(new)
    tick(controller, 1, 0.0)
    assert seen[0][:, 0].tolist() == [*range(1, 10), 0.0]  # moved on by one tick


def test_a_planner_with_another_horizon_starts_anew():
    old, new = mppi(), MPPI(MPPIConfig(horizon=0.5, samples=20), SPACE, DT)
    controller = PlanningController("p", old, DT, background=False)
    controller.activate()
    controller.set_model(Adder(), 1)
    tick(controller, 0, 0.0)
    controller.set_planner(new)
    tick(controller, 1, 0.0)
    assert old._mean.shape == (10, 1) and new._mean.shape == (5, 1)
    assert np.isfinite(tick(controller, 2, 0.0))


def test_a_plan_is_made_within_the_limits_that_count_when_it_is_asked_for():
    planner, controller = make()
    searched = []
    for limits in (np.array([[-1.0], [2.0]]), np.zeros((2, 0))):
        controller.commanded(Observation(0, 0, np.zeros(1), limits=limits), np.zeros(1))
        searched.append((float(planner.space.low[0]), float(planner.space.high[0])))
    assert searched == [(-1.0, 2.0), (-9.0, 9.0)]
