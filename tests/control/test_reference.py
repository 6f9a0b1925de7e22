"""What is wanted when: states that are held or follow each other, from the first look on."""

import numpy as np
import pytest

from mbrl_node.control import Reference
from mbrl_node.control.reference import Follower
from mbrl_node.spec.system import BoxSystem

DT = 0.04
LINE = BoxSystem("line", DT, ("x", "v"), ("a",), -1.0, 1.0)
RAMP = np.column_stack((np.arange(4.0), np.zeros(4)))
PERIOD = round(DT * 1e9)


def test_one_state_is_held():
    reference = Reference.of([1.0, 2.0], LINE)
    assert [reference.at(t).tolist() for t in (0.0, 99.0)] == [[1.0, 2.0]] * 2


def test_states_follow_each_other_once_a_period_and_the_last_is_held():
    reference = Reference.of(RAMP, LINE)
    # Late by up to half a period, a tick still has its own state.
    times = (0.0, 1.0, 1.4, 2.0, 2.6, 3.0, 4.0, 1e6)
    assert [reference.at(t * DT)[0] for t in times] == [0, 1, 1, 2, 3, 3, 3, 3]


def test_a_function_is_asked_for_the_time_since_the_start():
    assert Reference.of(lambda time: np.array([time, 0.0]), LINE).at(0.3)[0] == 0.3


def test_what_is_changed_after_it_was_given_does_not_count():
    states = RAMP.copy()
    reference = Reference.of(states, LINE)
    states[:] = np.nan
    assert reference.at(DT)[0] == 1.0


@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (4, 3), (2, 2, 2)])
def test_another_shape_is_refused_and_the_right_ones_are_said(shape):
    with pytest.raises(ValueError, match=r"has shape \(.*\), not \[2\] or \[T, 2\]"):
        Reference.of(np.zeros(shape), LINE)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="not finite"):
        Reference.of([[0.0, 0.0], [value, 0.0]], LINE)


def test_it_begins_at_the_first_look_whenever_that_is():
    follower = Follower(Reference.of(RAMP, LINE))
    assert [follower.look((1000 + k) * PERIOD)[0] for k in range(3)] == [0, 1, 2]
    assert follower.look(1003 * PERIOD, ahead=-DT)[0] == 2


def test_it_begins_again_after_a_restart_with_another_reference_and_when_the_clock_is_set_back():
    follower = Follower(Reference.of(RAMP, LINE))
    follower.look(0)
    follower.restart()
    assert [follower.look(k * PERIOD)[0] for k in (7, 8)] == [0, 1]
    follower.reference = Reference.of(RAMP + 10, LINE)
    assert [follower.look(k * PERIOD)[0] for k in (9, 10)] == [10, 11]
    assert [follower.look(k * PERIOD)[0] for k in (2, 3)] == [10, 11]


def test_without_a_reference_there_is_nothing_to_look_at():
    with pytest.raises(RuntimeError, match="no reference"):
        Follower().look(0)
