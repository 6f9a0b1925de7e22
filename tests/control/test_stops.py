"""Stops stay until they may be released; a deadman switch lets nothing through by itself."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mbrl_node.control.safety import Breach
from mbrl_node.control.stops import Deadman, StopError, Stops

OUTSIDE = Breach(True, "x = 5.62 m is beyond its hard limit 5.5")
FARTHER = Breach(True, "x = 5.9 m is beyond its hard limit 5.5")
NEAR = Breach(False, "x = 4.9 m is beyond its soft limit 4.8")
TOPIC = "emergency stop on its topic"


def test_nothing_is_stopped_at_first() -> None:
    stops = Stops()
    assert stops.reason == ""
    assert stops.release() == "the robot was not stopped"


def test_a_stop_stays_until_it_is_released() -> None:
    stops = Stops()
    stops.latch("operator")
    stops.watch(None)
    stops.release_envelope()
    assert stops.reason == "operator"
    assert stops.release() == "released: operator"
    assert stops.reason == ""


def test_the_first_reason_is_the_one_that_is_shown() -> None:
    stops = Stops()
    stops.latch("first")
    stops.latch("second")
    stops.watch(OUTSIDE)
    stops.on_topic(True)
    assert stops.reason == "first"


def test_a_topic_that_says_stop_latches_and_must_say_otherwise_before_the_release() -> None:
    stops = Stops()
    stops.on_topic(True)
    assert stops.reason == TOPIC
    with pytest.raises(StopError, match=f"the topic still demands it: {TOPIC}"):
        stops.release()
    stops.on_topic(False)
    assert stops.reason == TOPIC
    assert stops.release() == f"released: {TOPIC}"


def test_a_topic_that_says_no_stop_stops_and_releases_nothing() -> None:
    stops = Stops()
    stops.on_topic(False)
    assert stops.reason == ""
    stops.latch("operator")
    stops.on_topic(False)
    assert stops.reason == "operator"


def test_a_hard_breach_stops_until_the_state_is_back_and_it_is_released() -> None:
    stops = Stops()
    stops.watch(OUTSIDE)
    stops.watch(FARTHER)
    assert stops.reason == OUTSIDE.message
    with pytest.raises(StopError, match=r"^x = 5.9 m is beyond its hard limit 5.5$"):
        stops.release()
    stops.watch(None)
    assert stops.reason == OUTSIDE.message
    assert stops.release() == f"released: {OUTSIDE.message}"
    stops.watch(None)
    assert stops.reason == ""


def test_a_soft_breach_stops_nothing_and_holds_no_release_up() -> None:
    stops = Stops()
    stops.watch(NEAR)
    assert stops.reason == ""
    stops.latch("operator")
    stops.release()
    assert stops.reason == ""


def test_a_reset_of_the_robot_releases_a_breach_and_not_an_operators_stop() -> None:
    stops = Stops()
    stops.watch(OUTSIDE)
    stops.latch("operator")
    assert stops.reason == OUTSIDE.message
    stops.release_envelope()
    assert stops.reason == "operator"
    stops.watch(None)
    assert stops.release() == "released: operator"


def test_a_robot_that_is_still_outside_after_a_reset_is_stopped_again() -> None:
    stops = Stops()
    stops.watch(OUTSIDE)
    stops.release_envelope()
    assert stops.reason == ""
    stops.watch(FARTHER)
    assert stops.reason == FARTHER.message


def test_it_is_told_when_a_breach_stops_the_robot_and_not_again_while_it_does() -> None:
    stops = Stops()
    assert [stops.watch(b) for b in (NEAR, OUTSIDE, FARTHER, None)] == [False, True, False, False]
    stops.release()
    assert stops.watch(OUTSIDE)


def test_on_its_way_back_a_robot_is_not_stopped_for_being_outside_but_not_released_either() -> None:
    stops = Stops()
    assert not stops.watch(OUTSIDE, latches=False)
    assert stops.reason == ""
    stops.latch("operator")
    with pytest.raises(StopError, match=r"^x = 5.62 m is beyond its hard limit 5.5$"):
        stops.release()
    stops.watch(None, latches=False)
    assert stops.release() == "released: operator"


def test_what_the_control_thread_trips_stays_until_an_operator_releases_it() -> None:
    stops = Stops()
    assert stops.trip("the recovery failed")
    assert not stops.trip("it failed again")
    stops.watch(OUTSIDE, latches=False)
    assert stops.reason == "the recovery failed"
    stops.watch(None, latches=False)
    assert stops.release() == "released: the recovery failed"
    assert stops.reason == ""


class BreachDuringRelease(Stops):
    """Its control thread reports a breach of one tick in the middle of a release."""

    releasing = False

    @property
    def reason(self) -> str:
        reason = super().reason
        if self.releasing:
            self.releasing = False
            self.watch(OUTSIDE)
            self.watch(None)
        return reason


@pytest.mark.parametrize("before", [None, OUTSIDE])
def test_a_breach_during_a_release_is_not_released_with_it(before: Breach | None) -> None:
    stops = BreachDuringRelease()
    stops.watch(before)
    stops.watch(None)
    stops.releasing = True
    stops.release()
    assert not stops.releasing
    assert stops.reason == OUTSIDE.message


@pytest.fixture
def many_switches_of_thread() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_no_breach_is_lost_to_releases_at_the_same_time(many_switches_of_thread: None) -> None:
    stops, done = Stops(), threading.Event()

    def release_always() -> None:
        while not done.is_set():
            with contextlib.suppress(StopError):
                stops.release()

    thread = threading.Thread(target=release_always)
    thread.start()
    try:
        for _ in range(5000):
            stops.watch(OUTSIDE)
            assert stops.reason == OUTSIDE.message
            stops.watch(OUTSIDE)
            assert stops.reason == OUTSIDE.message
            stops.watch(None)
    finally:
        done.set()
        thread.join()


class AnyOrder(RuleBasedStateMachine):
    """Stops against a model of what they should say, in any order of events."""

    def __init__(self) -> None:
        super().__init__()
        self.stops, self.latched = Stops(), list[str]()  # reasons, oldest first
        self.topic, self.outside = False, False

    def expect(self, reason: str, of_envelope: bool = False) -> None:
        if of_envelope and OUTSIDE.message in self.latched:
            return
        if not of_envelope and any(r != OUTSIDE.message for r in self.latched):
            return
        self.latched.append(reason)

    @rule(reason=st.sampled_from(["service", "another"]))
    def an_operator_stops(self, reason: str) -> None:
        self.stops.latch(reason)
        self.expect(reason)

    @rule(stop=st.booleans())
    def the_topic_speaks(self, stop: bool) -> None:
        self.stops.on_topic(stop)
        self.topic = stop
        if stop:
            self.expect(TOPIC)

    @rule(breach=st.sampled_from([None, NEAR, OUTSIDE]))
    def a_tick_passes(self, breach: Breach | None) -> None:
        self.stops.watch(breach)
        self.outside = breach is OUTSIDE
        if self.outside:
            self.expect(OUTSIDE.message, of_envelope=True)

    @rule()
    def the_robot_is_reset(self) -> None:
        self.stops.release_envelope()
        self.latched = [reason for reason in self.latched if reason != OUTSIDE.message]

    @rule()
    def an_operator_releases(self) -> None:
        if self.topic or self.outside:
            with pytest.raises(StopError):
                self.stops.release()
        else:
            self.stops.release()
            self.latched = []

    @invariant()
    def the_oldest_reason_is_shown(self) -> None:
        assert self.stops.reason == (self.latched[0] if self.latched else "")


AnyOrder.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestAnyOrder = AnyOrder.TestCase


# The deadman switch.


@pytest.mark.parametrize("timeout", [0.0, -1.0, math.nan])
def test_a_timeout_that_makes_no_sense_lets_nothing_through(timeout: float) -> None:
    deadman = Deadman(timeout)
    deadman.pressed(True, 5.0)
    assert deadman.problem(5.0) != ""


def test_a_deadman_switch_must_be_pressed_first() -> None:
    deadman = Deadman(0.5)
    assert deadman.problem(0.0) == "the deadman switch has not been pressed yet"
    deadman.pressed(True, 1.0)
    assert deadman.problem(1.0) == ""


def test_a_deadman_switch_that_is_let_go_stops_at_once() -> None:
    deadman = Deadman(0.5)
    deadman.pressed(True, 1.0)
    deadman.pressed(False, 1.1)
    assert deadman.problem(1.1) == "the deadman switch is not pressed"
    deadman.pressed(True, 1.2)
    assert deadman.problem(1.2) == ""


def test_a_deadman_switch_that_falls_silent_counts_as_let_go() -> None:
    deadman = Deadman(0.5)
    deadman.pressed(True, 1.0)
    assert deadman.problem(1.49) == ""
    assert deadman.problem(1.5) == "the deadman switch has said nothing for 0.5 s"
    deadman.pressed(True, 3.0)
    assert deadman.problem(3.1) == ""


@pytest.mark.parametrize("now", [-10.0, 1e9, math.nan, math.inf])
def test_a_clock_that_jumps_holds_no_deadman_switch_down(now: float) -> None:
    deadman = Deadman(0.5)
    deadman.pressed(True, 1.0)
    assert deadman.problem(now) == "the deadman switch has said nothing for 0.5 s"


def test_a_message_that_comes_during_a_tick_counts() -> None:
    deadman = Deadman(0.5)
    deadman.pressed(True, 1.001)
    assert deadman.problem(1.0) == ""
