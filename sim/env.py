"""Simulated robots as Gymnasium environments, one a robot file: `sim.env:mbrl/cartpole-v0`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from mbrl_node.spec import RobotSpec, load_spec, robot_directories
from mbrl_node.spec.terms import RangeTermination, TermReward, goal_function
from mbrl_node.spec.topics import JointStateField
from sim.robot import BulletRobot

Array = NDArray[np.float64]


class RobotEnv(gymnasium.Env[Array, Array]):
    """A robot's `sim` section, stepped at its control rate; reward, end and length are the file's.

    `robot_spec` is what an agent needs to know of it; `info["goal"]` tells whether the goal's
    conditions hold.

    Args:
        robot: a spec, or what `load_spec` takes.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, robot: str | RobotSpec, render_mode: str | None = None) -> None:
        self.robot_spec = spec = robot if isinstance(robot, RobotSpec) else load_spec(robot)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": spec.rate}
        unbounded = np.full(spec.state_dim, np.inf)
        self.observation_space = gymnasium.spaces.Box(-unbounded, unbounded, dtype=np.float64)
        self.action_space = gymnasium.spaces.Box(spec.action_min, spec.action_max, dtype=np.float64)
        self._reward, self._goal = TermReward(spec), goal_function(spec)
        self._terminated = RangeTermination(spec)
        self._robot: BulletRobot | None = None
        self._changes: list[tuple[str, str, float]] = []
        self._length = round(spec.episode.length / spec.dt)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Puts the robot at its initial position; a seed makes the noise on it repeatable."""
        super().reset(seed=seed)
        robot = self._made(anew=seed is not None)
        robot.reset()
        self._steps, self._state = 0, self._read()
        return self._state, {"goal": self._goal(self._state)}

    def change(self, what: str, of: str, value: float) -> str:
        """Makes the robot another one, from now on and after every reset; see
        `BulletRobot.change`."""
        text = self._made().change(what, of, value)
        self._changes.append((what, of, value))
        return text

    def _made(self, anew: bool = False) -> BulletRobot:
        """The robot; made where there is none yet."""
        if self._robot is None or anew:
            self.close()
            self._robot = BulletRobot(self.robot_spec, int(self.np_random.integers(2**31)))
            self._substeps = round(1 / (self._robot.dt * self.robot_spec.rate))
            for change in self._changes:
                self._robot.change(*change)
        return self._robot

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One control period with an action [m]."""
        assert self._robot is not None, "reset comes first"
        before, action = self._state, np.asarray(action, np.float64)
        self._robot.command(action)
        for _ in range(self._substeps):
            self._robot.step()
        self._steps, self._state = self._steps + 1, self._read()
        state, sent, reached = map(torch.as_tensor, (before, action, self._state))
        reward = float(self._reward(state, sent, reached))
        terminated = bool(self._terminated(reached))
        truncated = not terminated and self._steps >= self._length
        return self._state, reward, terminated, truncated, {"goal": self._goal(self._state)}

    def _read(self) -> Array:
        assert self._robot is not None
        reading = self._robot.read()
        values = []
        for field in self.robot_spec.state_fields:
            assert isinstance(field, JointStateField), "a spec with sim has no other"
            values.append(getattr(reading, field.value)[reading.names.index(field.joint)])
        return np.array(values)

    def render(self) -> NDArray[np.uint8] | None:
        """A picture of the robot, [height, width, 3]."""
        if self.render_mode != "rgb_array" or self._robot is None:
            return None
        return self._robot.picture()

    def close(self) -> None:
        """Ends the simulation."""
        if self._robot is not None:
            self._robot.close()
            self._robot = None


for _directory in robot_directories():
    for _file in sorted(_directory.glob("*.yaml")):
        _id = f"mbrl/{_file.stem}-v0"
        if _id not in gymnasium.registry:
            gymnasium.register(
                _id,
                "sim.env:RobotEnv",
                kwargs={"robot": str(_file)},
                disable_env_checker=True,
                order_enforce=False,
            )
