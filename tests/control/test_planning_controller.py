"""Plans for the next tick, in time and late."""

import threading

import numpy as np
import pytest
import torch

from mbrl_node.control import Observation, PlanningController
from mbrl_node.planning import ActionSpace, Planner, PlanningError
from mbrl_node.planning.planner import PlannerConfig

DT = 0.1
PERIOD = 100_000_000


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


class Ramp(Planner):
    """Plans start, start + 1, … where start is the state that the plan begins in."""

    def __init__(self, horizon=4):
        self.shifts, self.resets, self.gate, self.error = [], 0, None, None
        self.proposals = None
        config = PlannerConfig(horizon=horizon * DT)
        space = ActionSpace(torch.tensor([-9.0]), torch.tensor([9.0]))
        super().__init__(config, space, DT)

    def plan(self, rollout, state, last_action=None, proposals=None):
        if self.gate:
            self.gate.wait(10)
        if self.error:
            raise self.error
        self.proposals = proposals
        return state[0] + torch.arange(float(self.horizon))[:, None]

    def shift(self, steps):
        self.shifts.append(steps)

    def reset(self):
        self.resets += 1
        super().reset()


def tick(controller, k, state, last=0.0, time=None):
    observation = Observation(k * PERIOD if time is None else time, 0, np.array([state]))
    action = controller.update(observation, np.array([last]))
    controller.commanded(observation, action)
    return float(action[0])


def make(**kwargs):
    planner = Ramp()
    controller = PlanningController("p", planner, DT, background=False, **kwargs)
    controller.activate()
    controller.set_model(Adder(), 5)
    return planner, controller


def test_the_plan_starts_where_the_state_will_be_at_the_next_tick():
    _, controller = make()
    assert tick(controller, 0, 10.0, last=2.0) == 2.0  # no plan yet: the last command goes on
    assert tick(controller, 1, 0.0) == 12.0  # planned from 10 + 2
    assert controller.model_version == 5


def test_a_late_plan_means_the_next_action_of_the_one_before():
    planner, controller = make()
    tick(controller, 0, 10.0)
    observation = Observation(3 * PERIOD, 0, np.array([0.0]))
    assert controller.update(observation, np.zeros(1)) == 12.0 and controller.late_plans == 1
    controller.commanded(observation, np.zeros(1))
    assert planner.shifts == [3]


def test_a_plan_that_has_run_out_is_an_error():
    _, controller = make()
    tick(controller, 0, 0.0)
    with pytest.raises(PlanningError, match="ended 2 ticks ago"):
        controller.update(Observation(6 * PERIOD, 0, np.zeros(1)), np.zeros(1))


def test_a_failing_planner_is_an_error_until_it_plans_again():
    planner, controller = make()
    planner.error = PlanningError("no")
    tick(controller, 0, 0.0)
    observation = Observation(PERIOD, 0, np.zeros(1))
    with pytest.raises(PlanningError, match="no"):
        controller.update(observation, np.zeros(1))
    planner.error = None
    controller.commanded(observation, np.zeros(1))
    assert tick(controller, 2, 0.0) == 0.0


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
    assert plans[1].time == 2 * PERIOD and plans[1].states[:, 0].tolist() == [
        2.0,
        4.0,
        7.0,
        11.0,
        16.0,
    ]


def test_a_slow_planner_does_not_hold_up_a_tick_and_a_plan_of_before_a_break_is_thrown_away():
    planner = Ramp()
    planner.gate = threading.Event()
    planned = threading.Event()
    controller = PlanningController("p", planner, DT, on_plan=lambda plan: planned.set())
    controller.activate()
    controller.set_model(Adder(), 1)
    assert tick(controller, 0, 7.0, last=3.0) == 3.0  # returned although the planner hangs
    controller.activate()
    planner.gate.set()
    assert tick(controller, 1, 1.0, last=3.0) == 3.0
    assert planned.wait(10)
    assert tick(controller, 2, 0.0) == 4.0
    controller.close()


def test_it_is_ready_once_it_has_a_model():
    controller = PlanningController("p", Ramp(), DT, background=False)
    assert "model" in controller.not_ready
    controller.set_model(Adder(), 1)
    assert controller.not_ready == ""
