"""A cart on a line with a ditch, as an environment that a test imports by name."""

import gymnasium
import numpy as np
import torch

DITCH = 1.0  # m; beyond it the episode is over


class Line(gymnasium.Env):
    """Place and speed of a cart that is pushed; 1 a step, less the further it is from 0."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, push=2.0, render_mode=None):
        self.render_mode, self._push = render_mode, push
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._x, self._v = self.np_random.uniform(0.0, 0.6), 0.5
        return self._state(), {}

    def step(self, action):
        self._v += 0.1 * self._push * float(action[0])
        self._x += 0.1 * self._v
        return self._state(), 1.0 - self._x**2, abs(self._x) > DITCH, False, {}

    def _state(self):
        return np.array([self._x, self._v], np.float32)

    def render(self):
        picture = np.zeros((32, 64, 3), np.uint8)
        picture[:, int(np.clip(32 + 20 * self._x, 0, 63))] = 255
        return picture


class Undrawable(Line):
    """As many environments are."""

    def __init__(self):
        super().__init__()

    def render(self):
        return None


def reward(state, action, next_state):
    return 1.0 - next_state[..., 0] ** 2


def termination(next_state):
    return torch.abs(next_state[..., 0]) > DITCH


gymnasium.register("Line-v0", Line, max_episode_steps=20)
gymnasium.register("Undrawable-v0", Undrawable, max_episode_steps=20)
