"""What the models learn of systems that are known: their dynamics, their noise, their delay."""

import math

import numpy as np
import pytest
import torch

from mbrl_node.data import ReplayBuffer, Transition, records_of
from mbrl_node.learning.trainer import Trainer, TrainerConfig
from mbrl_node.models import DynamicsModel, ModelConfig, WorldModel
from mbrl_node.spec.system import BoxSystem, System

PENDULUM = BoxSystem("pendulum", 0.05, ("theta", "omega"), ("u",), -2.0, 2.0, ("theta",))
LINE = BoxSystem("line", 0.1, ("x", "y"), ("u",), -1.0, 1.0)


def buffer_of(state, action, next_state, episode_length: int = 50) -> ReplayBuffer:
    """Steps as arrays [B, ...], one episode after the other."""
    buffer = ReplayBuffer(state.shape[1], action.shape[1])
    steps = [
        Transition(1, k, k // episode_length, k, 0, 0, s, a, a, n, 0.0, False, False, "", 0)
        for k, (s, a, n) in enumerate(zip(state, action, next_state, strict=True))
    ]
    buffer.add(records_of(steps, state.shape[1], action.shape[1]))
    return buffer


def pendulum(count: int, seed: int) -> ReplayBuffer:
    rng = np.random.default_rng(seed)
    theta, omega = rng.uniform(-math.pi, math.pi, count), rng.uniform(-8, 8, count)
    action = rng.uniform(-2, 2, (count, 1))
    faster = omega + (15 * np.sin(theta) + 3 * action[:, 0]) * 0.05
    turned = (theta + faster * 0.05 + math.pi) % (2 * math.pi) - math.pi
    return buffer_of(np.stack((theta, omega), 1), action, np.stack((turned, faster), 1))


def noisy(count: int, std, seed: int = 0) -> ReplayBuffer:
    """x changes smoothly and by noise of standard deviation std(y), y smoothly and without."""
    rng = np.random.default_rng(seed)
    state, action = rng.uniform(-1, 1, (count, 2)), rng.uniform(-1, 1, (count, 1))
    x, y, u = state[:, 0], state[:, 1], action[:, 0]
    change = np.stack((0.1 * np.sin(2 * x) + 0.1 * u, 0.05 * y - 0.1 * u), 1)
    change[:, 0] += std(y) * rng.normal(size=count)
    return buffer_of(state, action, state + change)


def trained(
    system: System,
    buffer: ReplayBuffer,
    steps: int,
    model: ModelConfig,
    **trainer,
) -> DynamicsModel:
    torch.manual_seed(0)
    world = WorldModel(system, model)
    config = TrainerConfig(**{"batch_size": 128, "learning_rate": 5e-3, **trainer})
    teacher = Trainer(world, config)
    teacher.train(buffer, steps)
    # A last part with small steps, as Adam's noise would otherwise be judged.
    for group in teacher._optimizer.param_groups:
        group["lr"] /= 10
    teacher.train(buffer, steps // 3)
    return world.dynamics.requires_grad_(False)


def error(model: DynamicsModel, buffer: ReplayBuffer) -> float:
    data = buffer.batch(model.config.history)
    return model.error(data.state, data.action, data.next_state)


@pytest.mark.parametrize(
    ("members", "probabilistic", "hidden", "activation"),
    [
        (1, False, (32, 32), "silu"),  # D
        (1, True, (32, 32), "silu"),  # P
        (3, False, (32, 32), "silu"),  # DE
        (3, True, (32, 32), "silu"),  # PE
        (2, True, (64,), "relu"),
        (2, True, (24, 16, 24), "tanh"),
        (2, True, (32, 32), "gelu"),
        (2, True, (48, 16), "leaky_relu"),
        (2, True, (16, 48), "elu"),
    ],
)
def test_every_kind_and_shape_learns_a_pendulum_to_three_percent_of_a_step(
    members, probabilistic, hidden, activation
):
    config = ModelConfig(
        members=members, probabilistic=probabilistic, hidden=hidden, activation=activation
    )
    model = trained(PENDULUM, pendulum(1000, 0), 500, config)
    assert error(model, pendulum(500, 1)) < 0.03


def grid(members: int) -> tuple[torch.Tensor, torch.Tensor]:
    states = torch.rand(500, 2, generator=torch.Generator().manual_seed(1)) * 1.8 - 0.9
    return states.expand(members, -1, -1), torch.zeros(members, 500, 1)


@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize(
    "std",
    [
        lambda y: 0.02 + 0 * y,
        lambda y: 0.2 + 0 * y,
        lambda y: 0.03 * np.exp(y),
    ],
    ids=["small and constant", "large and constant", "of the state"],
)
def test_the_noise_of_a_robot_is_found_to_ten_percent_and_spoils_nothing_else(beta, std):
    config = ModelConfig(members=2, hidden=(24, 24))
    model = trained(LINE, noisy(3000, std), 1000, config, beta=beta, batch_size=256)
    state, action = grid(2)
    mean, found = model.distribution(state, action)
    true = torch.as_tensor(std(state[0, :, 1].double().numpy())).float()
    assert abs(float((found[..., 0] / true).mean()) - 1) < 0.1
    # Where it is large it is found large: the slope of log over log is 1, if there is one.
    if true.std() > 1e-6:
        x, y = true.log(), found[..., 0].log().mean(0)
        slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
        assert abs(float(slope) - 1) < 0.1
    # The other field has no noise, and is learned as if the first had none.
    assert (mean[..., 1] - 0.05 * state[..., 1]).square().mean().sqrt() < 0.003
    assert found[..., 1].mean() < 0.005


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_long_training_does_not_close_the_bounds_of_the_variance_on_one_constant(beta):
    """With bounds that feel the weighted likelihood this ends with one variance everywhere."""
    torch.manual_seed(0)
    net = DynamicsModel(LINE, ModelConfig(members=1, hidden=(16,))).net
    x = torch.rand(1, 256, 3) * 2 - 1
    true = torch.exp(-3 + x[..., :1])  # standard deviations from 0.02 to 0.14
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(1000):
        target = torch.cat((true, true), -1) * torch.randn(1, 256, 2)
        loss = net.loss(x, target, beta).mean() + net.bound_loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _, log_variance = net(x)
    ratio = torch.exp(0.5 * log_variance) / true
    assert 0.9 < ratio.mean() < 1.1 and ratio.min() > 0.7 and ratio.max() < 1.6
    assert (net.max_log_variance > net.min_log_variance + 2).all()


@pytest.mark.parametrize("probabilistic", [False, True])
def test_the_spread_of_the_members_grows_with_the_distance_from_the_data(probabilistic):
    config = ModelConfig(members=5, hidden=(32, 32), probabilistic=probabilistic)
    model = trained(LINE, noisy(500, lambda y: 0.01 + 0 * y), 400, config)
    spreads = []
    for radius in (0.5, 2.0, 4.0, 8.0):
        angle = torch.linspace(0, 2 * math.pi, 65)[:-1]
        state = radius * torch.stack((angle.cos(), angle.sin()), 1)
        mean, _ = model.distribution(state.expand(5, -1, -1), torch.zeros(5, 64, 1))
        spreads.append(float(mean.std(0).mean()))
    assert spreads == sorted(spreads) and spreads[1] > 3 * spreads[0]
    assert spreads[-1] > 20 * spreads[0]


def oscillator(seed: int, delay: int, blind: bool, length: int = 1200) -> ReplayBuffer:
    """A mass on a spring, whose action may come late and whose velocity may not be measured."""
    rng = np.random.default_rng(seed)
    x, v, states, actions = rng.normal(), rng.normal(), [], []
    waiting = [0.0] * delay
    for k in range(length):
        if k % 50 == 0:
            x, v, waiting = rng.normal(), rng.normal(), [0.0] * delay
        u = rng.uniform(-1, 1)
        states.append([x, 0.0 if blind else v])
        actions.append([u])
        waiting.append(u)
        v += 0.1 * (10 * waiting.pop(0) - 4 * x)
        x += 0.1 * v
    state = np.array(states)
    # Episodes' last rows have the next episode's first state as successor: they are left out.
    keep = np.arange(length) % 50 != 49
    buffer = ReplayBuffer(2, 1)
    steps = [
        Transition(1, k, k // 50, k, 0, 0, state[k], a, a, state[k + 1], 0.0, False, False, "", 0)
        for k, a in enumerate(np.array(actions))
        if keep[k]
    ]
    buffer.add(records_of(steps, 2, 1))
    return buffer


@pytest.mark.parametrize(
    ("delay", "blind", "history"), [(0, True, 2), (1, False, 2), (2, False, 3)]
)
def test_a_history_learns_ten_times_better_what_the_present_does_not_tell(delay, blind, history):
    errors = {}
    for k in (1, history):
        config = ModelConfig(members=2, hidden=(32,), history=k)
        model = trained(LINE, oscillator(0, delay, blind), 400, config)
        data = oscillator(1, delay, blind).batch(k)
        # Without the padded starts of episodes, of which nobody can know how they came about.
        old = torch.arange(len(data)) % 49 >= 3
        errors[k] = model.error(data.state[old], data.action[old], data.next_state[old])
    assert errors[history] < 0.05 and errors[1] > 10 * errors[history]


@pytest.mark.parametrize("columns", [(0, 1, 2, 3), (1, 2, 3, 0)], ids=["x y z w", "w x y z"])
def test_a_body_that_turns_at_a_constant_rate_is_learned_and_predicted_for_a_full_turn(columns):
    names = tuple(f"q{i}" for i in range(4))
    system = BoxSystem("body", 0.1, names, ("u",), -1.0, 1.0, quaternions=(columns,))
    model = DynamicsModel(system, ModelConfig(members=2, hidden=(16,), probabilistic=True))
    geometry, generator = model.geometry, torch.Generator().manual_seed(0)
    rate = torch.tensor([0.1, -0.2, 0.15])
    q = torch.randn(400, 4, generator=generator)
    state = q / q.norm(dim=1, keepdim=True)
    action = torch.rand(400, 1, generator=generator) * 2 - 1
    change = rate + 0.1 * action * torch.tensor([0.0, 0.0, 1.0])
    next_state = geometry.integrate(state, change)
    flip = torch.rand(400, 1, generator=generator) < 0.5
    next_state = torch.where(flip, -next_state, next_state)  # a sensor may give either sign
    buffer = buffer_of(*(x.double().numpy() for x in (state, action, next_state)))
    model = trained(system, buffer, 600, ModelConfig(members=2, hidden=(16,)))

    now = state[:1].expand(2, -1, -1)
    minus = model.predict(-now, torch.zeros(2, 1, 1))
    assert geometry.difference(minus, model.predict(now, torch.zeros(2, 1, 1))).abs().max() < 1e-5
    wanted = state[:1]
    for _ in range(24):  # 2 pi over the length of the rate
        now = model.predict(now, torch.zeros(2, 1, 1))
        wanted = geometry.integrate(wanted, rate)
    assert (now.norm(dim=-1) - 1).abs().max() < 1e-5
    assert geometry.difference(wanted, now).norm(dim=-1).max() < 0.1
