"""Slots on a clock that the test moves."""

import time

import pytest

from mbrl_node.control import Pacer, SteadyClock


class ManualClock:
    """Waiting takes `slip` ns longer than asked for."""

    def __init__(self):
        self.time, self.slip, self.ended = 1_000_003, 0, False

    def now(self):
        return self.time

    def wait_until(self, deadline):
        if self.ended:
            return None
        self.time = max(self.time, deadline) + self.slip
        return deadline


def test_slots_are_whole_multiples_of_the_period():
    clock = ManualClock()
    pacer = Pacer(100, clock)
    slots = [pacer.wait() for _ in range(4)]
    assert slots == [1_000_100, 1_000_200, 1_000_300, 1_000_400] and pacer.missed == 0


def test_a_late_tick_skips_slots_keeps_the_phase_and_never_bursts():
    clock = ManualClock()
    pacer = Pacer(100, clock)
    pacer.wait()
    clock.time += 250
    assert [pacer.wait(), pacer.wait()] == [1_000_400, 1_000_500] and pacer.missed == 2


def test_slots_that_are_always_reached_too_late_are_every_other_one():
    clock = ManualClock()
    pacer, slots = Pacer(100, clock), []
    for _ in range(4):
        slots.append(pacer.wait())
        clock.time += 130  # what a tick takes
    assert slots == [1_000_100, 1_000_300, 1_000_500, 1_000_700] and pacer.missed == 3


def test_a_tick_that_ends_in_its_slot_costs_nothing():
    clock = ManualClock()
    clock.slip = 30
    pacer, slots = Pacer(100, clock), []
    for _ in range(3):
        slots.append(pacer.wait())
        assert pacer.deadline == slots[-1] and clock.now() == slots[-1] + 30
        clock.time += 69
    assert slots == [1_000_100, 1_000_200, 1_000_300] and pacer.missed == 0


def test_a_clock_that_jumps_ahead_is_followed_and_the_slots_between_are_missed():
    clock = ManualClock()
    pacer = Pacer(100, clock)
    pacer.wait()
    clock.time += 100_000
    assert pacer.wait() == 1_100_200 and pacer.missed == 1000


def test_a_clock_that_is_set_back_is_followed():
    clock = ManualClock()
    pacer = Pacer(100, clock)
    pacer.wait()
    clock.time = 5
    assert pacer.wait() is None and pacer.wait() == 100 and pacer.missed == 0


def test_an_ended_wait_is_told_and_its_slot_is_not_lost():
    clock = ManualClock()
    pacer = Pacer(100, clock)
    clock.ended = True
    assert pacer.wait() is None
    clock.ended = False
    assert pacer.wait() == 1_000_100 and pacer.missed == 0


def test_the_steady_clock_never_wakes_before_the_deadline():
    clock = SteadyClock()
    for _ in range(5):
        deadline = time.monotonic_ns() + 2_000_000
        assert clock.wait_until(deadline) == deadline <= clock.now()


@pytest.mark.parametrize("late", [0, -(10**9)])
def test_a_deadline_that_has_passed_is_not_waited_for(late):
    deadline = time.monotonic_ns() + late
    assert SteadyClock().wait_until(deadline) == deadline
