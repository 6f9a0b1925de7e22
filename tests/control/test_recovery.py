"""The way back to where an episode can begin: by a controller, by an operator's hand, by both."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scripted import SECOND, Scripted

from mbrl_node.control import (
    ControllerManager,
    ControlLoop,
    Hold,
    Observation,
    PDController,
    StopError,
    Stops,
)
from mbrl_node.control.loop import GO, RELEASE, RESETTING, Phase
from mbrl_node.spec import load_spec

RECOVERY = {
    "controller": "back",
    "until": [{"of": "x", "min": -0.5, "max": 0.5}, {"of": "theta", "min": 3.0}],
    "hold_time": 0.2,
    "timeout": 2.0,
    "share": 0.5,
}
ENVELOPE = [{"of": "x", "min": -4, "max": 4, "soft_min": -3, "soft_max": 3}]
PLAIN = load_spec("cartpole").with_overrides(
    episode={"length": 2.0, "reset_service": None}, envelope=ENVELOPE, termination=[], goal=None
)
BACK = PLAIN.with_overrides(episode={"recovery": RECOVERY})
HAND = PLAIN.with_overrides(episode={"reset_by_hand": True})
BOTH = BACK.with_overrides(episode={"reset_by_hand": True})
SERVICE = BACK.with_overrides(episode={"reset_service": "/reset"})
PERIOD = round(PLAIN.dt * SECOND)
HELD = round(RECOVERY["hold_time"] / PLAIN.dt)  # ticks
BEYOND = "x = 5 m is beyond its hard limit 4"


class Robot:
    """Drives a loop tick by tick."""

    def __init__(self, spec=BACK, *others):
        self.spec, self.stops, self.events = spec, Stops(), []
        self.a, self.back = Scripted("a", 1.0), Scripted("back", -9.0)
        controllers = [self.a, self.back, *others, Hold("hold", spec)]
        self.manager = ControllerManager(controllers, "hold", "hold", period=spec.dt)
        self.loop = ControlLoop(spec, self.manager, 1, self.stops)
        self.time, self.sent = 10 * PERIOD, []

    def tick(self, x=0.0, theta=math.pi, problem="", blind=False):
        self.time += PERIOD
        state = np.array([x, theta, 0.0, 0.0])
        observation = None if blind else Observation(self.time, self.time, state)
        tick = self.loop.tick(observation, problem, lambda a: self.sent.append(float(a[0])))
        self.events += [event.text for event in tick.events]
        return tick

    def ticks(self, count, **state):
        return [self.tick(**state) for _ in range(count)]

    def breach(self):
        """Leaves the envelope; the next tick is the recovery's first, if there is one."""
        self.tick()
        return self.tick(5.0)


# Recovery.


def test_beyond_a_hard_limit_a_controller_brings_the_robot_back_within_its_share():
    robot = Robot()
    assert not robot.breach().reset and robot.sent[-1] == 0.0
    assert robot.stops.reason == "" and robot.loop.phase is Phase.RECOVERY
    assert [t.action[0] for t in robot.ticks(5, x=5.0)] == [-2.5] * 5
    assert robot.loop.waits_for == "its recovery by 'back'" and robot.loop.acting == "back"
    assert robot.loop.safe_reason == ""
    assert [t.action[0] for t in robot.ticks(HELD, x=0.3)] == [-2.5] * HELD
    assert robot.tick(0.3).action == 1.0 and robot.loop.phase is Phase.EPISODE
    assert robot.loop.waits_for == "" and robot.loop.acting == "a"
    assert robot.back.calls[0] == "activate" and robot.back.calls[-1] == "deactivate"
    assert robot.back.sent == [-2.5] * (5 + HELD)
    assert robot.events == [
        f"episode 1 left its envelope ({BEYOND}) after 0.0 s, return 0.0; "
        "the robot waits for its recovery by 'back'",
        "the robot is back, and begins episode 2",
    ]


def test_after_each_episode_it_comes_back_too_and_the_next_begins_there():
    robot = Robot()
    last = robot.ticks(51)[-1]
    assert last.transition.truncated and robot.loop.phase is Phase.RECOVERY
    robot.ticks(HELD + 1)
    assert robot.sent[51:] == [-2.5] * HELD + [1.0]
    t = robot.tick().transition
    assert (t.episode, t.step) == (2, 0)


def test_all_ranges_must_hold_without_a_break():
    robot = Robot()
    robot.breach()
    robot.ticks(HELD, x=0.3)
    robot.tick(0.3, theta=2.9)
    assert [t.action[0] for t in robot.ticks(HELD + 1, x=0.3)] == [-2.5] * HELD + [1.0]


def test_an_angle_is_wrapped():
    robot = Robot()
    robot.breach()
    assert [t.action[0] for t in robot.ticks(HELD + 1, theta=math.pi - 4 * math.pi)][-1] == 1.0


def test_nothing_is_learned_from_and_nothing_counts_as_an_episode_meanwhile():
    robot = Robot()
    before = robot.loop.transitions
    robot.breach()
    ticks = robot.ticks(20, x=5.0) + robot.ticks(HELD + 1)
    assert all(t.transition is None for t in ticks) and robot.loop.transitions == before
    assert robot.loop.episode == 2 and robot.loop.episode_time == 0.0
    assert robot.tick().transition is not None


def test_a_robot_that_does_not_come_back_in_time_is_stopped_for_an_operator():
    robot = Robot()
    robot.breach()
    robot.ticks(52, x=2.0)
    assert robot.sent[2:] == [-2.5] * 51 + [0.0]
    reason = "the recovery failed: it took 2 s: x = 2 m is above 0.5"
    assert robot.stops.reason == robot.loop.safe_reason == reason
    assert robot.loop.waits_for == RELEASE and robot.loop.acting == "hold"
    robot.ticks(50)
    assert robot.sent[-50:] == [0.0] * 50
    robot.stops.release()
    assert robot.tick(2.0).action == -2.5  # another attempt
    robot.ticks(HELD + 1)
    assert robot.loop.phase is Phase.EPISODE


def test_while_it_is_beyond_a_hard_limit_it_is_not_back_nor_released():
    until = [{"of": "theta", "min": 3.0}]
    robot = Robot(BACK.with_overrides(episode={"recovery": {"until": until}}))
    robot.breach()
    robot.ticks(52, x=5.0)
    assert robot.stops.reason == f"the recovery failed: it took 2 s: {BEYOND}"
    with pytest.raises(StopError, match=r"x = 5 m is beyond its hard limit 4"):
        robot.stops.release()
    robot.tick(0.0)
    robot.stops.release()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (dict(error=ValueError("no luck")), "'back' failed: ValueError: no luck"),
        (dict(value=math.nan), r"'back' asks for [nan]"),
        (dict(value=[1.0, 2.0]), r"'back' asks for [1. 2.]"),
        (dict(value=None), r"'back' asks for nan"),
        (dict(activation_error=OSError("stuck")), "'back' failed: OSError: stuck"),
        (dict(commanded_error=KeyError("x")), "'back' failed: KeyError: 'x'"),
        (dict(waits="waits for a model"), "'back' waits for a model"),
    ],
)
def test_a_controller_that_fails_leaves_the_robot_stopped(change, reason):
    robot = Robot()
    robot.breach()
    for name, value in change.items():
        setattr(robot.back, name, value)
    robot.ticks(2, x=2.0)
    assert robot.stops.reason == f"the recovery failed: {reason}" and robot.sent[-1] == 0.0
    robot.tick(2.0)
    assert robot.sent[-1] == 0.0


def test_one_that_is_not_there_leaves_it_stopped():
    robot = Robot(BACK.with_overrides(episode={"recovery": {"controller": "gone"}}))
    robot.breach()
    robot.tick(2.0)
    assert robot.stops.reason == "the recovery failed: there is no controller 'gone'"


def test_a_state_that_is_lost_on_the_way_leaves_it_stopped():
    robot = Robot()
    robot.breach()
    robot.tick(2.0)
    robot.tick(blind=True, problem="the state is 0.30 s old")
    assert robot.stops.reason == "the recovery failed: the state is 0.30 s old"
    robot.ticks(3, x=2.0)
    assert robot.sent[-4:] == [0.0] * 4


def test_the_emergency_stop_and_the_deadman_switch_win():
    robot = Robot()
    robot.breach()
    robot.tick(2.0)
    robot.tick(2.0, problem="the deadman switch is not pressed")
    assert robot.sent[-2:] == [-2.5, 0.0] and robot.back.calls[-1] == "deactivate"
    robot.tick(2.0)
    robot.stops.latch("emergency stop")
    robot.ticks(100, x=2.0)
    assert robot.sent[-101:] == [-2.5] + [0.0] * 100
    assert robot.loop.safe_reason == "emergency stop"
    robot.stops.release()
    assert robot.tick(2.0).action == -2.5  # an attempt of its own, that has all its time


def test_an_end_of_control_is_no_failure_and_it_begins_again():
    robot = Robot()
    robot.breach()
    robot.tick(2.0)
    robot.loop.stop("control ends")
    robot.loop.restart()
    assert robot.stops.reason == "" and robot.tick(2.0).action == -2.5
    assert robot.back.activated == 2


def test_the_limits_of_the_command_hold_on_the_way():
    force = {"name": "force", "joint": "slider_to_cart", "min": -5, "max": 5, "safe": 0}
    robot = Robot(BACK.with_overrides(action={"fields": [force | {"unit": "N", "max_rate": 25.0}]}))
    robot.breach()
    assert [t.action[0] for t in robot.ticks(4, x=2.0)] == [-1.0, -2.0, -2.5, -2.5]


def test_pd_holds_the_reference_of_the_recovery_whatever_an_operator_told_it():
    pd = PDController("pd", PLAIN)
    pd.set_reference([3.0, 0.0, 0.0, 0.0])
    recovery = {"controller": "pd", "reference": {"x": 0.2}, "share": 1.0}
    robot = Robot(BACK.with_overrides(episode={"recovery": recovery}), pd)
    robot.breach()
    assert robot.tick(1.2).action == pytest.approx(-2.0)  # kp is 2
    pd.set_config(pd.Config(kp=(1.0,)))
    assert pd.update(Observation(0, 0, np.zeros(4)), np.zeros(1)) == pytest.approx(3.0)


def test_who_acts_is_not_asked_while_the_robot_recovers():
    robot = Robot()
    robot.breach()
    count = len(robot.a.calls)
    robot.ticks(10, x=2.0)
    assert robot.a.calls[count:] == [] and robot.a.calls[-1] == "deactivate"


def test_after_the_recovery_comes_the_reset_by_the_service():
    robot = Robot(SERVICE)
    robot.breach()
    assert not any(t.reset for t in robot.ticks(HELD, x=0.3))
    ticks = robot.ticks(5, x=0.3)
    assert [t.reset for t in ticks] == [True] + [False] * 4
    assert robot.loop.safe_reason == RESETTING and robot.sent[-5:] == [0.0] * 5
    assert robot.loop.waits_for == "its reset by /reset"
    robot.loop.begin_episode()
    robot.loop.begin_episode()
    assert robot.tick().action == 1.0


def test_an_answer_of_the_service_that_comes_late_does_not_end_a_recovery():
    robot = Robot(SERVICE)
    robot.breach()
    robot.loop.begin_episode()
    assert robot.loop.phase is Phase.RECOVERY and robot.tick(2.0).action == -2.5


# By hand.


def test_at_the_very_first_start_it_waits_for_an_operator():
    robot = Robot(HAND)
    with pytest.raises(StopError, match="nothing is commanded yet"):
        robot.loop.go()
    robot.ticks(1000)
    assert set(robot.sent) == {0.0} and robot.a.calls == []
    assert robot.loop.waits_for == GO == "an operator's go (~/go)"
    assert robot.loop.safe_reason == f"waits for {GO}"
    assert robot.loop.go() == "episode 1 begins"
    assert robot.tick().action == 1.0 and robot.loop.waits_for == robot.loop.safe_reason == ""
    assert robot.tick().transition.step == 0


def test_without_a_reset_by_hand_the_robot_begins_by_itself():
    assert Robot(BACK).tick().action == Robot(PLAIN).tick().action == 1.0


def test_after_each_episode_the_robot_is_held_until_the_next_go():
    robot = Robot(HAND)
    robot.tick()
    robot.loop.go()
    assert robot.ticks(51)[-1].transition.truncated
    assert robot.events[-1].endswith(f"; the robot waits for {GO}")
    ticks = robot.ticks(200)
    assert set(robot.sent[-200:]) == {0.0} and not any(t.reset for t in ticks)
    robot.loop.go()
    assert robot.tick().transition is None and robot.tick().transition.episode == 2


def test_a_go_that_nobody_waits_for_is_refused():
    robot = Robot(HAND)
    robot.tick()
    robot.loop.go()
    with pytest.raises(StopError, match=r"^the robot does not wait for a go$"):
        robot.loop.go()
    robot = Robot(BACK)
    robot.breach()
    with pytest.raises(StopError, match=r"wait for a go, but for its recovery by 'back'$"):
        robot.loop.go()


def test_a_go_is_refused_while_the_state_is_beyond_a_hard_limit():
    robot = Robot(HAND)
    robot.tick()
    robot.loop.go()
    robot.breach()
    assert robot.stops.reason == "" and robot.loop.phase is Phase.HAND
    robot.tick(5.0)
    with pytest.raises(StopError, match=f"^{BEYOND}$"):
        robot.loop.go()
    robot.tick(3.5)  # beyond a soft one, somebody will push back
    robot.loop.go()
    assert robot.tick(0.0).action == 1.0


@pytest.mark.parametrize("blind", [False, True])
def test_a_go_is_refused_while_the_robot_could_not_be_commanded(blind):
    robot = Robot(HAND)
    robot.tick(blind=blind, problem="the deadman switch is not pressed")
    with pytest.raises(StopError, match=r"^the deadman switch is not pressed$"):
        robot.loop.go()
    robot.stops.latch("emergency stop")
    robot.tick()
    assert robot.loop.waits_for == RELEASE
    with pytest.raises(StopError, match=r"^emergency stop$"):
        robot.loop.go()
    robot.stops.release()
    assert robot.tick().action == 0.0 and robot.loop.waits_for == GO
    robot.loop.go()
    assert robot.tick().action == 1.0


def test_the_safe_command_is_reached_by_a_ramp():
    force = {"name": "force", "joint": "slider_to_cart", "min": -5, "max": 5, "safe": -1}
    robot = Robot(HAND.with_overrides(action={"fields": [force | {"unit": "N", "max_rate": 25.0}]}))
    robot.ticks(3)
    robot.loop.go()
    robot.ticks(51)
    robot.ticks(4)
    assert robot.sent[-5:] == [1.0, 0.0, -1.0, -1.0, -1.0]


def test_after_the_recovery_an_operator_is_waited_for():
    robot = Robot(BOTH)
    assert robot.tick().action == 0.0 and robot.loop.waits_for == GO
    robot.loop.go()
    robot.breach()
    robot.ticks(HELD, x=0.3)
    assert robot.tick(0.3).action == 0.0 and robot.loop.waits_for == GO
    assert robot.events[-1] == f"the robot is back, and waits for {GO}"
    robot.loop.go()
    assert robot.tick(0.3).action == 1.0


# Neither.


def test_without_any_of_them_the_robot_goes_on_and_the_length_only_cuts_the_statistics():
    robot = Robot(PLAIN)
    ticks = robot.ticks(102)
    transitions = [t.transition for t in ticks[1:]]
    assert [t.sequence for t in transitions] == list(range(101))
    assert [t.truncated for t in transitions] == ([False] * 49 + [True]) * 2 + [False]
    assert (transitions[49].episode, transitions[50].episode, transitions[50].step) == (1, 2, 0)
    assert robot.a.activated == 1 and set(robot.sent) == {1.0} and len(robot.events) == 2
    for before, after in itertools.pairwise(transitions):
        assert before.next_stamp == after.stamp


def test_outside_of_its_ranges_a_continuing_task_ends_one_episode_not_one_at_each_tick():
    robot = Robot(PLAIN.with_overrides(termination=[{"of": "x", "min": -1, "max": 1}]))
    robot.ticks(2)
    ticks = robot.ticks(10, x=2.0)
    assert all(t.transition.terminated for t in ticks) and len(robot.events) == 1
    robot.ticks(2)
    robot.ticks(2, x=2.0)
    assert len(robot.events) == 2 and robot.loop.episode == 3
