"""Learned rewards and ends, of tasks whose rewards and ends are known."""

import math

import numpy as np
import pytest
import torch

from mbrl_node.data import ReplayBuffer, Transition, records_of
from mbrl_node.learning.trainer import Trainer, TrainerConfig
from mbrl_node.models import ModelConfig, RewardModel, TerminationModel, WorldModel
from mbrl_node.spec.system import BoxSystem
from mbrl_node.spec.task import Task

SYSTEM = BoxSystem("pendulum", 0.05, ("theta", "omega", "k"), ("u",), -2.0, 2.0, ("theta",))
DYNAMICS = ModelConfig(members=1, hidden=(4,), probabilistic=False)
# A field that stands for ever at a large value, but for the rounding of its sensor.
LARGE = 1e6


def samples(count: int, seed: int, width: float = 1.0):
    rng = np.random.default_rng(seed)
    theta, omega = rng.uniform(-math.pi, math.pi, count), rng.uniform(-8, 8, count)
    k = LARGE + 0.06 * rng.integers(-1, 2, count)
    state = np.stack((width * theta, width * omega, k), 1)
    action = rng.uniform(-2, 2, (count, 1))
    faster = state[:, 1] + (15 * np.sin(state[:, 0]) + 3 * action[:, 0]) * 0.05
    turned = (state[:, 0] + faster * 0.05 + math.pi) % (2 * math.pi) - math.pi
    reward = -(state[:, 0] ** 2 + 0.1 * state[:, 1] ** 2 + 0.001 * action[:, 0] ** 2)
    return state, action, np.stack((turned, faster, k), 1), reward


def learned(count: int, steps: int, ends: bool, width: float = 1.0) -> WorldModel:
    torch.manual_seed(0)
    state, action, next_state, reward = samples(count, 0, width)
    end = (np.abs(next_state[:, 1]) > 6.0) & ends
    buffer = ReplayBuffer(3, 1)
    rows = [
        Transition(1, k, k, 0, 0, 0, s, a, a, n, r, bool(e), False, "", 0)
        for k, (s, a, n, r, e) in enumerate(
            zip(state, action, next_state, reward, end, strict=True)
        )
    ]
    buffer.add(records_of(rows, 3, 1))
    world = WorldModel.for_task(SYSTEM, Task(), DYNAMICS)
    Trainer(world, TrainerConfig(batch_size=128)).train(buffer, steps)
    return world.requires_grad_(False)


@pytest.fixture(scope="module")
def world() -> WorldModel:
    return learned(2000, 1200, ends=True)


def tensors(*arrays):
    return tuple(torch.as_tensor(x, dtype=torch.float32) for x in arrays)


def test_the_reward_of_a_pendulum_is_learned_to_five_percent_of_its_spread(world):
    state, action, next_state, reward = tensors(*samples(1000, 1))
    found = world.reward(state, action, next_state)
    assert found.shape == (1000,)
    assert (found - reward).square().mean().sqrt() < 0.05 * reward.std()


def test_a_threshold_is_learned_as_the_end_of_an_episode(world):
    _, _, next_state, _ = tensors(*samples(2000, 1))
    end = next_state[:, 1].abs() > 6.0
    found = world.termination(next_state)
    assert found.dtype == torch.bool
    assert (found == end).float().mean() > 0.97
    clear = (next_state[:, 1].abs() - 6.0).abs() > 0.5
    assert torch.equal(found[clear], end[clear])


def test_before_an_end_was_seen_no_state_ends_an_episode_however_far_off():
    world = learned(200, 100, ends=False, width=0.01)
    states = 1e3 * torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    assert not world.termination(states).any()
    assert not TerminationModel(SYSTEM)(states).any()


def test_what_is_learned_stands_in_for_what_is_not_given_and_nothing_else(world):
    def given(state, action, next_state):
        return state[..., 0]

    whole = world.completed(Task())
    assert whole.reward is world.reward and whole.termination is world.termination
    assert world.completed(Task(reward=given)).reward is given
    partly = WorldModel.for_task(SYSTEM, Task(reward=given), DYNAMICS)
    assert partly.reward is None and partly.termination is not None


def test_states_and_actions_of_any_leading_shape_have_a_reward_and_an_end(world):
    state, action = torch.rand(4, 2, 5, 3), torch.rand(4, 2, 5, 1)
    expected = torch.stack([world.reward(s, a, s) for s, a in zip(state, action, strict=True)])
    torch.testing.assert_close(world.reward(state, action, state), expected)
    # A rollout of one member broadcasts its actions without a copy.
    shared = action[:, :1].expand(-1, 2, -1, -1)
    assert world.reward(state, shared, state).shape == (4, 2, 5)
    assert world.termination(state).shape == (4, 2, 5)


def test_a_reward_that_is_always_the_same_is_learned_as_that():
    model = RewardModel(SYSTEM)
    state, action, next_state, _ = tensors(*samples(50, 0))
    model.fit_normalizer(state, torch.full((50,), -3.0))
    assert torch.isfinite(model.loss(state, action, next_state, torch.full((50,), -3.0)))
    assert (model(state, action, next_state) + 3.0).abs().max() < 10


def test_a_narrow_beginning_does_not_put_the_rest_of_a_known_range_far_away():
    model = RewardModel(SYSTEM)
    state, _, next_state, reward = tensors(*samples(50, 0, width=1e-3))
    model.fit_normalizer(state, reward)
    state[:, 0], next_state[:, 0] = 3.0, 3.0
    inputs = [model._features(model._geometry.features(s))[..., -2:] for s in (state, next_state)]
    assert max(float(x.abs().max()) for x in inputs) <= 1.0


def test_a_rare_end_is_found():
    torch.manual_seed(0)
    model = TerminationModel(SYSTEM)
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(2000, 3, generator=generator)
    end = (state[:, 1] > 2.2).float()
    assert end.mean() < 0.02
    model.fit_normalizer(state, end)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(200):
        loss = model.loss(state, end)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    test = torch.randn(5000, 3, generator=generator)
    found, true = model(test), test[:, 1] > 2.2
    assert found[test[:, 1] > 2.5].float().mean() > 0.95
    assert found[~true].float().mean() < 0.02
