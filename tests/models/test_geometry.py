"""Differences and features of states: angles turn, orientations rotate, the rest is added."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mbrl_node.models.geometry import (
    StateGeometry,
    conjugate,
    multiply,
    normalize,
    quaternion,
    rotation_vector,
)
from mbrl_node.spec.system import BoxSystem

# Fields: a position, then an orientation in the order w, x, y, z, then an angle; and one in the
# order x, y, z, w in columns that are not neighbours.
NAMES = ("p", "w", "x", "y", "z", "a", "x2", "b", "y2", "z2", "c", "w2")
FIRST, SECOND = (2, 3, 4, 1), (6, 8, 9, 11)
SYSTEM = BoxSystem("body", 0.02, NAMES, ("u",), -1.0, 1.0, ("a",), (FIRST, SECOND))
GEOMETRY = StateGeometry(SYSTEM)

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)
numbers = st.floats(-1.0, 1.0, width=32)
vectors = st.lists(numbers, min_size=3, max_size=3).map(torch.tensor)


@st.composite
def orientations(draw):
    q = torch.tensor(draw(st.lists(numbers, min_size=4, max_size=4)))
    assume(q.norm() > 0.1)
    return q / q.norm()


@st.composite
def states(draw):
    state = torch.tensor(draw(st.lists(st.floats(-10, 10, width=32), min_size=12, max_size=12)))
    for columns in (FIRST, SECOND):
        state[list(columns)] = draw(orientations())
    return state


def matrix(q: torch.Tensor) -> torch.Tensor:
    """The rotation matrix, by the textbook: each basis vector turned by q v q*."""
    basis = torch.cat((torch.eye(3), torch.zeros(3, 1)), 1).to(q)
    turned = [multiply(multiply(q, v), conjugate(q))[:3] for v in basis]
    return torch.stack(turned, 1)


@PROPERTY
@given(states(), states())
def test_integrating_the_difference_of_two_states_leads_from_one_to_the_other(a, b):
    result = GEOMETRY.integrate(a, GEOMETRY.difference(a, b))
    for columns in (FIRST, SECOND):
        reached, wanted = result[list(columns)], b[list(columns)]
        assert abs(float(reached.norm()) - 1) < 1e-5
        # The same orientation, whichever of its two signs.
        assert min(float((reached - wanted).norm()), float((reached + wanted).norm())) < 1e-3
    plain = [0, 7, 10]
    torch.testing.assert_close(result[plain], b[plain], atol=1e-5, rtol=1e-5)
    assert abs(math.remainder(float(result[5] - b[5]), 2 * math.pi)) < 1e-4


@PROPERTY
@given(states(), vectors, vectors, st.floats(-3, 3))
def test_the_difference_of_an_integrated_state_is_what_was_integrated(state, one, two, angle):
    change = torch.tensor([0.5, angle, -0.25, 1.5, *(1.7 * one), *(1.7 * two)])
    torch.testing.assert_close(
        GEOMETRY.difference(state, GEOMETRY.integrate(state, change)), change, atol=1e-4, rtol=1e-4
    )


@PROPERTY
@given(states())
def test_both_quaternions_of_an_orientation_have_the_same_features_and_no_difference(state):
    flipped = state.clone()
    flipped[list(FIRST)] *= -1
    torch.testing.assert_close(GEOMETRY.features(flipped), GEOMETRY.features(state))
    assert GEOMETRY.difference(state, flipped).abs().max() < 1e-5


@PROPERTY
@given(states())
def test_the_features_of_an_orientation_are_two_columns_of_its_rotation_matrix(state):
    # Linear fields p, b, c, then sine and cosine of a, then the orientations.
    features = GEOMETRY.features(state)
    assert len(features) == GEOMETRY.feature_dim == 3 + 2 + 6 + 6
    for columns, start in ((FIRST, 5), (SECOND, 11)):
        expected = matrix(state[list(columns)])[:, :2].T.flatten()
        torch.testing.assert_close(features[start : start + 6], expected, atol=1e-5, rtol=1e-5)
    assert features[GEOMETRY.bounded_features].abs().max() <= 1 + 1e-5


@PROPERTY
@given(orientations(), st.floats(0.1, 10))
def test_the_length_of_a_quaternion_says_nothing(q, length):
    state = torch.zeros(12)
    state[list(FIRST)], state[list(SECOND)] = q, q
    longer = state.clone()
    longer[list(FIRST)] *= length
    torch.testing.assert_close(GEOMETRY.features(longer), GEOMETRY.features(state))
    assert GEOMETRY.difference(state, longer).abs().max() < 1e-5
    assert abs(float(GEOMETRY.integrate(longer, torch.zeros(10))[list(FIRST)].norm()) - 1) < 1e-5


@PROPERTY
@given(orientations(), vectors)
def test_the_difference_of_a_small_rotation_is_its_rotation_vector(q, vector):
    small = 1e-3 * vector
    turn = torch.cat((0.5 * small, torch.ones(1)))  # the quaternion of a small rotation
    state, turned = torch.zeros(2, 12)
    state[list(FIRST)], turned[list(FIRST)] = q, multiply(q, turn)
    difference = GEOMETRY.difference(state, turned)[4:7]
    torch.testing.assert_close(difference, small, atol=1e-6, rtol=1e-3)


@PROPERTY
@given(vectors)
def test_a_rotation_vector_and_its_quaternion_are_the_same_rotation(vector):
    vector = 1.8 * vector.double()  # up to 3.1 rad
    q = quaternion(vector)
    torch.testing.assert_close(quaternion(vector.float()), q.float(), atol=1e-6, rtol=1e-6)
    assert abs(float(q.norm()) - 1) < 1e-9
    skew = torch.tensor(
        [
            [0, -vector[2], vector[1]],
            [vector[2], 0, -vector[0]],
            [-vector[1], vector[0], 0],
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(matrix(q), torch.linalg.matrix_exp(skew))
    torch.testing.assert_close(rotation_vector(q), vector)


@PROPERTY
@given(orientations(), orientations())
def test_a_rotation_goes_the_short_way_round(a, b):
    vector = rotation_vector(multiply(conjugate(a), b))
    assert vector.norm() <= math.pi + 1e-5


@pytest.mark.parametrize("start", [3.1, -3.1, 100.0, 0.0])
def test_the_difference_of_an_angle_is_the_short_way_round(start):
    state, turned = torch.zeros(2, 12)
    state[[4, 11]], turned[[4, 11]] = 1.0, 1.0
    state[5], turned[5] = start, math.remainder(start + 0.2, 2 * math.pi)
    assert abs(float(GEOMETRY.difference(state, turned)[1]) - 0.2) < 1e-4


def test_gradients_are_finite_where_nothing_turns():
    state = torch.zeros(12)
    state[list(FIRST)] = state[list(SECOND)] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    state.requires_grad_()
    still = state.detach().clone().requires_grad_()
    change = torch.zeros(10, requires_grad=True)
    total = GEOMETRY.difference(state, still).sum() + GEOMETRY.features(state).sum()
    total = total + GEOMETRY.integrate(state, change).sum()
    total.backward()
    assert all(torch.isfinite(x.grad).all() for x in (state, still, change))
    # What turns a little is turned by as much as the rotation vector says.
    vector = torch.zeros(3, requires_grad=True)
    slope = torch.autograd.functional.jacobian(lambda v: rotation_vector(quaternion(v)), vector)
    torch.testing.assert_close(slope, torch.eye(3))


def test_a_quaternion_of_zeros_gives_no_nan():
    assert torch.isfinite(GEOMETRY.features(torch.zeros(12))).all()
    assert torch.isfinite(normalize(torch.zeros(4))).all()


def test_a_state_given_to_difference_and_integrate_is_left_as_it_was():
    state, other = torch.rand(2, 12)
    before = state.clone(), other.clone()
    GEOMETRY.integrate(state, GEOMETRY.difference(state, other))
    assert torch.equal(state, before[0]) and torch.equal(other, before[1])
