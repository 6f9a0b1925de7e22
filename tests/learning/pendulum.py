"""A toy robot with the state and action of the cart-pole: a cart on a spring, a damped pendulum."""

import math

import numpy as np

from mbrl_node.data import Transition
from mbrl_node.data.records import Records, records_of
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole")
PERIOD = round(SPEC.dt * 1e9)


def records(start: int, count: int, gain: float = 1.0, session: int = 1) -> Records:
    """Steps that follow each other, under slowly varying random forces.

    Args:
        start: their first sequence number, and the seed.
        gain: what comes of a force.
    """
    rng = np.random.default_rng(start)
    state, force, rows = rng.normal(size=4) * 0.5, 0.0, []
    for k in range(start, start + count):
        force = float(np.clip(0.8 * force + rng.normal(scale=2.0), -5, 5))
        action = np.array([force])
        next_state = moved(state, gain * force)
        rows.append(
            Transition(
                *(session, k, 1, k, k * PERIOD, (k + 1) * PERIOD),
                *(state, action, action, next_state),
                *(reward(action, next_state), False, False, "random", 0),
            )
        )
        state = next_state
    return records_of(rows, 4, 1)


def reward(action: np.ndarray, next_state: np.ndarray) -> float:
    """As the cart-pole's file says."""
    x, theta, *_ = next_state
    return math.cos(theta) - 0.03 * x**2 - 0.001 * float(action[0]) ** 2


def moved(state: np.ndarray, force: float) -> np.ndarray:
    """The state one control period on."""
    x, theta, x_dot, theta_dot = state
    for _ in range(4):
        x_dot += (force - 2 * x - 0.5 * x_dot) * SPEC.dt / 4
        theta_dot += (-6 * math.sin(theta) + force - 0.3 * theta_dot) * SPEC.dt / 4
        x, theta = x + x_dot * SPEC.dt / 4, theta + theta_dot * SPEC.dt / 4
    return np.array([x, math.remainder(theta, 2 * math.pi), x_dot, theta_dot])
