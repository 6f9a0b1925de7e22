"""Tracking of a state trajectory by an inverse model learned from random actions, and control by a
law."""

import math

import numpy as np
import pytest
import torch

from mbrl_node.control import (
    ControllerManager,
    Hold,
    Observation,
    ParametricController,
    TrackingController,
)
from mbrl_node.data import Batch
from mbrl_node.learning import fit
from mbrl_node.models import InverseConfig, InverseModel, ModelConfig, WorldModel
from mbrl_node.planning import LinearFeedback, Rollout
from mbrl_node.spec.system import BoxSystem
from mbrl_node.spec.task import Task

DT = 0.05
MASS = BoxSystem("mass", DT, ("x", "y", "vx", "vy"), ("ax", "ay"), -2.0, 2.0)
PENDULUM = BoxSystem("pendulum", DT, ("theta", "omega"), ("torque",), -12.0, 12.0, ("theta",))


def mass(state, action):
    position, velocity = state[..., :2], state[..., 2:]
    return torch.cat((position + velocity * DT, velocity + action * DT), -1)


def pendulum(state, action):
    """Upright at 0; the torque is about what gravity has at most."""
    theta, omega = state[..., :1], state[..., 1:]
    omega = omega + DT * (9.81 * theta.sin() - 0.1 * omega + action)
    return torch.cat((theta + DT * omega, omega), -1)


def learned(system, step, spread, steps=5, episodes=60, length=50):
    """An inverse model from episodes of random actions."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    limit = float(system.action_max[0])
    state = (2 * torch.rand(episodes, system.state_dim, generator=generator) - 1) * spread
    rows = []
    for _ in range(length):
        action = torch.rand(episodes, system.action_dim, generator=generator)
        action = limit * (2 * action - 1)
        following = step(state, action)
        following = following + 0.005 * torch.randn(state.shape, generator=generator)
        rows.append((state, action, following))
        state = following
    state, action, following = (torch.stack(x, 1).flatten(0, 1) for x in zip(*rows, strict=True))
    first = torch.arange(episodes).repeat_interleave(length) * length
    none = torch.zeros(len(state))
    model = InverseModel(system, InverseConfig(steps=steps, members=3, hidden=(64, 64)))
    data = Batch(state, action, following, none, none)
    fit(model, *model.rows(data, first), batch_size=256, max_epochs=60)
    return model


@pytest.fixture(scope="module")
def mass_inverse():
    return learned(MASS, mass, torch.ones(4))


@pytest.fixture(scope="module")
def pendulum_inverse():
    return learned(PENDULUM, pendulum, torch.tensor([math.pi, 4.0]))


def observe(k, state):
    return Observation(round(k * DT * 1e9), 0, np.asarray(state, dtype=float))


def run(controller, step, start, ticks):
    """States [ticks + 1, n] under a controller, and its actions [ticks, m]."""
    controller.activate()
    states, actions = [torch.tensor(start)], []
    for k in range(ticks):
        action = controller.update(observe(k, states[-1]), np.zeros(1))
        actions.append(action)
        states.append(step(states[-1], torch.tensor(action, dtype=torch.float32)))
    return torch.stack(states).numpy().astype(float), np.array(actions)


def circle(time):
    angle = 1.5 * time
    sine, cosine = math.sin(angle), math.cos(angle)
    return np.array([0.5 * sine, 0.5 * cosine, 0.75 * cosine, -0.75 * sine])


def swing(time):
    return np.array([0.8 * math.sin(2 * time), 1.6 * math.cos(2 * time)])


def test_two_masses_track_a_circle_within_a_tenth_of_its_radius(mass_inverse):
    controller = TrackingController("t", MASS, mass_inverse, circle)
    states, _ = run(controller, mass, [0.2, 0.3, 0.0, 0.0], 200)
    wanted = np.array([circle(k * DT) for k in range(201)])
    error = np.linalg.norm((states - wanted)[40:, :2], axis=1)
    assert error.max() < 0.05
    standing = np.linalg.norm(wanted[:, :2] - states[0, :2], axis=1)  # what holding gives
    assert error.mean() < 0.1 * standing.mean()


def test_a_pendulum_tracks_a_sine_about_upright_from_which_it_would_fall(pendulum_inverse):
    controller = TrackingController("t", PENDULUM, pendulum_inverse, swing)
    states, _ = run(controller, pendulum, [0.3, 0.0], 200)
    wanted = np.array([swing(k * DT) for k in range(201)])
    error = np.abs(states - wanted)[40:, 0]
    assert error.max() < 0.08
    held, _ = run(Hold("h", PENDULUM), pendulum, [0.3, 0.0], 200)
    assert np.abs(held - wanted)[40:, 0].mean() > 10 * error.mean()


def test_a_reference_with_a_jump_that_nothing_could_follow_is_caught_up_with(mass_inverse):
    jump = np.tile([0.5, -0.5, 0.0, 0.0], (2, 1))  # held when it has ended
    controller = TrackingController("t", MASS, mass_inverse, jump)
    states, actions = run(controller, mass, [0.0, 0.0, 0.0, 0.0], 120)
    assert (np.abs(actions) <= 2.0).all() and np.abs(actions[0]).min() > 1.0
    assert np.abs(states[-20:] - jump[0]).max() < 0.05


class Echo:
    """Stands where an inverse model would: the action is the state that is wanted."""

    steps = 1

    def predict(self, state, next_state):
        return next_state, torch.zeros_like(next_state)


LINE = BoxSystem("line", DT, ("x",), ("u",), -3.0, 3.0)
RAMP = np.arange(6.0)[:, None]


def test_the_action_is_for_the_state_wanted_one_period_on_and_within_the_limits():
    controller = TrackingController("t", LINE, Echo(), RAMP)
    controller.activate()
    asked = [float(controller.update(observe(k, [0.0]), np.zeros(1))[0]) for k in (4, 5, 6, 7, 20)]
    assert asked == [1.0, 2.0, 3.0, 3.0, 3.0]  # counted from the first update; 4 and 5 clipped


def test_missed_ticks_do_not_delay_the_reference():
    controller = TrackingController("t", LINE, Echo(), RAMP / 2)
    controller.activate()
    asked = [float(controller.update(observe(k, [0.0]), np.zeros(1))[0]) for k in (0, 3)]
    assert asked == [0.5, 2.0]


def test_tracking_starts_anew_when_activated():
    controller = TrackingController("t", LINE, Echo(), lambda time: np.array([time]))
    for begin in (0, 1000):
        controller.activate()
        first, second = (
            float(controller.update(observe(begin + k, [0.0]), np.zeros(1))[0]) for k in (0, 1)
        )
        assert (first, second) == pytest.approx((DT, 2 * DT))


def test_an_action_that_is_not_finite_is_contained_by_the_manager():
    controller = TrackingController("t", LINE, Echo(), lambda time: np.array([math.nan]))
    with pytest.raises(FloatingPointError, match="nan"):
        controller.update(observe(0, [0.0]), np.zeros(1))
    manager = ControllerManager([controller, Hold("hold", LINE)], "hold", "hold")
    assert manager.update(observe(0, [0.0]), np.zeros(1)) == 0.0
    assert "FloatingPointError" in manager.failure


SMALL = InverseConfig(steps=2, members=2, hidden=(8,))


def a_rollout(seed, inverse=SMALL):
    torch.manual_seed(seed)
    world = WorldModel(LINE, ModelConfig(members=1, hidden=(4,)), inverse=inverse)
    return Rollout(world.requires_grad_(False), Task(lambda s, a, n: n[..., 0]))


def test_it_waits_for_a_model_with_an_inverse_and_for_a_reference():
    controller = TrackingController("t", LINE)
    assert "model with an inverse model (set inverse.train)" in controller.not_ready
    controller.set_model(a_rollout(0, inverse=None), 1)
    assert "inverse model" in controller.not_ready
    with pytest.raises(RuntimeError, match="t waits for a model"):
        controller.update(observe(0, [0.0]), np.zeros(1))
    controller.set_model(a_rollout(0), 2)
    assert controller.not_ready == "waits for a reference on ~/reference"
    with pytest.raises(RuntimeError, match="no reference"):
        controller.update(observe(0, [0.0]), np.zeros(1))
    controller.set_reference([1.0])
    assert controller.not_ready == ""


def test_it_acts_by_the_newest_inverse_model_which_training_does_not_change_and_tells_its_version():
    controller = TrackingController("t", LINE, reference=RAMP)
    for version in (1, 2):
        model = a_rollout(version)
        expected = float(model.inverse.predict(torch.tensor([0.2]), torch.tensor([2.0]))[0])
        controller.set_model(model, version)
        torch.nn.init.zeros_(model.inverse.net.weights[-1])
        controller.set_model(a_rollout(9, inverse=None), 9)  # of no use to it
        controller.activate()
        asked = controller.update(observe(0, [0.2]), np.zeros(1))
        assert asked == pytest.approx(np.clip(expected, -3, 3)) and expected != 0.0
        assert controller.model_version == version


def test_a_new_reference_is_followed_from_the_next_tick_and_a_wrong_one_is_refused():
    controller = TrackingController("t", LINE, Echo(), RAMP)
    for k in range(3):
        controller.update(observe(k, [0.0]), np.zeros(1))
    controller.set_reference(RAMP / 4)
    asked = [float(controller.update(observe(k, [0.0]), np.zeros(1))[0]) for k in (3, 4)]
    assert asked == [0.25, 0.5]
    with pytest.raises(ValueError, match="shape"):
        controller.set_reference(np.zeros(2))
    assert controller.update(observe(5, [0.0]), np.zeros(1)) == 0.75


def test_a_law_controls_with_its_parameters():
    law = LinearFeedback(LINE, torch.tensor([1.0]), torch.zeros(1, 1), torch.full((1, 1), 9.0))
    controller = ParametricController("law", law, torch.tensor([2.0]))
    assert controller.update(observe(0, [0.0]), np.zeros(1)) == pytest.approx(2.0)
    assert controller.update(observe(1, [9.0]), np.zeros(1)) == pytest.approx(-3.0)
    with pytest.raises(FloatingPointError):
        controller.update(observe(2, [math.nan]), np.zeros(1))
