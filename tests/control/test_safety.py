"""Whatever is asked for, what is sent is within all limits; where the state leaves its envelope."""

from __future__ import annotations

import itertools
import math
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mbrl_node.control.safety import Envelope, SafetyFilter
from mbrl_node.spec import RobotSpec, load_spec

Array = NDArray[np.float64]
CARTPOLE = load_spec("cartpole")


def robot(*fields: dict[str, Any], rate: float = 10.0, envelope: Any = ()) -> RobotSpec:
    """A robot with these action fields, each -1 to 1 and safe at 0 unless it says otherwise."""
    usual = {"min": -1.0, "max": 1.0, "safe": 0.0, "unit": "N"}
    named = [
        usual | {"name": f"u{k}", "joint": f"j{k}"} | field
        for k, field in enumerate(fields or [{}])
    ]
    return CARTPOLE.with_overrides(
        rate=rate, action={"fields": named}, envelope=list(envelope), reward=[TERM]
    )


TERM = {"term": "cos", "of": "theta", "weight": 1.0}


def sent(safety: SafetyFilter, *requests: object) -> list[float]:
    return [float(safety(request)[0]) for request in requests]


def array(*values: float) -> Array:
    return np.array(values, dtype=np.float64)


# What may be asked for.


def test_a_command_within_its_limits_is_sent_as_it_is() -> None:
    safety = SafetyFilter(robot({}, {"min": -20.0, "max": 20.0}))
    assert safety(array(0.5, -7.25)).tolist() == [0.5, -7.25]
    assert (safety.problem, safety.limited) == ("", 0)
    assert safety.last_action.tolist() == [0.5, -7.25]


def test_a_command_beyond_a_limit_is_sent_as_the_limit_and_counted() -> None:
    safety = SafetyFilter(robot({}, {"min": -20.0, "max": 20.0}))
    assert safety(array(3.0, -7.0)).tolist() == [1.0, -7.0]
    assert safety(array(0.0, -7e300)).tolist() == [0.0, -20.0]
    assert (safety.problem, safety.limited) == ("", 2)


@pytest.mark.parametrize(
    "request_", [np.float32([0.5]), [0.5], (0.5,), torch.tensor([0.5]), np.array([0.5], ">f8")]
)
def test_numbers_of_any_make_are_taken(request_: object) -> None:
    safety = SafetyFilter(robot())
    assert safety(request_).tolist() == [0.5]
    assert safety.problem == ""


class Hostile:
    def __array__(self, *_: object, **__: object) -> Array:
        raise SystemError("no array of mine")


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (array(math.nan), "the action is not finite: u0 = nan"),
        (array(-math.inf), "the action is not finite: u0 = -inf"),
        (array(1.0, 2.0), "an action of shape (1,) was expected, got (2,)"),
        (array(), "an action of shape (1,) was expected, got (0,)"),
        (np.zeros((1, 1)), "an action of shape (1,) was expected, got (1, 1)"),
        (0.5, "an action of shape (1,) was expected, got ()"),
        (None, "an action of shape (1,) was expected, got a NoneType"),
        ("0.5", "an action of shape (1,) was expected, got a str"),
        (["0.5"], "an action of shape (1,) was expected, got a list"),
        ([1.0, [2.0]], "an action of shape (1,) was expected, got a list"),
        ([10**400], "an action of shape (1,) was expected, got a list"),
        (np.array([0.5], object), "an action of shape (1,) was expected, got a ndarray"),
        (np.array([True]), "an action of shape (1,) was expected, got a ndarray"),
        (np.array([0.5j]), "an action of shape (1,) was expected, got a ndarray"),
        (torch.ones(1, requires_grad=True), "an action of shape (1,) was expected, got a Tensor"),
        (Hostile(), "an action of shape (1,) was expected, got a Hostile"),
    ],
)
def test_what_cannot_be_sent_becomes_the_safe_command_and_is_explained(
    request_: object, problem: str
) -> None:
    safety = SafetyFilter(robot({"safe": 0.25}))
    assert sent(safety, array(0.5), request_) == [0.5, 0.25]
    assert (safety.problem, safety.limited) == (problem, 1)
    assert sent(safety, array(0.5)) == [0.5]
    assert safety.problem == ""


def test_only_the_elements_that_are_not_finite_are_named() -> None:
    safety = SafetyFilter(robot({}, {}, {}))
    safety(array(math.nan, 0.0, math.inf))
    assert safety.problem == "the action is not finite: u0 = nan, u2 = inf"


def test_what_is_sent_is_nobodys_to_change() -> None:
    safety, mine = SafetyFilter(robot()), array(0.5)
    assert not np.shares_memory(safety._read(mine)[0], mine)  # whose maker may write meanwhile
    action = safety(mine)
    mine[0] = action[0] = safety.last_action[0] = math.nan
    assert safety.last_action.tolist() == [0.5]
    assert safety.stop() is not safety.stop()
    safety.stop()[0] = math.nan
    assert sent(safety, None) == [0.0]


# Rate and jerk.


def test_a_rate_limit_bounds_the_change_of_the_command() -> None:
    safety = SafetyFilter(CARTPOLE.with_overrides(action=fields(max_rate=25.0)))
    assert sent(safety, *[array(9.0)] * 7) == pytest.approx([1, 2, 3, 4, 5, 5, 5])
    assert safety.limited == 7


def fields(**limits: float) -> dict[str, Any]:
    return {"fields": [CARTPOLE.action.fields[0].model_dump(exclude_none=True) | limits]}


def test_a_jerk_limit_bounds_the_change_of_the_change_and_brakes_in_time() -> None:
    # 0.1 s a tick and 10 unit/s^2: the change may change by 0.1 a tick.
    safety = SafetyFilter(robot({"max_jerk": 10.0}))
    commands = sent(safety, *[array(1.0)] * 8)
    assert commands[:5] == pytest.approx([0.1, 0.3, 0.6, 0.6 + 0.7 / 3, 0.9 + 0.2 / 3])
    assert commands[5:] == [1.0, 1.0, 1.0]
    assert np.abs(np.diff([0.0, 0.0, *commands], n=2)).max() <= 0.1 + 1e-9


def test_a_jerk_limit_is_kept_beside_a_rate_limit() -> None:
    safety = SafetyFilter(robot({"max_jerk": 10.0, "max_rate": 2.0, "min": -10.0, "max": 10.0}))
    changes = np.diff([0.0, *sent(safety, *[array(2.0)] * 14)])
    assert changes[:4] == pytest.approx([0.1, 0.2, 0.2, 0.2])
    assert safety.last_action.tolist() == [2.0]


def test_a_limit_of_one_element_is_none_of_the_others() -> None:
    safety = SafetyFilter(robot({"max_jerk": 1.0}, {"max_rate": 1.0}, {}))
    assert safety(array(1.0, 1.0, 1.0)) == pytest.approx([0.01, 0.1, 1.0])
    assert safety(array(-1.0, -1.0, -1.0)) == pytest.approx([0.01, 0.0, -1.0], abs=1e-9)


def test_what_no_limit_holds_back_is_sent_to_the_last_bit() -> None:
    safety = SafetyFilter(robot({"max_jerk": 1.0}, {}))
    safety(array(0.0, -0.9))
    assert -0.9 + (0.3 - -0.9) != 0.3
    assert safety(array(0.0, 0.3)).tolist() == [0.0, 0.3]


def test_a_command_under_way_to_a_limit_turns_without_passing_it() -> None:
    safety = SafetyFilter(robot({"max_jerk": 3.0}))
    commands = sent(safety, *[array(1.0)] * 6, *[array(-1.0)] * 30, *[array(math.nan)] * 30)
    assert max(commands) <= 1.0 and min(commands) == -1.0
    assert commands[-1] == 0.0


def test_a_stop_is_a_ramp_to_the_safe_command() -> None:
    safety = SafetyFilter(robot({"max_rate": 2.5, "safe": -0.5}))
    sent(safety, *[array(1.0)] * 6)
    assert not safety.at_rest
    assert [float(safety.stop()[0]) for _ in range(6)] == [0.75, 0.5, 0.25, 0.0, -0.25, -0.5]
    assert safety.at_rest
    assert safety.problem == ""


def test_a_command_that_passes_the_safe_one_is_not_at_rest() -> None:
    safety = SafetyFilter(robot({"max_jerk": 10.0, "min": -10.0, "max": 10.0, "safe": 1.0}))
    safety.reset(array(0.0))
    assert sent(safety, *[array(10.0)] * 4) == pytest.approx([0.1, 0.3, 0.6, 1.0])
    safety._last[0] = 1.0  # to the last bit
    assert not safety.at_rest
    while not safety.at_rest:
        safety.stop()
    assert safety.stop().tolist() == [1.0]


def test_a_reset_goes_on_from_the_command_it_is_given() -> None:
    safety = SafetyFilter(robot({"max_rate": 1.0, "max_jerk": 10.0}))
    sent(safety, *[array(1.0)] * 5)
    safety.reset()
    assert safety.at_rest and safety.last_action.tolist() == [0.0]
    safety.reset(array(0.5))
    assert sent(safety, array(1.0), array(1.0)) == pytest.approx([0.6, 0.7])
    safety.reset(array(7.0))
    assert safety.last_action.tolist() == [1.0]
    safety.reset(array(math.nan))
    assert safety.last_action.tolist() == [0.0]


# Any robot and any requests.

numbers = st.floats(-3.0, 3.0) | st.sampled_from([0.0, 1.0, -1.0, 1e-9, 1e300, -1e300])
bad_arrays = st.sampled_from([math.nan, math.inf, -math.inf])
limits = st.none() | st.floats(0.01, 1e5)


@st.composite
def any_robot(draw: st.DrawFn) -> RobotSpec:
    elements = []
    for _ in range(draw(st.integers(1, 3))):
        low, high = sorted(draw(st.tuples(st.floats(-5, 5), st.floats(-5, 5))))
        high = max(high, low + 0.1)
        safe = draw(st.sampled_from([low, high]) | st.floats(low, high))
        element = {"min": low, "max": high, "safe": safe}
        for key in ("max_rate", "max_jerk"):
            if (limit := draw(limits)) is not None:
                element[key] = limit
        elements.append(element)
    return robot(*elements, rate=draw(st.sampled_from([1.0, 16.0, 64.0])))


def any_requests(m: int) -> st.SearchStrategy[list[object]]:
    good = st.lists(numbers, min_size=m, max_size=m).map(np.array)
    bad = st.one_of(
        st.lists(numbers | bad_arrays, min_size=m, max_size=m).map(np.array),
        st.lists(numbers, max_size=4).map(np.array),
        st.lists(st.floats(width=32), min_size=m, max_size=m).map(lambda v: np.array(v, "f")),
        st.lists(st.integers(-9, 9), min_size=m, max_size=m),
        st.none() | st.text(max_size=4) | st.booleans() | numbers | st.just(object()),
        st.just(np.zeros((m, 1))) | st.just(np.array(["a"] * m)) | st.just([None] * m),
    )
    held = st.tuples(good | bad, st.integers(1, 12)).map(lambda it: [it[0]] * it[1])
    return st.lists(held, max_size=12).map(lambda runs: list(itertools.chain(*runs)))


def assert_limited(spec: RobotSpec, commands: list[Array]) -> None:
    values = np.array(commands)
    assert values.dtype == np.float64 and values.shape[1:] == (spec.action_dim,)
    assert np.isfinite(values).all()
    assert (values >= spec.action_min).all() and (values <= spec.action_max).all()
    changes = np.diff(values, axis=0, prepend=values[:1])  # at rest at first
    assert (np.abs(changes) <= spec.action_max_rate * spec.dt + 1e-9).all()
    bends = np.abs(np.diff(changes, axis=0))
    assert (bends <= spec.action_max_jerk * spec.dt**2 + 1e-9).all()


@given(st.data(), any_robot())
@settings(max_examples=400, deadline=None)
def test_what_is_sent_is_within_all_limits_whatever_is_asked_for(
    data: st.DataObject, spec: RobotSpec
) -> None:
    safety = SafetyFilter(spec)
    commands = [safety.last_action]
    for request in data.draw(any_requests(spec.action_dim)):
        commands.append(safety(request))
    commands += [safety.stop() for _ in range(5)]
    assert_limited(spec, commands)


def longest_ramp(spec: RobotSpec) -> float:
    """Ticks from anywhere to anywhere: to come to rest, to speed up, to go, and to brake."""
    way = spec.action_max - spec.action_min
    at_rate = way / (spec.action_max_rate * spec.dt)
    at_jerk = np.sqrt(way / (spec.action_max_jerk * spec.dt**2))
    return float((2 * at_rate + 8 * at_jerk).max()) + 10


@given(st.data(), any_robot())
@settings(max_examples=200, deadline=None)
def test_a_stop_arrives_exactly_and_turns_once_at_most(
    data: st.DataObject, spec: RobotSpec
) -> None:
    safety = SafetyFilter(spec)
    for request in data.draw(any_requests(spec.action_dim)):
        safety(request)
    ramp = [safety.last_action]
    ticks = 0
    while not safety.at_rest:
        ramp.append(safety.stop())
        ticks += 1
        assert ticks <= longest_ramp(spec)
    assert safety.stop().tolist() == spec.action_safe.tolist()
    assert safety.at_rest
    changes = np.diff(np.array(ramp), axis=0)
    for element in changes.T:
        signs = np.sign(element[np.abs(element) > 1e-9])
        assert (
            np.count_nonzero(np.diff(signs)) <= 1
        )  # where it was on its way elsewhere, or too fast


@given(any_robot(), st.data())
@settings(max_examples=200, deadline=None)
def test_a_stop_from_a_command_at_rest_never_moves_away_from_the_safe_one(
    spec: RobotSpec, data: st.DataObject
) -> None:
    safety = SafetyFilter(spec)
    share = np.array(data.draw(st.lists(st.floats(0, 1), min_size=3, max_size=3)))
    start = spec.action_min + share[: spec.action_dim] * (spec.action_max - spec.action_min)
    safety.reset(start)
    way = [np.abs(safety.last_action - spec.action_safe)]
    for _ in range(200):
        way.append(np.abs(safety.stop() - spec.action_safe))
    assert (np.diff(way, axis=0) <= 1e-12).all()


@given(any_robot())
@example(robot({"max_jerk": 5e-324}))
@example(robot({"min": -1.7e308, "max": 1.7e308, "max_jerk": 1.0}))
@example(robot({"min": -1.7e308, "max": 1.7e308, "max_rate": 1e308}, rate=1.0))
@settings(max_examples=50, deadline=None)
@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
def test_extreme_limits_give_finite_commands_within_the_box(spec: RobotSpec) -> None:
    safety = SafetyFilter(spec)
    for value in (1.7e308, -1.7e308, 5e-324, 0.0, 1.7e308):
        safety.reset(np.full(spec.action_dim, -value))
        for _ in range(3):
            command = safety(np.full(spec.action_dim, value))
            assert np.isfinite(command).all()
            assert (command >= spec.action_min).all() and (command <= spec.action_max).all()


def best_time(call: Callable[[], object]) -> float:
    """us a call, on a processor that may be busy with others."""
    return min(timeit.repeat(call, number=100, repeat=50)) / 100 * 1e6


@pytest.mark.parametrize("m", [1, 7])
def test_a_command_takes_a_few_microseconds(m: int) -> None:
    safety = SafetyFilter(robot(*[{"max_rate": 1.0}] * m))
    request = np.full(m, 0.3)
    assert best_time(lambda: safety(request)) < 15.0


# The envelope.

SIDES = {"of": "x", "min": -5.5, "max": 5.5, "soft_min": -4.8, "soft_max": 4.8}


def envelope(*ranges: dict[str, Any]) -> Callable[[float], str]:
    """What an envelope says of x, as text."""
    checked = Envelope(robot(envelope=ranges))

    def check(x: float) -> str:
        breach = checked.check(array(x, 0.0, 0.0, 0.0))
        return "" if breach is None else f"{'hard' if breach.hard else 'soft'}: {breach.message}"

    return check


def test_a_state_within_its_envelope_is_no_breach() -> None:
    check = envelope(SIDES)
    assert [check(x) for x in (0.0, 4.8, -4.8)] == ["", "", ""]


def test_without_an_envelope_there_is_no_breach() -> None:
    envelope = Envelope(robot())
    assert envelope.check(array(1e9, 0, 0, 0)) is None
    assert best_time(lambda: envelope.check(CARTPOLE.action_safe)) < 2.0


def test_a_state_beyond_a_hard_limit_is_a_hard_breach_for_as_long() -> None:
    check = envelope({"of": "x", "max": 5.5})
    assert check(5.62) == "hard: x = 5.62 m is beyond its hard limit 5.5"
    assert check(6.0) == "hard: x = 6 m is beyond its hard limit 5.5"
    assert check(5.49) == ""
    assert check(-1e9) == ""


def test_a_soft_breach_lasts_until_the_state_is_well_inside_and_says_the_same_meanwhile() -> None:
    check = envelope(SIDES)
    began = check(4.9)
    assert began == "soft: x = 4.9 m is beyond its soft limit 4.8"
    assert [check(x) for x in (5.0, 4.7, 4.33)] == [began] * 3
    assert check(4.31) == ""  # 5 % of 9.6 m inside
    assert check(4.7) == ""
    assert check(-4.9) == "soft: x = -4.9 m is beyond its soft limit -4.8"


def test_a_hard_breach_is_named_before_a_soft_one_and_leaves_the_soft_one_behind() -> None:
    check = envelope(SIDES)
    assert check(-5.62) == "hard: x = -5.62 m is beyond its hard limit -5.5"
    assert check(-5.0).startswith("soft: x = -5.62")
    assert check(-4.0) == ""


@pytest.mark.parametrize(
    ("limits", "still", "back"),
    [
        ({"soft_max": 4.0, "max": 6.0}, 3.91, 3.89),  # 5 % of the way from soft to hard
        ({"soft_min": -4.0, "min": -6.0}, -3.91, -3.89),
        ({"soft_max": 4.0, "min": -6.0}, 3.81, 3.79),  # 5 % of the limit's own value
        ({"soft_max": 0.0}, 1e-9, 0.0),
    ],
)
def test_where_one_side_is_soft_the_way_back_is_shorter(
    limits: dict[str, float], still: float, back: float
) -> None:
    check = envelope({"of": "x"} | limits)
    outside = 5.0 * np.sign(back or 1.0)
    assert check(outside).startswith("soft")
    assert check(still).startswith("soft")
    assert check(back) == ""


def test_an_angle_is_wrapped_before_it_is_checked() -> None:
    checked = Envelope(robot(envelope=[{"of": "theta", "min": -1.0, "max": 1.0}]))
    assert checked.check(array(0, 4 * math.pi + 0.9, 0, 0)) is None
    breach = checked.check(array(0, -4 * math.pi - 1.1, 0, 0))
    assert breach is not None and breach.message == "theta = -1.1 rad is beyond its hard limit -1"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_state_that_is_not_finite_is_a_hard_breach(value: float) -> None:
    check = envelope({"of": "x", "soft_max": 1.0})
    assert check(value) == f"hard: x = {value} m is not finite"
    assert check(0.0) == ""


def test_of_several_fields_the_worst_is_named() -> None:
    checked = Envelope(robot(envelope=[SIDES, {"of": "x_dot", "max": 2.0}]))
    breach = checked.check(array(5.0, 0, 2.5, 0))
    assert breach is not None and breach.hard and breach.message.startswith("x_dot = 2.5 m/s")
    breach = checked.check(array(4.7, 0, 0.0, 0))
    assert breach is not None and not breach.hard and breach.message.startswith("x = 5 m")


@given(st.lists(st.floats(-7, 7), max_size=40))
def test_a_state_outside_is_always_reported_and_one_well_inside_never(
    positions: list[float],
) -> None:
    check = envelope(SIDES)
    for x in positions:
        kind = check(x)[:4]
        assert (kind == "hard") == (abs(x) > 5.5)
        assert kind or abs(x) <= 4.8
        assert not kind or abs(x) > 4.31
