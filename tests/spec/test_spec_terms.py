"""Reward, termination, constraints and goal, on batches and on single states."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mbrl_node.spec import RobotSpec, load_spec
from mbrl_node.spec.parts import BUILT_IN_TERMS
from mbrl_node.spec.task import Task
from mbrl_node.spec.terms import (
    TERMS,
    RangeTermination,
    constraint_function,
    goal_function,
    wrap,
)
from mbrl_node.spec.terms import TermReward as reward_of_step

SPEC = load_spec("cartpole")
NAN, INF = math.nan, math.inf


def reward_function(spec: RobotSpec) -> Any:
    """(next_state, action) -> reward; the state before is none, as it must not count."""
    return lambda next_state, action: reward_of_step(spec)(None, action, next_state)


def rewarding(*terms: dict[str, Any]) -> RobotSpec:
    return SPEC.with_overrides(reward=[{"weight": 1.0} | term for term in terms])


def reward_of(state: list[float], *terms: dict[str, Any], force: float = 0.0) -> float:
    dtype = torch.float64
    reward = reward_function(rewarding(*terms))
    return reward(torch.tensor(state, dtype=dtype), torch.tensor([force], dtype=dtype)).item()


def test_every_term_that_a_file_may_name_is_defined() -> None:
    assert tuple(TERMS) == BUILT_IN_TERMS


def test_the_reward_of_the_cart_pole_is_its_formula() -> None:
    rng = np.random.default_rng(0)
    state, action = rng.normal(size=(7, 11, 4)) * 3.0, rng.normal(size=(7, 11, 1)) * 5.0
    x, theta, _, theta_dot = np.moveaxis(state, -1, 0)
    expected = (
        np.cos(theta)
        - 0.03 * x**2
        - 5.0 * np.maximum(0.0, np.abs(x) - 3.0)
        - 0.005 * theta_dot**2
        - 0.001 * action[..., 0] ** 2
    )
    reward = reward_function(SPEC)
    batch = reward(torch.from_numpy(state), torch.from_numpy(action))
    np.testing.assert_allclose(batch.numpy(), expected, rtol=1e-12, atol=1e-12)
    single = reward(torch.from_numpy(state[3, 4]), torch.from_numpy(action[3, 4]))
    assert single.shape == ()
    assert single.item() == pytest.approx(expected[3, 4], rel=1e-12)
    half = reward(torch.from_numpy(state).float(), torch.from_numpy(action).float())
    assert half.dtype == torch.float32
    np.testing.assert_allclose(half.numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ({"term": "cos"}, math.cos(3.5)),
        ({"term": "sin"}, math.sin(3.5)),
        ({"term": "linear"}, 3.5),
        ({"term": "abs"}, 3.5),
        ({"term": "square"}, 12.25),
        ({"term": "beyond", "limit": 3.0}, 0.5),
        ({"term": "beyond", "limit": 4.0}, 0.0),
        ({"term": "cos", "target": 1.0}, math.cos(2.5)),
        ({"term": "sin", "target": 1.0}, math.sin(2.5)),
        ({"term": "linear", "target": 5.0}, -1.5),
        ({"term": "abs", "target": 5.0}, 1.5),
        ({"term": "square", "target": 5.0}, 2.25),
        ({"term": "beyond", "limit": 1.0, "target": 5.0}, 0.5),
    ],
)
def test_a_term_is_a_function_of_the_distance_from_its_target(
    term: dict[str, Any], expected: float
) -> None:
    assert reward_of([3.5, 0, 0, 0], {"of": "x"} | term) == pytest.approx(expected, abs=1e-12)
    assert reward_of([0, 0, 0, 0], {"of": "force"} | term, force=3.5) == pytest.approx(
        expected, abs=1e-12
    )


@pytest.mark.parametrize("turns", [-2, -1, 0, 1, 3])
def test_the_distance_of_an_angle_is_wrapped(turns: int) -> None:
    theta = -3.0 + 2.0 * math.pi * turns
    distance = 2.0 * math.pi - 6.0  # from 3.0 on to -3.0, over pi
    for term, expected in (("linear", distance), ("abs", distance), ("square", distance**2)):
        found = reward_of([0, theta, 0, 0], {"term": term, "of": "theta", "target": 3.0})
        assert found == pytest.approx(expected, abs=1e-9)
    found = reward_of([0, theta, 0, 0], {"term": "cos", "of": "theta", "target": 3.0})
    assert found == pytest.approx(math.cos(distance), abs=1e-9)


def test_an_angle_is_wrapped_without_a_target_too() -> None:
    assert reward_of([0, 7.0, 0, 0], {"term": "abs", "of": "theta"}) == pytest.approx(
        7.0 - 2.0 * math.pi
    )


@given(st.floats(-1e4, 1e4))
def test_wrapping_keeps_the_angle_and_stays_within_half_a_turn(angle: float) -> None:
    wrapped = wrap(torch.tensor(angle, dtype=torch.float64)).item()
    assert -math.pi <= wrapped <= math.pi
    assert math.cos(wrapped - angle) == pytest.approx(1.0, abs=1e-12)


def test_half_a_turn_is_pi_and_not_minus_pi() -> None:
    both = torch.tensor([math.pi, -math.pi], dtype=torch.float64)
    assert wrap(both).tolist() == [math.pi, math.pi]


@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_state_that_is_not_finite_is_never_hidden(column: int, value: float) -> None:
    state = torch.zeros(3, 4)
    state[1, column] = value
    assert reward_function(SPEC)(state, torch.zeros(3, 1)).isnan().tolist() == [False, True, False]
    assert RangeTermination(SPEC)(state).tolist() == [False, True, False]
    assert not goal_function(SPEC)(state[1].double().numpy())
    assert goal_function(SPEC)(state[0].double().numpy())


def test_a_reward_of_the_action_alone_still_shows_a_broken_state() -> None:
    assert math.isnan(reward_of([NAN, 0, 0, 0], {"term": "square", "of": "force"}))


def test_the_reward_leaves_its_arguments_alone() -> None:
    state, action = torch.ones(5, 4), torch.ones(5, 1)
    terms = [{"term": "linear", "of": name} for name in ("x", "force", "x_dot")]
    result = reward_function(rewarding(*terms))(state, action)
    assert result.tolist() == [3.0] * 5
    assert state.eq(1.0).all() and action.eq(1.0).all()


def test_one_action_is_shared_by_all_members_of_an_ensemble() -> None:
    result = reward_function(rewarding({"term": "linear", "of": "force"}))(
        torch.zeros(3, 2, 4), torch.tensor([[1.0], [2.0]])
    )
    assert result.tolist() == [[1.0, 2.0]] * 3


def test_the_reward_can_be_differentiated() -> None:
    torch.manual_seed(0)
    state = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    action = torch.randn(6, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(reward_function(SPEC), (state, action))


def test_an_episode_ends_outside_the_range_and_not_on_its_edge() -> None:
    x = torch.tensor([-5.1, -5.0, 0.0, 5.0, 5.1])
    state = torch.stack([x, *[torch.zeros(5)] * 3], dim=-1)
    assert RangeTermination(SPEC)(state).tolist() == [True, False, False, False, True]
    assert RangeTermination(SPEC)(state[0]).item() is True


def test_a_range_may_be_open_on_one_side() -> None:
    spec = SPEC.with_overrides(termination=[{"of": "x", "max": 1.0}, {"of": "x_dot", "min": -1.0}])
    state = torch.tensor([[2.0, 0, 0, 0], [-9.0, 0, 9.0, 0], [0, 0, -2.0, 0]])
    assert RangeTermination(spec)(state).tolist() == [True, False, True]


def test_an_angle_is_wrapped_before_its_range_is_checked() -> None:
    spec = SPEC.with_overrides(termination=[{"of": "theta", "min": -0.5, "max": 0.5}])
    theta = torch.tensor([0.0, 2.0 * math.pi, 1.0, -2.0 * math.pi - 1.0])
    state = torch.stack([torch.zeros(4), theta, torch.zeros(4), torch.zeros(4)], dim=-1)
    assert RangeTermination(spec)(state).tolist() == [False, False, True, True]


def test_without_ranges_only_a_broken_state_ends_an_episode() -> None:
    spec = SPEC.with_overrides(termination=[])
    state = torch.tensor([[1e6, 0, 0, 0], [NAN, 0, 0, 0]])
    assert RangeTermination(spec)(state).tolist() == [False, True]


def cost_of(states: list[list[float]], *constraints: dict[str, Any]) -> list[float]:
    numbers = {"margin": 0.5, "weight": 3.0}
    spec = SPEC.with_overrides(constraints=[numbers | c for c in constraints])
    cost = constraint_function(spec)
    assert cost is not None
    return cost(torch.tensor(states, dtype=torch.float64)).tolist()


def test_a_constraint_costs_nothing_outside_its_margin_and_the_square_from_there_on() -> None:
    x = [0.0, 0.5, 0.75, 1.0, 1.5, -1.5, -1.75, -2.0, -3.0]
    cost = cost_of([[value, 0, 0, 0] for value in x], {"of": "x", "min": -2.0, "max": 1.0})
    nearness = [0.0, 0.0, 0.5, 1.0, 2.0, 0.0, 0.5, 1.0, 3.0]
    assert cost == pytest.approx([3.0 * n**2 for n in nearness])


def test_a_constraint_may_be_open_on_one_side_and_several_add_up() -> None:
    constraints = [{"of": "x", "max": 1.0}, {"of": "x_dot", "min": -1.0, "weight": 7.0}]
    states = [[1.0, 0, 0, 0], [-9.0, 0, 9.0, 0], [1.0, 0, -1.0, 0]]
    assert cost_of(states, *constraints) == pytest.approx([3.0, 0.0, 10.0])


def test_an_angle_is_wrapped_before_it_is_compared_with_a_limit() -> None:
    turn = 2.0 * math.pi
    states = [[0, 1.0, 0, 0], [0, 1.0 + turn, 0, 0], [0, 0.5 - turn, 0, 0]]
    assert cost_of(states, {"of": "theta", "max": 1.0}) == pytest.approx([3.0, 3.0, 0.0])


def test_the_cost_of_a_constraint_has_the_shape_of_the_batch_and_hides_no_broken_state() -> None:
    cost = constraint_function(SPEC)
    assert cost is not None
    assert cost(torch.zeros(3, 5, 4)).shape == (3, 5) and cost(torch.zeros(4)).shape == ()
    assert cost(torch.tensor([0.0, 0.0, NAN, 0.0])).isnan()


def test_without_constraints_there_is_no_cost_to_compute() -> None:
    assert constraint_function(SPEC.with_overrides(constraints=[])) is None


def test_the_task_of_a_spec_has_its_constraints() -> None:
    assert Task.of(SPEC.with_overrides(constraints=[])).constraint is None
    constraint = Task.of(SPEC).constraint
    assert constraint is not None and constraint(torch.tensor([4.5, 0.0, 0.0, 0.0])) == 5.0


def test_the_goal_holds_when_all_its_conditions_do() -> None:
    conditions = [
        {"term": "cos", "of": "theta", "min": 0.95},
        {"term": "abs", "of": "x", "target": 1.0, "max": 0.5},
    ]
    reached = goal_function(SPEC.with_overrides(goal={"conditions": conditions}))
    assert reached(np.array([1.4, 0.1, 9.0, 9.0]))
    assert not reached(np.array([0.0, 0.1, 0.0, 0.0]))
    assert not reached(np.array([1.0, math.pi, 0.0, 0.0]))


def test_without_a_goal_nothing_reaches_it() -> None:
    assert goal_function(SPEC.with_overrides(goal=None))(np.zeros(4)) is False
