"""Simulated robots as Gymnasium environments, one a robot file: `mbrl/HalfCheetah-v0`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from mbrl_node.spec import RobotSpec, load_spec
from mbrl_node.spec.goals import Goals
from mbrl_node.spec.terms import RangeTermination, Targets, TermReward
from sim.camera import target_place
from sim.robot import BulletRobot
from sim.robots import make_robot
from sim.sensors import Sensors

Array = NDArray[np.float64]


class RobotEnv(gymnasium.Env[Array, Array]):
    """A robot's `sim` section, stepped at its control rate; reward, end and length are the file's.

    An observation is the state, and after it the task's targets, which are drawn anew when they are
    reached, or given up. `robot_spec` is what an agent needs to know; `info` has `goal`, whether
    the goal's conditions hold, `age`, s since the state was measured, and `events`, what there is
    to say of targets.

    Args:
        robot: a spec, or what `load_spec` takes.
        task: likewise.
        render_mode: "rgb_array" draws pictures, "human" opens PyBullet's window.
    """

    metadata = {"render_modes": ["human", "rgb_array"]}  # noqa: RUF012

    def __init__(
        self, robot: str | RobotSpec, task: str = "", render_mode: str | None = None
    ) -> None:
        spec = robot if isinstance(robot, RobotSpec) else load_spec(robot, task=task)
        self.robot_spec, self.render_mode = spec, render_mode
        self.metadata = {**self.metadata, "render_fps": round(spec.rate)}
        unbounded = np.full(spec.state_dim, np.inf)
        low, high = ([getattr(f, end) for f in spec.target_fields] for end in ("min", "max"))
        self.observation_space = gymnasium.spaces.Box(
            np.append(-unbounded, low), np.append(unbounded, high), dtype=np.float64
        )
        self.action_space = gymnasium.spaces.Box(spec.action_min, spec.action_max, dtype=np.float64)
        self._targets = Targets(spec)
        self._reward = TermReward(spec, self._targets)
        self._terminated = RangeTermination(spec)
        self._robot: BulletRobot | None = None
        self._changes: list[tuple[str, str, float]] = []
        self._length = round(spec.episode.length / spec.dt)
        self._clock = 0  # ns of the steps of all episodes

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Puts the robot at its initial position; a seed makes all that is random repeatable."""
        super().reset(seed=seed)
        robot = self._made(anew=seed is not None)
        robot.reset()
        self._sensors.restart()
        self._goals.begin()
        self._goals.aim(self._clock)
        self._steps, self._state = 0, self._sensors.state
        return self._observation(), self._info([])

    @property
    def goals(self) -> Goals:
        """What the robot aims at; `tell` sets it."""
        self._made()
        return self._goals

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
            seed = int(self.np_random.integers(2**31))
            self._robot = make_robot(self.robot_spec, seed, self.render_mode == "human")
            self._sensors = Sensors(self.robot_spec, self._robot, np.random.default_rng([seed, 1]))
            self._goals = Goals(self.robot_spec, seed)
            self._substeps = round(1 / (self._robot.dt * self.robot_spec.rate))
            for change in self._changes:
                self._robot.change(*change)
        return self._robot

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One control period with an action [m]."""
        assert self._robot is not None, "reset comes first"
        before, action = self._state, np.asarray(action, np.float64)
        self._targets.set(self._goals.targets)
        self._robot.command(action)
        for k in range(self._substeps):
            self._robot.step()
            self._sensors.look(now=k == self._substeps - 1)
        self._steps, self._state = self._steps + 1, self._sensors.state
        self._clock += round(self.robot_spec.dt * 1e9)
        state, sent, reached = map(torch.as_tensor, (before, action, self._state))
        reward = float(self._reward(state, sent, reached))
        terminated = bool(self._terminated(reached))
        truncated = not terminated and self._steps >= self._length
        info = self._info(self._goals.watch(self._state, self._clock, 0))
        told = self._goals.aim(self._clock)
        info["events"] += [told] if told else []
        return self._observation(), reward, terminated, truncated, info

    def _info(self, events: list[str]) -> dict[str, Any]:
        goal = self._goals.holds(self._state)
        return {"goal": goal, "age": self._sensors.age, "events": events}

    def _observation(self) -> Array:
        return np.append(self._state, self._goals.targets)

    def render(self) -> NDArray[np.uint8] | None:
        """A picture of the robot, [height, width, 3]; None where it is seen in a window."""
        if self.render_mode != "rgb_array" or self._robot is None:
            return None
        return self.picture()

    def picture(self, width: int = 480, height: int = 360) -> NDArray[np.uint8]:
        """A picture of the robot and of the place it is to come to, [height, width, 3]."""
        robot = self._made()
        if place := target_place(self.robot_spec, self._goals.targets):
            robot.mark(place)
        return robot.picture(width, height)

    def close(self) -> None:
        """Ends the simulation."""
        if self._robot is not None:
            self._robot.close()
            self._robot = None
