"""What a valid spec says about its robot."""

from __future__ import annotations

import copy
import math
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from mbrl_node.spec import RobotSpec, SpecError, load_spec

Document = dict[str, Any]

TINY: Document = {
    "name": "tiny",
    "rate": 10,
    "state": [
        {
            "topic": "/joint_states",
            "type": "sensor_msgs/msg/JointState",
            "timeout": 0.5,
            "fields": [{"name": "q", "joint": "j", "value": "position", "unit": "rad"}],
        }
    ],
    "action": {
        "topic": "/commands",
        "type": "std_msgs/msg/Float64MultiArray",
        "fields": [{"name": "u", "joint": "j", "min": -1, "max": 1, "safe": 0, "unit": "N m"}],
    },
    "reward": [{"term": "square", "of": "q", "weight": -1}],
    "episode": {"length": 10},
}
TINY_HASH = 894973265981375289


def changed(document: Document, change: Callable[[Document], object]) -> RobotSpec:
    copied = copy.deepcopy(document)
    change(copied)
    return RobotSpec.from_dict(copied)


def test_the_cart_pole_is_described_by_its_file(cartpole_path: Path) -> None:
    spec = load_spec("cartpole")
    assert spec.path == cartpole_path
    assert spec.state_names == ("x", "theta", "x_dot", "theta_dot")
    assert spec.action_names == ("force",)
    assert (spec.state_dim, spec.action_dim) == (4, 1)
    assert spec.angle_mask.tolist() == [False, True, False, False]
    assert spec.action_min.tolist() == [-5.0]
    assert spec.action_max.tolist() == [5.0]
    assert spec.action_safe.tolist() == [0.0]
    assert spec.action_max_rate.tolist() == [math.inf]
    assert spec.action_max_jerk.tolist() == [math.inf]
    assert [(r.of, r.min, r.max) for r in spec.envelope] == [
        ("x", -5.5, 5.5),
        ("x_dot", -15.0, 15.0),
        ("theta_dot", -25.0, 25.0),
    ]
    assert spec.dt == 0.04
    assert [term.term for term in spec.reward_terms] == ["cos", "square", "beyond", *["square"] * 2]
    assert [(r.of, r.min, r.max) for r in spec.termination] == [("x", -5.0, 5.0)]
    assert spec.goal is not None and spec.goal.hold_time == 5.0
    assert spec.episode.reset_service == "/reset"
    assert spec.sim is not None and spec.sim.initial == {"cart_to_pole": 3.14159265}
    assert spec.display is not None and (spec.display.x, spec.display.y) == ("x", None)


def keys_of(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name
        arguments = [field.annotation]
        for argument in arguments:  # grows
            arguments.extend(get_args(argument))
            if isinstance(argument, type) and issubclass(argument, BaseModel):
                yield from keys_of(argument)


@pytest.mark.parametrize("key", sorted(set(keys_of(RobotSpec))))
def test_the_file_of_the_cart_pole_shows_every_key(cartpole_path: Path, key: str) -> None:
    assert re.search(rf"\b{key}\b", cartpole_path.read_text(encoding="utf-8"))


def test_what_is_optional_may_be_left_out() -> None:
    spec = RobotSpec.from_dict(TINY)
    assert spec.envelope == ()
    assert spec.termination == ()
    assert spec.constraints == ()
    assert spec.goal is None
    assert spec.sim is None
    assert spec.display is None
    assert spec.episode.reset_service is None
    assert spec.path is None


def test_state_fields_of_several_topics_follow_each_other(document: Document) -> None:
    more = copy.deepcopy(TINY["state"][0]) | {"topic": "/gripper/joint_states"}
    spec = changed(document, lambda d: d["state"].append(more))
    assert spec.state_names == ("x", "theta", "x_dot", "theta_dot", "q")


def test_a_max_rate_is_given_per_action_field(document: Document) -> None:
    field = {"name": "brake", "joint": "b", "min": 0, "max": 1, "safe": 1, "unit": "N"}
    spec = changed(document, lambda d: d["action"]["fields"].append(field | {"max_rate": 2}))
    assert spec.action_max_rate.tolist() == [math.inf, 2.0]
    assert spec.action_safe.tolist() == [0.0, 1.0]


def test_a_max_jerk_is_given_per_action_field_and_needs_no_max_rate(document: Document) -> None:
    field = {"name": "brake", "joint": "b", "min": 0, "max": 1, "safe": 1, "unit": "N"}
    spec = changed(document, lambda d: d["action"]["fields"].append(field | {"max_jerk": 20}))
    assert spec.action_max_rate.tolist() == [math.inf, math.inf]
    assert spec.action_max_jerk.tolist() == [math.inf, 20.0]


def test_commands_may_take_a_while_to_have_an_effect(document: Document) -> None:
    assert changed(document, lambda d: None).action.delay == 0.0
    assert changed(document, lambda d: d["action"].update(delay=0.08)).action.delay == 0.08


def test_an_envelope_may_have_any_of_its_limits(document: Document) -> None:
    ranges = [{"of": "x", "soft_max": 1.0}, {"of": "theta", "min": -1, "soft_min": -0.5}]
    spec = changed(document, lambda d: d.update(envelope=ranges))
    assert [(r.of, r.min, r.max, r.soft_min, r.soft_max) for r in spec.envelope] == [
        ("x", None, None, None, 1.0),
        ("theta", -1.0, None, -0.5, None),
    ]


def test_integers_are_taken_as_numbers() -> None:
    spec = RobotSpec.from_dict(TINY)
    assert isinstance(spec.rate, float)
    assert spec.action_min.dtype == np.float64


def test_a_spec_cannot_be_changed() -> None:
    name = "rate"
    spec = RobotSpec.from_dict(TINY)
    with pytest.raises(ValidationError):
        setattr(spec, name, 20.0)
    spec.action_min[0] = -100.0  # a copy
    assert spec.action_min.tolist() == [-1.0]


def test_a_spec_travels_between_processes() -> None:
    spec = load_spec("cartpole")
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_a_spec_error_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(SpecError(["one", "two"])))
    assert error.problems == ["one", "two"]
    assert str(error) == "one\ntwo"


def test_the_document_is_left_as_it_was(document: Document) -> None:
    before = copy.deepcopy(document)
    RobotSpec.from_dict(document)
    assert document == before


def test_the_spec_needs_neither_ros_nor_the_simulator_nor_torch() -> None:
    code = "import sys, mbrl_node.spec; print({'rclpy', 'pybullet', 'torch'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr


# The hash: what a transition and a model mean.


def test_the_hash_of_a_spec_is_the_same_everywhere_and_for_ever() -> None:
    assert RobotSpec.from_dict(TINY).hash == TINY_HASH


MEANING: list[Callable[[Document], object]] = [
    lambda d: d.update(rate=20),
    lambda d: d["state"][0].update(topic="/other"),
    lambda d: d["state"][0]["fields"][0].update(joint="other"),
    lambda d: d["state"][0]["fields"][0].update(value="velocity"),
    lambda d: d["state"][0]["fields"][0].update(unit="m"),
    lambda d: d["state"][0]["fields"][0].update(angle=True),
    lambda d: (d["state"][0]["fields"][0].update(name="r"), d["reward"][0].update(of="r")),
    lambda d: d["action"].update(topic="/other"),
    lambda d: d["action"].update(delay=0.05),
    lambda d: d["action"]["fields"][0].update(name="other"),
    lambda d: d["action"]["fields"][0].update(joint="other"),
    lambda d: d["action"]["fields"][0].update(unit="N"),
]
NO_MEANING: list[Callable[[Document], object]] = [
    lambda d: d.update(name="other"),
    lambda d: d.update(rate=10.0),
    lambda d: d["state"][0].update(timeout=1.0),
    lambda d: d["action"].update(delay=0),
    lambda d: d["action"]["fields"][0].update(min=-2, max=3, safe=1, max_rate=5),
    lambda d: d["action"]["fields"][0].update(max_jerk=5),
    lambda d: d.update(envelope=[{"of": "q", "min": -2, "soft_min": -1}]),
    lambda d: d.update(reward=[{"term": "cos", "of": "u", "weight": 1}]),
    lambda d: d.update(termination=[{"of": "q", "min": 0}]),
    lambda d: d.update(constraints=[{"of": "q", "min": 0, "margin": 1, "weight": 1}]),
    lambda d: d.update(goal={"hold_time": 1, "conditions": [{"term": "cos", "of": "q", "min": 0}]}),
    lambda d: d["episode"].update(length=5, reset_service="/reset"),
    lambda d: d.update(sim={"urdf": "a.urdf", "physics_rate": 100, "state_rate": 10}),
    lambda d: d.update(display={"frame": "world", "x": "q"}),
]


@pytest.mark.parametrize("change", MEANING)
def test_the_hash_changes_with_what_the_numbers_mean(change: Callable[[Document], object]) -> None:
    assert changed(TINY, change).hash != TINY_HASH


@pytest.mark.parametrize("change", NO_MEANING)
def test_the_hash_stays_when_old_data_stays_right(change: Callable[[Document], object]) -> None:
    assert changed(TINY, change).hash == TINY_HASH


def test_the_hash_fits_a_signed_64_bit_integer() -> None:
    for rate in range(1, 200):
        assert 1 <= RobotSpec.from_dict(TINY | {"rate": rate}).hash < 2**63


# Overrides.


def test_an_override_changes_only_what_it_names() -> None:
    spec = load_spec("cartpole")
    faster = spec.with_overrides(rate=50)
    assert faster.rate == 50.0
    assert faster.path == spec.path
    assert faster.with_overrides(rate=25.0) == spec
    assert spec.rate == 25.0


def test_an_override_of_a_mapping_keeps_its_other_keys() -> None:
    spec = load_spec("cartpole").with_overrides(episode={"length": 10.0})
    assert spec.episode.length == 10.0
    assert spec.episode.reset_service == "/reset"


def test_an_override_can_remove_a_part() -> None:
    assert load_spec("cartpole").with_overrides(goal=None, sim=None).sim is None


def test_an_override_can_bring_a_part_that_was_not_there() -> None:
    goal = {"hold_time": 1, "conditions": [{"term": "abs", "of": "q", "max": 0.1}]}
    assert RobotSpec.from_dict(TINY).with_overrides(goal=goal).goal is not None


def test_a_wrong_override_is_refused_and_says_so() -> None:
    with pytest.raises(SpecError) as error:
        load_spec("cartpole").with_overrides(rate=-1)
    assert error.value.problems == [
        "config/robots/cartpole.yaml with overrides: rate: -1 must be above 0"
    ]


def test_no_overrides_give_the_same_spec() -> None:
    spec = load_spec("cartpole")
    assert spec.with_overrides() is spec
