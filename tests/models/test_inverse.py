"""The inverse dynamics model, and the check on a forward model that it allows."""

import math

import pytest
import torch

from mbrl_node.data import Batch
from mbrl_node.learning import fit
from mbrl_node.models import (
    DynamicsModel,
    InverseConfig,
    InverseModel,
    ModelConfig,
    inverse_consistency,
)
from mbrl_node.spec import load_spec
from mbrl_node.spec.system import BoxSystem

DT, EPISODES, LENGTH = 0.05, 60, 50
# Two masses, each pushed by one of the actions, which have different limits.
SYSTEM = BoxSystem("masses", DT, ("x", "y", "vx", "vy"), ("ax", "ay"), [-2, -1], [2, 5])


def step(state, action):
    position, velocity = state[..., :2], state[..., 2:]
    return torch.cat((position + velocity * DT, velocity + action * DT), -1)


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    low, high = torch.tensor(SYSTEM.action_min), torch.tensor(SYSTEM.action_max)
    state = 2 * torch.rand(EPISODES, 4, generator=generator) - 1
    rows = []
    for _ in range(LENGTH):
        action = low + (high - low) * torch.rand(EPISODES, 2, generator=generator)
        following = step(state, action.float())
        rows.append((state, action.float(), following))
        state = following
    state, action, following = (torch.stack(x, 1).flatten(0, 1) for x in zip(*rows, strict=True))
    first = torch.arange(EPISODES).repeat_interleave(LENGTH) * LENGTH
    none = torch.zeros(len(state))
    return Batch(state, action, following, none, none), first


@pytest.fixture(scope="module")
def inverse(data):
    torch.manual_seed(0)
    model = InverseModel(SYSTEM, InverseConfig(steps=1, members=3, hidden=(64, 64)))
    fit(model, *model.rows(*data), batch_size=256, max_epochs=60)
    return model


@pytest.fixture(scope="module")
def forward(data):
    torch.manual_seed(0)
    model = DynamicsModel(SYSTEM, ModelConfig(members=3, hidden=(64, 64)))
    batch, first = data
    rows = (batch.state, batch.action, batch.next_state)
    fit(model, rows, first, batch_size=256, max_epochs=60)
    return model


def test_the_action_between_two_states_is_recovered(inverse):
    generator = torch.Generator().manual_seed(1)
    state = torch.rand(200, 4, generator=generator) - 0.5
    action = torch.tensor([-2.0, -1.0]) + torch.tensor([4.0, 6.0]) * torch.rand(
        200, 2, generator=generator
    )
    recovered, std = inverse.predict(state, step(state, action))
    assert recovered.shape == std.shape == (200, 2)
    assert (inverse.error(state, step(state, action), action) < 0.06).all()
    assert (std.median(0).values < 0.2).all()


def test_two_actions_that_lead_to_the_same_state_are_seen_in_the_deviation():
    system = BoxSystem("square", DT, ("x",), ("a",), -1.0, 1.0)
    generator = torch.Generator().manual_seed(0)
    state = torch.rand(2000, 1, generator=generator)
    action = 2 * torch.rand(2000, 1, generator=generator) - 1
    torch.manual_seed(0)
    model = InverseModel(system, InverseConfig(steps=1, members=3, hidden=(32, 32)))
    rows = (state, state + action.square(), action)
    fit(model, rows, torch.arange(2000), batch_size=256, max_epochs=40)
    start = torch.full((3, 1), 0.5)
    mean, std = model.predict(start, start + torch.tensor([[0.09], [0.36], [0.81]]))
    assert (mean.abs() < 0.15).all()
    torch.testing.assert_close(std, torch.tensor([[0.3], [0.6], [0.9]]), atol=0.1, rtol=0)


def test_the_forward_model_agrees_with_the_inverse_model(inverse, forward, data):
    batch = data[0][::7]
    error = inverse_consistency(forward, inverse, batch.state, batch.action)
    assert error.shape == (2,) and (error < 0.15).all()


def test_a_forward_model_with_the_sign_of_one_action_flipped_is_exposed_at_that_action(
    inverse, forward, data
):
    class Flipped(torch.nn.Module):
        members, state_dim = forward.members, forward.state_dim

        def predict(self, state, action):
            return forward.predict(state, action * torch.tensor([1.0, -1.0]))

    batch = data[0][::7]
    batch = batch[batch.action[:, 1].abs() < 1]  # so that the flipped action is possible, too
    right = inverse_consistency(forward, inverse, batch.state, batch.action)
    wrong = inverse_consistency(Flipped(), inverse, batch.state, batch.action)
    # The actions lie within a third of the half range: twice their RMS, 1 / sqrt(27).
    assert right[1] < 0.15 and wrong[1] == pytest.approx(2 / math.sqrt(27), abs=0.05)
    assert wrong[0] < 0.15


def test_a_forward_model_that_has_learned_nothing_is_exposed(inverse, data):
    torch.manual_seed(0)
    untrained = DynamicsModel(SYSTEM, ModelConfig(members=3, hidden=(64, 64)))
    batch = data[0][::7]
    assert (inverse_consistency(untrained, inverse, batch.state, batch.action) > 0.8).all()


def test_the_check_needs_a_model_of_one_step(forward, data):
    several = InverseModel(SYSTEM, InverseConfig(steps=2, members=1, hidden=(8,)))
    with pytest.raises(ValueError, match="2 steps"):
        inverse_consistency(forward, several, data[0].state, data[0].action)
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        InverseConfig(steps=0)


def test_rows_of_several_steps_do_not_reach_over_a_break():
    state = torch.arange(7.0)[:, None].expand(-1, 4)
    batch = Batch(state, state[:, :2], state + 1, torch.zeros(7), torch.zeros(7))
    first = torch.tensor([0, 0, 0, 3, 4, 4, 4])  # a sequence of three, one of one, one of three
    model = InverseModel(SYSTEM, InverseConfig(steps=3, members=1, hidden=(8,)))
    (start, end, action), first = model.rows(batch, first)
    assert start[:, 0].tolist() == action[:, 0].tolist() == [0.0, 4.0]
    assert end[:, 0].tolist() == [3.0, 7.0] and first.tolist() == [0, 4]


def test_a_full_turn_of_an_angle_changes_no_action():
    spec = load_spec("cartpole")
    model = InverseModel(spec, InverseConfig(steps=1, members=2, hidden=(16,)))
    generator = torch.Generator().manual_seed(0)
    state, following = torch.randn(2, 5, 4, generator=generator)
    turned = following.clone()
    turned[:, spec.state_names.index("theta")] += 2 * math.pi
    one, other = model.predict(state, following), model.predict(state, turned)
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_fit_with_the_same_seed_gives_the_same_bits(data):
    batch, first = data
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        model = InverseModel(SYSTEM, InverseConfig(steps=1, members=2, hidden=(8,)))
        fit(model, *model.rows(batch[:200], first[:200]), seed=5, max_epochs=3)
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_a_fit_that_fails_leaves_the_weights_as_they_were(data):
    batch, first = data
    model = InverseModel(SYSTEM, InverseConfig(steps=1, members=2, hidden=(8,)))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    rows, first = model.rows(batch[:100], first[:100])
    rows[2][:] = torch.nan
    with pytest.raises(FloatingPointError):
        fit(model, rows, first, patience=2)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    with pytest.raises(ValueError, match="fewer than two"):
        fit(model, tuple(x[:1] for x in rows), first[:1])
