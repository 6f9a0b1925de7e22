"""One tick after another, without clocks or threads."""

import math

import numpy as np
import pytest
from scripted import SECOND, Scripted

from mbrl_node.control import (
    ControllerManager,
    ControlLoop,
    FallbackConfig,
    Hold,
    Observation,
    StopError,
    Stops,
)
from mbrl_node.control.loop import BREAK, LONGEST_AGE, RESETTING
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole").with_overrides(episode={"length": 2.0}, goal={"hold_time": 0.4})
NO_RESET = SPEC.with_overrides(episode={"reset_service": None})
ENVELOPE = {"of": "x", "min": -5.5, "max": 5.5, "soft_min": -4.0, "soft_max": 4.0}
FORCE = {"name": "force", "joint": "slider_to_cart", "min": -5, "max": 5, "safe": 0, "unit": "N"}
PERIOD = round(SPEC.dt * SECOND)
DOWN, UP = np.array([0.0, math.pi, 0.0, 0.0]), np.zeros(4)


def at(x):
    """The state with the cart there."""
    return [x, math.pi, 0.0, 0.0]


def with_force(spec, **limits):
    """The robot with other limits of its command."""
    return spec.with_overrides(action={"fields": [FORCE | limits]})


class Robot:
    """Drives a loop tick by tick."""

    def __init__(self, spec=SPEC, dry_run=False):
        self.spec, self.stops = spec, Stops()
        self.a, self.b = Scripted("a", 1.0), Scripted("b", 2.0)
        controllers = [self.a, self.b, Hold("hold", spec)]
        fallback = FallbackConfig(chain=("b", "hold"))
        self.manager = ControllerManager(controllers, "b", "hold", fallback, spec.dt)
        self.loop = ControlLoop(spec, self.manager, 9, self.stops, dry_run)
        self.time, self.sent = 10 * PERIOD, []

    def tick(self, state=DOWN, age=0.0, after=SPEC.dt, problem=""):
        self.time += round(after * SECOND)
        stamp = self.time - round(age * SECOND)
        observation = Observation(self.time, stamp, np.array(state))
        return self.loop.tick(observation, problem, lambda a: self.sent.append(float(a[0])))

    def blind_tick(self, problem):
        self.time += PERIOD
        return self.loop.tick(None, problem, lambda a: self.sent.append(float(a[0])))


# Transitions.


def test_transitions_join_consecutive_ticks_without_gaps():
    robot = Robot()
    ticks = [robot.tick(at(0.1 * k)) for k in range(5)]
    assert ticks[0].transition is None
    for k, tick in enumerate(ticks[1:]):
        t = tick.transition
        assert (t.session, t.sequence, t.step, t.episode) == (9, k, k, 1)
        assert t.next_stamp - t.stamp == PERIOD
        assert t.state[0] == pytest.approx(0.1 * k) and t.next_state[0] == pytest.approx(
            0.1 * k + 0.1
        )
        assert t.action == 1.0 and t.controller == "a"


def test_the_command_is_sent_once_a_tick_and_before_the_bookkeeping():
    robot, order = Robot(), []
    robot.tick()
    robot.a.commanded = lambda observation, action: order.append("told")
    robot.time += PERIOD
    observation = Observation(robot.time, robot.time, DOWN)
    tick = robot.loop.tick(observation, "", lambda action: order.append("sent"))
    assert order == ["sent", "told"] and tick.transition is not None


def test_what_was_sent_is_logged_beside_what_was_asked_for():
    robot = Robot()
    robot.a.value = 99.0
    assert robot.tick().action == 5.0
    t = robot.tick().transition
    assert t.action == 5.0 and t.action_requested == 99.0 and robot.a.sent == [5.0, 5.0]


def test_who_acted_is_logged_not_who_was_to_act():
    robot = Robot()
    robot.a.error, robot.b.model_version = ValueError("no luck"), 7
    robot.tick()
    t = robot.tick().transition
    assert (t.controller, t.model_version, t.action) == ("b", 7, 2.0)


def test_a_dry_run_decides_as_ever_but_makes_no_transitions_and_ends_no_episodes():
    robot = Robot(dry_run=True)
    ticks = [robot.tick() for _ in range(100)]
    assert all(t.action == 1.0 and t.transition is None and not t.reset for t in ticks)
    assert robot.loop.transitions == 0 and robot.loop.episode == 1


# Commands under way.


def test_commands_that_the_state_does_not_show_yet_are_said_to_be_in_flight():
    robot = Robot(SPEC.with_overrides(action={"delay": 2 * SPEC.dt}))
    for value in (1.0, 2.0, 3.0, 4.0):
        robot.a.value = value
        robot.tick()
    in_flight = [[float(a[0]) for a in o.in_flight] for o in robot.a.observations]
    assert in_flight == [[0.0, 0.0], [0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]


def test_a_transition_has_the_command_that_was_in_effect_not_the_one_sent_then():
    robot = Robot(SPEC.with_overrides(action={"delay": 2 * SPEC.dt}))
    actions = []
    for value in (1.0, 2.0, 3.0, 4.0, 5.0):
        robot.a.value = value
        if (t := robot.tick().transition) is not None:
            actions.append(float(t.action[0]))
            assert t.action_requested == value - 1.0
    assert actions == [0.0, 0.0, 1.0, 2.0]


@pytest.mark.parametrize(("age", "lag"), [(0.0, 0), (0.4, 0), (0.6, 1), (2.2, 2)])
def test_an_old_measurement_does_not_show_the_commands_since(age, lag):
    robot = Robot()
    for value in (1.0, 2.0, 3.0):
        robot.a.value = value
        robot.tick()
    robot.tick(age=age * SPEC.dt)
    assert [float(a[0]) for a in robot.a.observations[-1].in_flight] == [2.0, 3.0][2 - lag :]


def test_a_measurement_from_the_future_or_from_long_ago_is_no_trouble():
    robot = Robot()
    robot.tick(age=-5.0)
    robot.tick(age=1000.0)
    assert robot.a.observations[0].in_flight == ()
    assert len(robot.a.observations[1].in_flight) == LONGEST_AGE


def test_after_a_restart_the_commands_under_way_are_the_safe_one():
    robot = Robot(SPEC.with_overrides(action={"delay": 3 * SPEC.dt}))
    for _ in range(5):
        robot.tick()
    robot.loop.restart()
    robot.tick()
    assert [float(a[0]) for a in robot.a.observations[-1].in_flight] == [0.0] * 3


# What cannot be sent.


@pytest.mark.parametrize("bad", [math.nan, math.inf, [1.0, 2.0], [], None])
def test_an_action_that_cannot_be_sent_is_replaced_in_the_same_tick(bad):
    robot = Robot()
    robot.tick()
    robot.a.value = bad
    assert robot.tick().action == 2.0 and robot.manager.failure.startswith("ValueError: ")
    robot.a.value = 3.0
    assert robot.tick(after=0.2).action == 2.0
    for _ in range(5):
        tick = robot.tick(after=0.2)
    assert tick.action == 3.0 and robot.loop.safe_reason == ""


def test_when_nobody_but_the_safe_controller_can_act_the_reason_says_so():
    robot = Robot()
    robot.tick()
    robot.a.error, robot.b.error = ValueError("no luck"), ValueError("none either")
    assert robot.tick().action == 0.0 and robot.loop.safe_reason == "ValueError: no luck"
    robot.manager.switch(["hold"])
    assert robot.tick().action == 0.0 and robot.loop.safe_reason == ""


def test_a_switch_does_not_jump_but_keeps_within_the_rate_limit():
    robot = Robot(with_force(SPEC, max_rate=25.0))  # 1 N a tick
    robot.a.value, robot.b.value = 4.0, -4.0
    for _ in range(6):
        robot.tick()
    robot.manager.switch(["b"])
    for _ in range(10):
        robot.tick()
    assert robot.sent == [1, 2, 3, 4, 4, 4, *range(3, -5, -1), -4, -4]


# Without a state, and stops.


def test_without_a_usable_state_the_command_is_safe_and_no_transition_bridges_the_gap():
    robot = Robot()
    robot.tick()
    tick = robot.blind_tick("the state is 0.30 s old")
    assert tick.action == 0.0 and robot.loop.safe_reason == "the state is 0.30 s old"
    assert robot.tick().transition is None and robot.tick().transition is not None
    assert robot.a.activated == 2


def test_a_problem_in_spite_of_a_state_makes_the_command_safe_too():
    robot = Robot()
    robot.tick()
    assert robot.tick(problem="the deadman switch is not pressed").action == 0.0
    assert robot.loop.safe_reason == "the deadman switch is not pressed"
    assert robot.tick().transition is None and robot.loop.safe_reason == ""


@pytest.mark.parametrize("blind", [False, True])
def test_a_stop_is_a_ramp_to_the_safe_command(blind):
    spec = with_force(SPEC, max_rate=25.0, safe=-1.0)
    robot = Robot(spec)
    robot.a.value = 3.0
    for _ in range(6):
        robot.tick()
    robot.sent.clear()
    for _ in range(6):
        assert not robot.loop.safety.at_rest
        robot.blind_tick("no state") if blind else robot.tick(problem="no state")
        if robot.loop.safety.at_rest:
            break
    assert robot.sent == [2.0, 1.0, 0.0, -1.0]


def test_an_emergency_stop_lasts_until_it_is_released_and_then_all_starts_afresh():
    robot = Robot(with_force(SPEC, max_rate=25.0))
    robot.a.value = 2.0
    for _ in range(3):
        robot.tick()
    robot.stops.latch("emergency stop")
    robot.sent.clear()
    ticks = [robot.tick() for _ in range(20)]
    assert robot.sent == [1.0] + [0.0] * 19 and robot.loop.safe_reason == "emergency stop"
    assert all(t.transition is None for t in ticks) and robot.a.calls[-1] == "deactivate"
    robot.stops.release()
    assert robot.tick().action == 1.0 and robot.tick().action == 2.0
    assert robot.a.activated == 2


def test_controllers_are_not_asked_while_the_robot_is_stopped():
    robot = Robot()
    robot.stops.latch("emergency stop")
    robot.tick()
    assert robot.a.calls == []


def test_the_soft_envelope_lets_the_next_of_the_chain_push_back():
    robot = Robot(SPEC.with_overrides(envelope=[ENVELOPE]))
    assert robot.tick(at(3.9)).action == 1.0
    assert robot.tick(at(4.1)).action == 2.0
    assert robot.manager.failure == "x = 4.1 m is beyond its soft limit 4"
    assert robot.tick(at(3.9)).action == 2.0  # not back by 5 % of the range yet
    t = robot.tick(at(3.5))
    assert t.action == 1.0 and t.transition.controller == "b"  # one run, without a break


def test_the_hard_envelope_stops_the_robot_and_has_it_reset_once():
    robot = Robot(SPEC.with_overrides(envelope=[ENVELOPE], termination=[]))
    robot.tick(at(5.4))
    assert robot.tick(at(5.6)).reset and robot.loop.episode == 2
    ticks = [robot.tick(at(5.6)) for _ in range(5)]
    assert not any(t.reset for t in ticks) and robot.loop.episode == 2
    assert robot.sent[1:] == [0.0] * 6
    robot.loop.begin_episode()
    assert robot.tick().action == 1.0 and robot.loop.safe_reason == ""


def test_without_a_reset_the_hard_envelope_stops_until_an_operator_releases_it():
    robot = Robot(NO_RESET.with_overrides(envelope=[ENVELOPE], termination=[]))
    robot.tick(at(5.4))
    assert not robot.tick(at(5.6)).reset and robot.loop.episode == 1
    with pytest.raises(StopError, match=r"x = 5\.6 m is beyond its hard limit 5\.5"):
        robot.stops.release()
    assert robot.tick().action == 0.0
    assert robot.loop.safe_reason == "x = 5.6 m is beyond its hard limit 5.5"
    robot.stops.release()
    assert robot.tick().action == 1.0


def test_a_reset_does_not_release_what_an_operator_stopped():
    robot = Robot(SPEC.with_overrides(envelope=[ENVELOPE]))
    robot.tick()
    robot.stops.latch("emergency stop")
    assert not robot.tick(at(5.6)).reset  # stopped for another reason already
    robot.loop.begin_episode()
    assert robot.tick().action == 0.0 and robot.loop.safe_reason == "emergency stop"


# Breaks.


def test_after_a_break_what_was_planned_is_forgotten_and_no_transition_bridges_it():
    robot = Robot()
    robot.tick()
    assert robot.tick(after=BREAK - 0.01).transition is not None and robot.a.activated == 1
    assert robot.tick(after=BREAK + 0.01).transition is None and robot.a.activated == 2
    assert robot.tick().transition is not None


def test_for_a_slow_robot_a_break_is_longer():
    robot = Robot(SPEC.with_overrides(rate=2, sim=None))
    robot.tick()
    assert robot.tick(after=2.4).transition is not None
    assert robot.tick(after=2.6).transition is None


def test_after_a_break_the_last_command_is_the_one_in_effect():
    robot = Robot(SPEC.with_overrides(action={"delay": 2 * SPEC.dt}))
    for value in (1.0, 2.0, 3.0):
        robot.a.value = value
        robot.tick()
    robot.tick(after=1.0)
    assert [float(a[0]) for a in robot.a.observations[-1].in_flight] == [3.0, 3.0]


def test_a_restart_carries_no_old_command():
    robot = Robot(with_force(SPEC, max_rate=25.0))
    robot.a.value = 5.0
    for _ in range(5):
        robot.tick()
    robot.loop.restart()
    assert robot.loop.last_action == 0.0
    tick = robot.tick()
    assert tick.action == 1.0 and tick.transition is None and robot.a.activated == 2


def test_a_clock_that_is_set_back_starts_afresh():
    robot = Robot()
    for _ in range(5):
        robot.tick()
    for time in (13 * PERIOD, 0):  # after the first tick of before, and before it
        robot.time = time
        assert robot.tick().transition is None and robot.loop.robot_time == 0.0
        assert robot.tick().transition is not None


# Episodes and the goal.


def test_the_episode_is_cut_off_at_its_length_and_the_robot_reset():
    robot = Robot()
    ticks = [robot.tick() for _ in range(51)]
    assert [t.reset for t in ticks] == [False] * 50 + [True]
    last = ticks[-1].transition
    assert last.truncated and not last.terminated and last.step == 49
    assert robot.tick().action == 0.0 and robot.tick().transition is None
    assert robot.loop.safe_reason == RESETTING
    robot.loop.begin_episode()
    assert robot.tick().action == 1.0
    t = robot.tick().transition
    assert (t.episode, t.step, t.sequence) == (2, 0, 50)


def test_a_state_out_of_its_range_terminates_the_episode():
    robot = Robot()
    robot.tick()
    tick = robot.tick([5.2, 0, 0, 0])
    assert tick.transition.terminated and tick.reset and robot.loop.episode == 2
    assert math.isfinite(robot.loop.last_return)


def test_no_transition_leads_over_a_reset_that_is_done_before_the_next_tick():
    robot = Robot()
    robot.tick(at(4.9))
    assert robot.tick(at(5.1)).transition.terminated
    robot.loop.begin_episode()
    assert robot.tick(at(0.0)).transition is None
    assert robot.tick(at(0.1)).transition.step == 0


def test_a_task_without_a_reset_goes_on_in_the_next_episode():
    robot = Robot(NO_RESET)
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
    assert any("SOLVED" in e.text for t in ticks for e in t.events)


def test_a_stop_breaks_the_holding_of_the_goal():
    robot = Robot()
    for _ in range(8):
        robot.tick(UP)
    robot.tick(UP, problem="the deadman switch is not pressed")
    for _ in range(8):
        robot.tick(UP)
    assert math.isnan(robot.loop.solved_at)


def test_what_is_aimed_at_is_told_as_such_and_episodes_as_episodes():
    robot = Robot(load_spec("cartpole", task="move_to").with_overrides(episode={"length": 2.0}))
    robot.loop.goals.tell([0.5])
    events = [event for _ in range(51) for event in robot.tick([0.5, 0.0, 0.0, 0.0]).events]
    kinds = [(event.kind, event.text.split(" ")[0]) for event in events]
    assert kinds == [("target", "new"), ("target", "reached"), ("episode", "episode")]
    assert robot.loop.goals.targets.tolist() == [0.5]
