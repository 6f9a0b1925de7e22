"""Every mistake in a robot's file is one line that names the file, the field and the value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl_node.spec import RobotSpec, SpecError

GONE = object()
FIELDS = "(x, theta, x_dot, theta_dot, force)"
ROBOT_KEYS = (
    "(name, rate, state, action, envelope, trust, task, targets, reward, termination, constraints,"
    " settings, goal, episode, sim, display)"
)


def keys_of(path: str) -> list[str | int]:
    """`state[0].fields` as keys and indices."""
    return [int(p) if p.isdigit() else p for p in re.findall(r"[\w/ -]+", path)]


def change(document: Any, path: str, value: object) -> None:
    """Puts a value in its place, or takes away what is there."""
    *way, last = keys_of(path)
    for key in way:
        document = document[key]
    if value is GONE:
        del document[last]
    else:
        document[last] = value


def problems_of(document: object) -> list[str]:
    with pytest.raises(SpecError) as error:
        RobotSpec.from_dict(document, source="cartpole.yaml")  # type: ignore[arg-type]
    assert str(error.value) == "\n".join(error.value.problems)
    return error.value.problems


def mistakes() -> list[tuple[str, list[str]]]:
    """What mistakes.txt says: a change, and the lines of the error."""
    text = (Path(__file__).parent / "mistakes.txt").read_text(encoding="utf-8")
    paragraphs = [paragraph.splitlines() for paragraph in text.strip().split("\n\n")[1:]]
    return [(first, [line.strip() for line in lines]) for first, *lines in paragraphs]


@pytest.mark.parametrize(("mistake", "problems"), mistakes())
def test_a_mistake_is_reported(document: dict[str, Any], mistake: str, problems: list[str]) -> None:
    where, _, value = mistake.removesuffix(" removed").partition(" = ")
    change(document, where, yaml.safe_load(value) if value else GONE)
    assert problems_of(document) == [f"cartpole.yaml: {problem}" for problem in problems]


def test_a_topic_given_twice_is_refused(document: dict[str, Any]) -> None:
    field = {"name": "effort", "joint": "a", "value": "effort", "unit": "N"}
    document["state"].append(document["state"][0] | {"fields": [field]})
    assert problems_of(document) == [
        "cartpole.yaml: state[1].topic: '/joint_states' is already read by state[0];"
        " put its fields there"
    ]


def test_a_joint_driven_twice_is_refused(document: dict[str, Any]) -> None:
    document["action"]["fields"].append(document["action"]["fields"][0] | {"name": "more"})
    assert problems_of(document) == [
        "cartpole.yaml: action.fields[1].joint: 'slider_to_cart' is already driven by"
        " action.fields[0]; a joint has one command"
    ]


def test_all_mistakes_are_reported_at_once(document: dict[str, Any]) -> None:
    change(document, "rate", 0)
    change(document, "action.fields[0].max", -10)
    change(document, "reward[1].of", "thta")
    change(document, "goal.hold", 3)
    change(document, "sim.urdf", GONE)
    assert problems_of(document) == [
        "cartpole.yaml: rate: 0 must be above 0",
        "cartpole.yaml: action.fields[0].max: -10 is below min -5",
        "cartpole.yaml: goal.hold: is not a known key; did you mean 'hold_time'?"
        " (hold_time, conditions, patience, in_a_row)",
        "cartpole.yaml: sim.urdf: is missing"
        " (a URDF or MJCF (.xml) file of pybullet_data, or relative to the robot's file)",
        "cartpole.yaml: reward[1].of: 'thta' is not a field of the state or action;"
        f" did you mean 'theta'? {FIELDS}",
    ]


@pytest.mark.parametrize(
    "path", ["state", "state[0].fields", "state[0].fields[1].name", "action", "action.fields"]
)
def test_a_broken_field_is_not_blamed_on_those_who_refer_to_it(
    document: dict[str, Any], path: str
) -> None:
    change(document, path, 5)
    problems = problems_of(document)
    assert len(problems) == 1
    assert problems[0].startswith(f"cartpole.yaml: {path}: 5 is not ")


@pytest.mark.parametrize(("document", "shown"), [([], "a list"), (None, "null"), ("x", "'x'")])
def test_what_is_no_mapping_is_no_robot(document: object, shown: str) -> None:
    assert problems_of(document) == [f"cartpole.yaml: {shown} is not a mapping"]


def test_keys_that_are_not_text_are_refused_on_one_line(document: dict[Any, Any]) -> None:
    document[1] = 1
    document["a\nb"] = 1
    document["episode"][None] = 1
    assert problems_of(document) == [
        "cartpole.yaml: episode.None: null is not a key: keys are text",
        "cartpole.yaml: [1]: 1 is not a key: keys are text",
        f"cartpole.yaml: ['a\\nb']: is not a known key {ROBOT_KEYS}",
    ]


def test_long_values_are_cut_short(document: dict[str, Any]) -> None:
    change(document, "name", "9" * 1000)
    assert problems_of(document) == [
        f"cartpole.yaml: name: '{'9' * 55}...' is not a name:"
        " use letters, digits and underscores, no digit first"
    ]


def test_a_number_beyond_all_numbers_is_refused(document: dict[str, Any]) -> None:
    change(document, "rate", 16**5000)
    assert problems_of(document) == [
        "cartpole.yaml: rate: a number of thousands of digits is too large"
    ]
