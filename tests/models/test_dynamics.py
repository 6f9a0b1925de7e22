"""The dynamics model and its checkpoints."""

import math

import torch

from mbrl_node.models import DynamicsModel, ModelConfig
from mbrl_node.spec import load_spec

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
