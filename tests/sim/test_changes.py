"""Lines that plan changes of a robot."""

import math

import pytest

from sim.changes import PlannedChange, check_value, parse_changes


@pytest.mark.parametrize("text", ["", "  "])
def test_nothing_plans_nothing(text):
    assert parse_changes(text) == []


def test_changes_come_in_the_order_of_time_and_otherwise_in_that_of_the_line():
    assert parse_changes("60 delay all 4e-2, 30 gain all .5,60 mass pole 3") == [
        PlannedChange(30.0, "gain", "all", 0.5),
        PlannedChange(60.0, "delay", "all", 0.04),
        PlannedChange(60.0, "mass", "pole", 3.0),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mass pole 3", "'mass pole 3' is not TIME WHAT OF VALUE, such as 30 mass pole 3"),
        ("30 mass pole 3,", "'' is not TIME WHAT OF VALUE"),
        ("30 mass pole three", "'30 mass pole three': TIME and VALUE are numbers"),
        ("30 mass pole 3; 40 gain all 1", "is not TIME WHAT OF VALUE"),
        ("-1 mass pole 3", "a time of -1 s must be finite and at least 0"),
        ("nan mass pole 3", "a time of nan s must be finite"),
        ("30 wind all 3", "'30 wind all 3': 'wind' is none of mass, payload, gain, delay"),
        ("30 gain all 1, 30 mass pole 0", "'30 mass pole 0': mass: 0 must be above 0"),
        ("30 delay all inf", "delay: inf must be at least 0"),
    ],
)
def test_what_is_no_such_line_is_said_with_what_would_be(text, words):
    with pytest.raises(ValueError, match=words):
        parse_changes(text)


@pytest.mark.parametrize(("what", "value"), [("gain", -1.0), ("gain", 0.0), ("delay", 0.0)])
def test_actuators_may_be_dead_or_reversed_and_payloads_and_delays_none(what, value):
    check_value(what, value)
    with pytest.raises(ValueError, match="nan"):
        check_value(what, math.nan)
