"""A `BoxSystem` says what fits together, and names the place of what does not."""

import math

import numpy as np
import pytest
import torch

from mbrl_node.models import DynamicsModel, ModelConfig
from mbrl_node.spec.system import BoxSystem, hash_of

GIVEN = {
    "name": "arm",
    "dt": 0.05,
    "state_names": ("q", "x", "y", "z", "w"),
    "action_names": ("u", "v"),
    "action_min": np.array([-1.0, 0.5]),
    "action_max": np.array([1.0, 2.0]),
}


def box(**changes) -> BoxSystem:
    return BoxSystem(**{**GIVEN, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dt": 0.0}, r"arm: dt: 0\.0 is not a time above 0"),
        ({"dt": math.nan}, r"arm: dt: nan is not a time above 0"),
        ({"state_names": ()}, r"arm: state_names: \(\) must be one or more distinct names"),
        ({"state_names": ("q", "q")}, r"arm: state_names: \('q', 'q'\) must be"),
        ({"action_names": ("u", "u")}, r"arm: action_names: \('u', 'u'\) must be"),
        ({"action_min": np.zeros(3)}, r"arm: action_min has the shape \(3,\), not \(2,\)"),
        ({"action_max": np.zeros((1, 2))}, r"arm: action_max has the shape \(1, 2\), not \(2,\)"),
        ({"action_min": np.array([-1.0, 2.0])}, "arm: action_min must be below action_max"),
        ({"action_min": np.array([math.nan, 0.0])}, "arm: action_min must be below action_max"),
        ({"action_max": math.inf}, "arm: the action has a limit that is not finite"),
        ({"action_max_rate": 0.0}, "arm: action_max_rate must be above 0"),
        ({"angles": ("p",)}, r"arm: angles: \['p'\] are not of the state \(q, x, y, z, w\)"),
        ({"quaternions": ((1, 2, 3, 5),)}, "arm: quaternions: .* from 0 to 4"),
        ({"quaternions": ((1, 2, 3, -1),)}, "arm: quaternions: .* from 0 to 4"),
        ({"quaternions": ((1, 2, 3, 3),)}, "arm: quaternions: .* four distinct columns each"),
        ({"quaternions": ((1, 2, 3),)}, "arm: quaternions: .* four distinct columns each"),
        ({"quaternions": ((0, 1, 2, 3),), "angles": ("q",)}, r"arm: angles: \['q'\] are of a quat"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_its_place(changes, message):
    with pytest.raises(ValueError, match=message):
        box(**changes)


def test_a_number_stands_for_the_limit_of_each_action():
    system = box(action_min=-1.0, action_max=np.array([2.0]), action_max_rate=3.0)
    assert system.action_min.tolist() == [-1.0, -1.0] and system.action_max.tolist() == [2.0, 2.0]
    assert system.action_max_rate.tolist() == [3.0, 3.0]


def test_the_safe_action_is_zero_or_the_limit_nearest_to_it():
    assert box().action_safe.tolist() == [0.0, 0.5]
    assert box(action_max=np.array([-0.5, 2.0])).action_safe.tolist() == [-0.5, 0.5]


def test_the_hash_is_of_what_the_numbers_mean_and_not_of_the_limits():
    assert box().hash == box(action_max=5.0).hash == box().hash
    others = [
        box(name="leg"),
        box(dt=0.1),
        box(state_names=("p", "x", "y", "z", "w")),
        box(angles=("q",)),
        box(quaternions=((1, 2, 3, 4),)),
        box(quaternions=((4, 1, 2, 3),)),
    ]
    assert len({system.hash for system in [box(), *others]}) == 7
    assert all(0 < system.hash < 2**63 for system in others)


def test_the_hash_of_the_same_facts_is_the_same_on_every_machine():
    assert hash_of(["pole", 0.1, ("x",)]) == 5369938895316153933


def test_a_box_system_makes_a_model_that_predicts_each_of_its_fields():
    model = DynamicsModel(box(quaternions=((1, 2, 3, 4),)), ModelConfig(members=2, hidden=(8,)))
    prediction = model.predict(torch.rand(2, 3, 5), torch.rand(2, 3, 2))
    assert prediction.shape == (2, 3, 5)
    assert model.geometry.difference_names == ("q", *(f"x_rotation_{axis}" for axis in "xyz"))
