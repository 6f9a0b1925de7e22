"""One tick after another, without clocks or threads."""

import math

import numpy as np
import pytest

from mbrl_node.control import (
    Controller,
    ControllerManager,
    ControlLoop,
    Hold,
    Observation,
    SwitchError,
)
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole").with_overrides(episode={"length": 2.0}, goal={"hold_time": 0.4})
PERIOD = round(SPEC.dt * 1e9)
DOWN, UP = np.array([0.0, math.pi, 0.0, 0.0]), np.zeros(4)


class Constant(Controller):
    """Asks for the same thing always; what it is can be changed, and it can be made to fail."""

    def __init__(self, name, value):
        super().__init__(name)
        self.broken = False
        self.value, self.ready, self.error, self.activated, self.sent = value, True, None, 0, []

    @property
    def not_ready(self):
        return "" if self.ready else "waits for the first model"

    def activate(self):
        self.activated += 1
        if self.broken:
            raise OSError("no such device")

    def update(self, observation, last_action):
        if self.error:
            raise self.error
        return None if self.value is None else np.atleast_1d(np.array(self.value, dtype=float))

    def commanded(self, observation, action):
        self.sent.append(float(action[0]))


class Robot:
    """Drives a loop tick by tick."""

    def __init__(self, spec=SPEC):
        self.a, self.b = Constant("a", 1.0), Constant("b", 2.0)
        self.manager = ControllerManager([self.a, self.b, Hold("hold", spec)], "b", "hold")
        self.loop, self.time = ControlLoop(spec, self.manager, session=9), 10 * PERIOD

    def tick(self, state=DOWN):
        self.time += PERIOD
        return self.loop.tick(Observation(self.time, self.time, np.array(state)))


def test_transitions_join_consecutive_ticks_without_gaps():
    robot = Robot()
    ticks = [robot.tick([0.1 * k, math.pi, 0, 0]) for k in range(5)]
    assert ticks[0].transition is None
    for k, tick in enumerate(ticks[1:]):
        t = tick.transition
        assert (t.session, t.sequence, t.step, t.episode) == (9, k, k, 1)
        assert t.next_stamp - t.stamp == PERIOD
        assert t.state[0] == pytest.approx(0.1 * k) and t.next_state[0] == pytest.approx(
            0.1 * k + 0.1
        )
        assert t.action == 1.0 and t.controller == "a"


def test_what_was_sent_is_logged_beside_what_was_asked_for():
    robot = Robot()
    robot.a.value = 99.0
    assert robot.tick().action == 5.0
    t = robot.tick().transition
    assert t.action == 5.0 and t.action_requested == 99.0 and robot.a.sent == [5.0, 5.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, [1.0, 2.0], [], None])
def test_an_action_that_cannot_be_sent_becomes_the_safe_command(bad):
    robot = Robot()
    robot.tick()
    robot.a.value = bad
    assert robot.tick().action == 0.0 and robot.loop.safe_reason.startswith("a: ")
    robot.a.value = 3.0
    assert robot.tick().action == 3.0 and robot.loop.safe_reason == ""


def test_a_controller_that_raises_is_contained_in_the_same_tick_and_comes_back():
    robot = Robot()
    robot.tick()
    robot.a.error = ValueError("no luck")
    assert robot.tick().action == 0.0
    assert robot.loop.safe_reason == "a: ValueError: no luck"
    robot.a.error = None
    assert robot.tick().action == 1.0


def test_without_a_usable_state_the_command_is_safe_and_no_transition_bridges_the_gap():
    robot = Robot()
    robot.tick()
    tick = robot.loop.tick(None, "the state is 0.30 s old")
    assert tick.action == 0.0 and robot.loop.safe_reason == "the state is 0.30 s old"
    assert robot.tick().transition is None and robot.tick().transition is not None


def test_the_episode_is_cut_off_at_its_length_and_the_robot_reset():
    robot = Robot()
    ticks = [robot.tick() for _ in range(51)]
    assert [t.reset for t in ticks] == [False] * 50 + [True]
    last = ticks[-1].transition
    assert last.truncated and not last.terminated and last.step == 49
    assert (
        ticks[-1].action == 0.0 and robot.tick().action == 0.0 and robot.tick().transition is None
    )
    robot.loop.begin_episode()
    assert robot.tick().action == 1.0
    t = robot.tick().transition
    assert (t.episode, t.step, t.sequence) == (2, 0, 50)


def test_a_state_out_of_its_range_terminates_the_episode():
    robot = Robot()
    robot.tick()
    tick = robot.tick([5.5, 0, 0, 0])
    assert tick.transition.terminated and tick.reset and robot.loop.episode == 2
    assert math.isfinite(robot.loop.last_return)


def test_a_task_without_a_reset_goes_on_in_the_next_episode():
    robot = Robot(SPEC.with_overrides(episode={"reset_service": None}))
    ticks = [robot.tick() for _ in range(53)]
    assert not any(t.reset for t in ticks) and all(t.action == 1.0 for t in ticks)
    assert robot.loop.episode == 2


def test_the_task_is_solved_when_the_goal_held_without_a_break():
    robot = Robot()
    for _ in range(3):
        robot.tick(DOWN)
    for _ in range(8):
        robot.tick(UP)
    robot.tick(DOWN)
    assert math.isnan(robot.loop.solved_at) and robot.loop.held_time == 0.0
    ticks = [robot.tick(UP) for _ in range(11)]
    assert robot.loop.solved_at == pytest.approx(12 * SPEC.dt)
    assert any("SOLVED" in e for t in ticks for e in t.events)


def test_a_clock_that_is_set_back_starts_afresh():
    robot = Robot()
    for _ in range(5):
        robot.tick()
    for time in (13 * PERIOD, 0):  # after the first tick of before, and before it
        robot.time = time
        assert robot.tick().transition is None and robot.loop.robot_time == 0.0
        assert robot.tick().transition is not None


def test_a_switch_takes_effect_at_the_next_tick():
    robot = Robot()
    assert robot.tick().action == 1.0
    assert robot.manager.switch(["b"], [], strict=True) == "switched from 'a' to 'b'"
    assert robot.tick().action == 2.0 and robot.b.activated == 1
    robot.manager.switch([], ["b"], strict=True)
    assert robot.tick().action == 0.0


def test_a_failed_controller_switch_puts_the_previous_controller_back():
    robot = Robot()
    robot.tick()
    robot.b.broken = True
    robot.manager.switch(["b"], [], strict=True)
    assert robot.tick().action == 1.0 and robot.manager.active is robot.a
    robot.b.broken = False
    robot.manager.switch(["b"], [], strict=True)
    assert robot.tick().action == 2.0


def test_a_first_controller_that_cannot_be_activated_is_tried_again_at_each_tick():
    robot = Robot()
    robot.a.broken = True
    assert robot.tick().action == 0.0 and "no such device" in robot.loop.safe_reason
    robot.a.broken = False
    assert robot.tick().action == 1.0


@pytest.mark.parametrize(
    ("activate", "deactivate", "words"),
    [
        (["zzz"], [], "no controller 'zzz'; there are a, b, hold"),
        (["a", "b"], [], "one controller"),
        (["b"], ["hold"], "'hold' is not active; 'a' is"),
    ],
)
def test_a_strict_switch_that_does_not_fit_changes_nothing(activate, deactivate, words):
    robot = Robot()
    with pytest.raises(SwitchError, match=words):
        robot.manager.switch(activate, deactivate, strict=True)
    assert robot.tick().action == 1.0


def test_a_lenient_switch_ignores_what_does_not_fit():
    robot = Robot()
    robot.manager.switch(["b", "zzz"], ["hold", "yyy"], strict=False)
    assert robot.tick().action == 2.0


def test_the_standby_acts_until_the_active_controller_is_ready():
    robot = Robot()
    robot.a.ready = False
    assert robot.tick().action == 2.0 and robot.manager.active is robot.a
    robot.a.ready = True
    assert robot.tick().action == 1.0
