"""The dynamics model: what it looks at, how it is scaled, and that members are their own."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl_node.models import DynamicsModel, ModelConfig
from mbrl_node.spec import load_spec
from mbrl_node.spec.system import BoxSystem

SPEC = load_spec("cartpole")
SMALL = ModelConfig(members=3, hidden=(16,))
THETA = SPEC.state_names.index("theta")


def random_batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 4, generator=generator), torch.randn(size, 1, generator=generator)


def test_a_full_turn_of_an_angle_changes_no_prediction():
    model = DynamicsModel(SPEC, SMALL)
    state, action = random_batch(8)
    turned = state.clone()
    turned[:, THETA] += 2 * math.pi
    change = model.predict(state.expand(3, -1, -1), action.expand(3, -1, -1)) - state
    change_turned = model.predict(turned.expand(3, -1, -1), action.expand(3, -1, -1)) - turned
    torch.testing.assert_close(change, change_turned, atol=1e-5, rtol=1e-5)


def test_a_step_over_the_jump_of_an_angle_is_a_small_step():
    model = DynamicsModel(SPEC, SMALL)
    state, action = random_batch(64)
    state[:, THETA] = math.pi - 0.05
    next_state = state.clone()
    next_state[:, THETA] = -math.pi + torch.linspace(0.0, 0.1, 64)
    model.fit_normalizer(state, action, next_state)
    assert abs(model.delta_mean[THETA] - 0.1) < 1e-3 and model.delta_std[THETA] < 0.1


def test_a_dimension_that_never_changes_does_not_blow_up():
    model = DynamicsModel(SPEC, SMALL)
    state, action = random_batch(32)
    state[:, 2] = 0.7
    model.fit_normalizer(state, action, state.clone())
    loss = model.loss(*(x.expand(3, -1, -1) for x in (state, action, state)))
    assert (
        torch.isfinite(loss).all()
        and torch.isfinite(model.predict(state.expand(3, -1, -1), action.expand(3, -1, -1))).all()
    )


def test_early_data_does_not_put_the_rest_of_a_known_range_far_away():
    model = DynamicsModel(SPEC, SMALL)
    state, action = random_batch(32)
    state[:, THETA] = math.pi + 0.01 * state[:, THETA]
    model.fit_normalizer(state, 0.1 * action, state + 0.01)
    sine, cosine, force = (model.input_std[-3], model.input_std[-2], model.input_std[-1])
    assert (sine, cosine, force) == (1.0, 1.0, 5.0)


def test_a_field_that_the_model_does_not_look_at_changes_no_prediction():
    model = DynamicsModel(SPEC, SMALL)
    state, action = (x.expand(3, -1, -1) for x in random_batch(8))
    moved = state.clone()
    moved[..., 0] += 100.0
    torch.testing.assert_close(
        model.predict(state, action)[..., 1:], model.predict(moved, action)[..., 1:]
    )


def test_members_are_independent():
    model = DynamicsModel(SPEC, SMALL)
    state, action = (x.expand(3, -1, -1) for x in random_batch(8))
    before = model.predict(state, action)
    with torch.no_grad():
        for weight in model.net.weights:
            weight[1] += 0.1
    after = model.predict(state, action)
    assert torch.equal(before[0], after[0]) and torch.equal(before[2], after[2])
    assert not torch.equal(before[1], after[1])


# Scales. A robot with a field that stands at a large value but for the rounding of its sensor, and
# one whose numbers are tiny.
MIXED = BoxSystem("mixed", 0.1, ("x", "pressure", "charge"), ("u",), -4.0, 2.0)


def mixed(count: int, pressure: float, rounding: float, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn(count, 3, generator=generator)
    action = torch.rand(count, 1, generator=generator) * 6 - 4
    steps = torch.randint(-1, 2, (2, count), generator=generator)
    state[:, 1], state[:, 2] = pressure + rounding * steps[0], 1e-4 * state[:, 2]
    next_state = state.clone()
    next_state[:, 0] += 0.1 * action[:, 0] - 0.1 * state[:, 0]
    next_state[:, 1] = pressure + rounding * steps[1]
    next_state[:, 2] *= 0.9
    return state, action, next_state


@pytest.mark.parametrize(
    ("pressure", "rounding"),
    [(1e6, 0.0), (1e6, 0.0625), (-1e6, 0.0625), (0.0, 0.0), (3.0, 1e-7), (0.0, 1e-9)],
)
def test_a_field_that_is_constant_but_for_rounding_spoils_nothing(pressure, rounding):
    torch.manual_seed(0)
    model = DynamicsModel(MIXED, ModelConfig(members=2, hidden=(16,)))
    data = mixed(400, pressure, rounding)
    model.fit_normalizer(*data)
    inputs = model._inputs(*data[:2])
    assert torch.isfinite(inputs).all() and inputs.abs().max() < 6
    assert inputs[:, 1].abs().max() < 0.1  # its noise is not blown up
    batch = [x.expand(2, -1, -1) for x in data]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(300):
        loss = model.loss(*batch, beta=1.0).mean(1).sum() + model.net.bound_loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    state, action, next_state = mixed(200, pressure, rounding, seed=1)
    found = model.predict(*(x.expand(2, -1, -1) for x in (state, action))).mean(0)
    error = (found - next_state).square().mean(0).sqrt()
    assert error[0] < 0.02 and error[2] < 3e-6
    assert error[1] <= 2 * rounding + 1e-6 * max(1.0, abs(pressure))


def test_what_hardly_varies_in_the_first_data_may_vary_later():
    model = DynamicsModel(MIXED, ModelConfig(members=2, hidden=(16,)))
    model.fit_normalizer(*mixed(20, 1e6, 0.0625))
    state, action, _ = mixed(20, 1e6 + 500.0, 100.0)
    inputs = model._inputs(state, action)
    assert torch.isfinite(inputs).all() and inputs[:, 1].max() < 1000
    assert torch.isfinite(model.predict(state.expand(2, -1, -1), action.expand(2, -1, -1))).all()


def test_inputs_and_targets_are_normalised_and_actions_by_their_limits():
    model = DynamicsModel(MIXED, ModelConfig(members=1, hidden=(4,)))
    state, action, next_state = mixed(500, 3.0, 1.0)
    model.fit_normalizer(state, action, next_state)
    inputs = model._inputs(state, action)
    for data in (
        inputs[:, :3],
        (model.difference(state, next_state) - model.delta_mean) / model.delta_std,
    ):
        assert data.mean(0).abs().max() < 1e-3 and (data.std(0) - 1).abs().max() < 1e-2
    limits = model._inputs(state[:2], torch.tensor([[-4.0], [2.0]]))[:, 3]
    assert limits.tolist() == [-1.0, 1.0]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 3), st.integers(1, 4), st.floats(-1e4, 1e4), st.floats(1e-4, 1e4))
def test_what_is_normalised_comes_back_in_its_own_units(members, history, offset, scale):
    """The prediction of a network that is always right is right."""
    system = BoxSystem("line", 0.1, ("x", "y"), ("u",), -1.0, 1.0)
    config = ModelConfig(members=members, hidden=(), probabilistic=False, history=history)
    model = DynamicsModel(system, config).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    state = offset + scale * torch.randn(30, model.model_state_dim, generator=generator)
    action = torch.randn(30, 1, generator=generator)
    next_state = state[:, :2] + scale * (3 + torch.randn(30, 2, generator=generator))
    model.fit_normalizer(state, action, next_state)
    model.net.weights[0][:], model.net.biases[0][:] = 0.0, 0.5
    expected = state[:, :2] + model.delta_mean + 0.5 * model.delta_std
    predicted = model.predict(state.expand(members, -1, -1), action.expand(members, -1, -1))
    tolerance = 1e-5 * (abs(offset) + 10 * scale)
    torch.testing.assert_close(
        predicted[..., :2], expected.expand(members, -1, -1), atol=tolerance, rtol=1e-5
    )
    mean, std = model.distribution(state.expand(members, -1, -1), action.expand(members, -1, -1))
    torch.testing.assert_close(mean[0], model.delta_mean + 0.5 * model.delta_std.expand(30, -1))
    assert (std == 0).all()


@pytest.mark.parametrize("history", [1, 3])
def test_samples_have_the_mean_and_the_spread_that_the_distribution_says(history):
    torch.manual_seed(0)
    model = DynamicsModel(SPEC, ModelConfig(members=2, hidden=(8,), history=history))
    model.requires_grad_(False).delta_std[:] = torch.tensor([0.1, 2.0, 3.0, 0.5])
    state = torch.randn(model.model_state_dim).expand(2, 20000, -1)
    action = torch.ones(2, 20000, 1)
    mean, std = model.distribution(state[:, :1], action[:, :1])
    noise = torch.randn(2, 20000, 4, generator=torch.Generator().manual_seed(0))
    drawn = model.sample(state, action, noise)
    change = drawn[..., :4] - state[..., :4]
    torch.testing.assert_close(change.mean(1), mean[:, 0], atol=0.06, rtol=0.02)
    torch.testing.assert_close(change.std(1), std[:, 0], atol=1e-3, rtol=0.03)
    if history > 1:  # the past is known
        assert torch.equal(drawn[..., 4:9], torch.cat((state[..., :4], action), -1))


def test_extreme_states_give_finite_predictions_and_bounded_noise():
    model = DynamicsModel(SPEC, SMALL)
    state, action = (x.expand(3, -1, -1) for x in random_batch(64))
    model.fit_normalizer(state[0], action[0], state[0] + 0.1 * torch.randn(64, 4))
    for size in (1e3, 1e6, -1e6):
        mean, std = model.distribution(size * state, size * action)
        assert torch.isfinite(mean).all() and torch.isfinite(std).all()
        assert (std <= model.delta_std * math.exp(0.5 * 0.51)).all()
        assert (std >= model.delta_std * math.exp(0.5 * -10.01)).all()


def test_the_error_is_zero_where_perfect_and_one_where_only_the_mean_change_is_predicted():
    model = DynamicsModel(MIXED, ModelConfig(members=2, hidden=(), probabilistic=False))
    model.requires_grad_(False)
    state, action, next_state = mixed(300, 3.0, 1.0)
    model.fit_normalizer(state, action, next_state)
    for parameter in (*model.net.weights, *model.net.biases):
        parameter[:] = 0.0
    assert abs(model.error(state, action, next_state) - 1) < 1e-3
    assert model.error(state, action, state + model.delta_mean) < 1e-2
