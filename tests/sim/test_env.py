"""Robots as Gymnasium environments."""

import gymnasium
import numpy as np
import pytest


@pytest.fixture
def env():
    it = gymnasium.make("sim:mbrl/Cartpole-v0")
    yield it
    it.close()


def pushed(env) -> float:
    """The cart's speed after one period with a force from rest."""
    state, *_ = env.step(np.array([2.0]))
    return float(state[2])


def test_a_robot_that_was_changed_stays_so_after_resets_with_and_without_a_seed(env):
    env.reset(seed=1)
    usual = pushed(env)
    env.unwrapped.change("gain", "all", 0.5)
    for seed in (None, 1, 2, None):
        env.reset(seed=seed)
        assert pushed(env) == pytest.approx(usual / 2, rel=0.1)


def test_it_may_be_changed_before_the_first_reset(env):
    env.unwrapped.change("gain", "all", -1.0)
    env.reset(seed=1)
    assert pushed(env) < 0


def test_a_change_that_cannot_be_is_refused_and_forgotten(env):
    with pytest.raises(ValueError, match="there is no 'poel'"):
        env.unwrapped.change("mass", "poel", 3.0)
    env.reset(seed=1)
    assert pushed(env) > 0
