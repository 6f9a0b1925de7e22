"""The actor and the critic as functions: bounds, scales, and the file they are kept in."""

import numpy as np
import pytest
import torch
from torch import nn

from mbrl_node.models import ModelConfig, WorldModel, load_checkpoint, save_checkpoint
from mbrl_node.models.policy import Actor, Policy, PolicyConfig
from mbrl_node.spec import load_spec
from mbrl_node.spec.system import BoxSystem

FLYER = BoxSystem(
    "flyer",
    0.05,
    ("z", "qx", "qy", "qz", "qw", "tilt", "z_dot"),
    ("up", "turn"),
    np.array([0.0, -2.0]),
    np.array([10.0, 2.0]),
    angles=("tilt",),
    quaternions=((1, 2, 3, 4),),
)


def trained(system=FLYER, seed=0, hidden=(24, 16)) -> Policy:
    """Not really, but with weights and scales that are not those of a new one."""
    torch.manual_seed(seed)
    policy = Policy(system, PolicyConfig(hidden=hidden))
    for network in (policy.actor, policy.critic):
        nn.init.normal_(network[-1].weight)
        nn.init.normal_(network[-1].bias)
    policy.fit_normalizer(3.0 * states(200, system) + 1.0)
    policy.rescale(torch.linspace(-30.0, 5.0, 50))
    return policy.requires_grad_(False)


def states(count: int, system=FLYER) -> torch.Tensor:
    return torch.randn(count, system.state_dim, generator=torch.Generator().manual_seed(1))


def test_before_any_training_it_does_nothing_and_expects_nothing():
    policy = Policy(FLYER)
    assert torch.equal(policy.act(states(5)), torch.tensor([[5.0, 0.0]]).expand(5, 2))
    assert torch.equal(policy.value(states(5)), torch.zeros(5))


def test_actions_lie_within_each_ones_bounds_whatever_the_state_and_the_noise():
    policy = trained()
    noise = 100 * torch.randn(500, 2, generator=torch.Generator().manual_seed(2))
    for actions in (policy.act(50 * states(500)), policy.act(states(500), noise)):
        assert (actions >= torch.tensor([0.0, -2.0])).all()
        assert (actions <= torch.tensor([10.0, 2.0])).all()
        assert (actions.std(0) > 0.5).all()


def test_the_noise_has_the_configured_part_of_each_half_range():
    policy = Policy(FLYER, PolicyConfig(noise=0.2))
    noise = torch.randn(20000, 2, generator=torch.Generator().manual_seed(3))
    spread = policy.act(states(1).expand(20000, -1), noise).std(0)
    torch.testing.assert_close(spread, torch.tensor([1.0, 0.4]), rtol=0.03, atol=0.0)


def test_a_change_of_scale_changes_no_value():
    policy, at = trained(), states(20)
    before = policy.value(at)
    policy.rescale(torch.tensor([1000.0, 4000.0, torch.nan, torch.inf]))
    assert float(policy.value_mean) == 2500.0 and float(policy.value_std) == 1500.0
    torch.testing.assert_close(policy.value(at), before, rtol=1e-4, atol=1e-2)
    policy.rescale(torch.full((4,), torch.nan))
    assert float(policy.value_mean) == 2500.0
    policy.rescale(torch.full((4,), 7.0))  # all the same: no division by zero
    assert float(policy.value_std) == 1.0 and torch.isfinite(policy.value(at)).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_state_that_is_not_finite_has_no_value(bad):
    policy, at = trained(), states(7)
    at[torch.arange(7), torch.arange(7)] = bad
    assert policy.value(at).isnan().all()


def test_values_stay_bounded_far_from_all_data():
    policy = trained()
    limit = policy.critic[-1].weight.abs().sum() + policy.critic[-1].bias.abs().sum()
    far = (policy.value(1e6 * states(100)) - policy.value_mean) / policy.value_std
    assert (far.abs() <= limit).all()


def test_it_looks_at_what_the_dynamics_does_not_depend_on():
    spec = load_spec("cartpole")
    assert "x" not in spec.model_inputs
    policy, at = trained(spec), torch.zeros(2, 4)
    at[1, spec.state_names.index("x")] = 1.0
    values, actions = policy.value(at), policy.act(at)
    assert values[0] != values[1] and actions[0] != actions[1]


def test_of_a_model_state_with_history_it_sees_the_present_state():
    policy, now = trained(), states(6)
    model_state = torch.cat((now, torch.randn(6, 9)), 1)
    assert torch.equal(policy.act(model_state), policy.act(now))
    assert torch.equal(policy.value(model_state), policy.value(now))


def test_the_fast_actor_is_the_same_function():
    policy, at = trained(), 3 * states(100)
    fast = Actor(policy)
    actions = np.stack([fast(state) for state in at.double().numpy()])
    np.testing.assert_allclose(actions, policy.act(at).numpy(), rtol=1e-4, atol=1e-4)


def test_a_checkpoint_gives_the_same_policy_back(tmp_path):
    config = PolicyConfig(train=True, hidden=(24, 16), discount_time=3.0)
    world = WorldModel(FLYER, ModelConfig(members=2, hidden=(8,)), policy=config)
    assert world.policy is not None
    world.policy.load_state_dict(trained().state_dict())
    save_checkpoint(world, tmp_path / "m.safetensors", {"version": 1})
    loaded, _ = load_checkpoint(tmp_path / "m.safetensors", FLYER)
    assert loaded.policy is not None and loaded.policy.config == config
    assert torch.equal(loaded.policy.act(states(9)), world.policy.act(states(9)))
    assert torch.equal(loaded.policy.value(states(9)), world.policy.value(states(9)))


def test_a_checkpoint_without_a_policy_has_none(tmp_path):
    save_checkpoint(WorldModel(FLYER, ModelConfig(members=1, hidden=(4,))), tmp_path / "m", {})
    assert load_checkpoint(tmp_path / "m", FLYER)[0].policy is None
