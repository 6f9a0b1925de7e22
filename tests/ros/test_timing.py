"""Figures of a second of ticks."""

import math
import threading

import numpy as np
import pytest

pytest.importorskip("mbrl_msgs.msg")

from mbrl_msgs.msg import ControllerStatus

from mbrl_node.control import TimedPlan
from mbrl_node.planning import Effort
from mbrl_node.ros.timing import KEPT, TickTimes

MS = 1_000_000
START = 2**50  # ns: a machine that has been up for 13 days


def tick(times: TickTimes, at: int, late: int = 0, received: int | None = None) -> None:
    """A tick of a slot at `at` ms that starts `late` ms later, sends 2 ms and ends 3 ms later."""
    slot = START + at * MS
    started = slot + late * MS
    state = None if received is None else START + received * MS
    times.add(slot, started, started + 2 * MS, started + 3 * MS, state, "mppi")


def plan(took: float, effort: Effort | None = None) -> TimedPlan:
    actions = np.zeros((1, 1))
    return TimedPlan(
        time=0, asked=0, actions=actions, model_version=1, plan_time=took, effort=effort
    )


def test_periods_are_from_the_first_instruction_of_a_tick_to_that_of_the_next():
    times = TickTimes()
    for at, late in ((0, 0), (10, 2), (20, 0)):  # 12 ms and 8 ms
        tick(times, at, late)
    second = times.take()
    assert second.period_mean == pytest.approx(0.010) and second.rate == pytest.approx(100.0)
    assert second.period_std == pytest.approx(0.002)
    assert second.period_min == pytest.approx(0.008)
    assert second.period_max == pytest.approx(0.012)


def test_lateness_latency_and_execution_are_from_where_they_say():
    times = TickTimes()
    for k in range(200):
        tick(times, 10 * k, late=1 if k < 190 else 4)
    second = times.take()
    assert len(second.slot) == 200
    assert second.lateness_max == second.lateness_p99 == pytest.approx(0.004)
    assert second.latency_median == pytest.approx(0.003)
    assert second.latency_max == pytest.approx(0.006)
    assert second.execution_mean == second.execution_max == pytest.approx(0.003)


def test_the_age_of_the_state_is_that_of_the_last_tick_when_it_sent():
    times = TickTimes()
    tick(times, 0, received=-5)
    tick(times, 10, received=9)
    assert times.take().state_age == pytest.approx(0.003)
    tick(times, 20)
    assert math.isnan(times.take().state_age)


def test_the_period_between_two_reports_belongs_to_the_later():
    times = TickTimes()
    tick(times, 0)
    assert math.isnan(times.take().period_mean)
    tick(times, 30)
    second = times.take()
    assert second.period_mean == pytest.approx(0.03) and second.period_std == 0.0
    assert len(second.slot) == 1


def test_without_a_tick_there_is_nothing_to_say():
    times = TickTimes()
    tick(times, 0)
    tick(times, 10)
    times.take()
    second = times.take()
    assert len(second.slot) == 0 and second.lateness_max == second.execution_max == 0.0
    assert all(math.isnan(x) for x in (second.rate, second.period_max, second.state_age))


def test_plans_count_by_their_median_and_the_newest_effort():
    times = TickTimes()
    for took, effort in ((0.001, Effort(50, 1)), (0.009, Effort(60, 2)), (0.002, None)):
        times.add_plan(plan(took, effort))
    second = times.take()
    assert second.plan_time == 0.002 and second.effort == Effort(60, 2)
    assert math.isnan(times.take().plan_time)


def test_what_nobody_takes_does_not_pile_up_and_leaves_no_false_period():
    times = TickTimes()
    tick(times, 0)
    times.take()
    for k in range(KEPT + 500):
        tick(times, 10 * (k + 1))
        times.add_plan(plan(0.001))
    second = times.take()
    assert len(second.slot) == KEPT
    assert second.period_max == pytest.approx(0.01)


def test_no_tick_is_lost_or_given_twice_while_another_thread_adds():
    times, count = TickTimes(), 3000
    slots: list[float] = []
    adder = threading.Thread(target=lambda: [tick(times, k) for k in range(count)])
    adder.start()
    while adder.is_alive():
        slots += times.take().slot.tolist()
    slots += times.take().slot.tolist()
    assert slots == [1e-9 * (START + k * MS) for k in range(count)]


def test_a_status_message_gets_the_figures():
    times, status = TickTimes(), ControllerStatus()
    tick(times, 0, received=-1)
    tick(times, 40, late=1, received=38)
    times.add_plan(plan(0.002, Effort(120, 1)))
    times.take().fill(status)
    assert status.rate == pytest.approx(1 / 0.041)
    assert status.period_mean == status.period_min == status.period_max == pytest.approx(0.041)
    assert (status.period_std, status.plan_time) == (0.0, 0.002)
    assert status.lateness_max == pytest.approx(0.001)
    assert status.execution_mean == status.execution_max == pytest.approx(0.003)
    assert status.state_age == pytest.approx(0.005)
    assert (status.plan_samples, status.plan_iterations) == (120, 1)


def test_the_timing_message_has_every_tick():
    times = TickTimes()
    tick(times, 0)
    tick(times, 10, late=1, received=8)
    msg = times.take().to_msg(stamp=3 * 10**9 + 5, period=0.01, missed=7)
    assert (msg.header.stamp.sec, msg.header.stamp.nanosec) == (3, 5)
    assert (msg.period, msg.missed, msg.acting) == (0.01, 7, ["mppi", "mppi"])
    assert np.diff(msg.slot) == pytest.approx([0.01])
    assert list(msg.lateness) == pytest.approx([0.0, 0.001])
    assert list(msg.latency) == pytest.approx([0.002, 0.003])
    assert list(msg.execution) == pytest.approx([0.003, 0.003])
    assert math.isnan(msg.state_age[0]) and msg.state_age[1] == pytest.approx(0.005)
