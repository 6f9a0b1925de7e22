"""What a Gymnasium environment is to the agent: a system and a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from mbrl_node.spec import RobotSpec
from mbrl_node.spec.system import BoxSystem, Quaternion, System
from mbrl_node.spec.task import Task

DEFAULT_DT = 0.05  # s, where an environment does not tell

Environment = gymnasium.Env[Any, Any]


class UnsuitableEnvironment(Exception):
    """The agent cannot work in this environment; the message says why."""


def robot_spec(env: Environment) -> RobotSpec | None:
    """The spec of an environment that is one of our robots (see `sim.env`)."""
    spec = getattr(env.unwrapped, "robot_spec", None)
    return spec if isinstance(spec, RobotSpec) else None


def system_of(
    env: Environment, angles: Sequence[int] = (), quaternions: Sequence[Quaternion] = ()
) -> System:
    """The system that an environment's spaces describe.

    Args:
        angles: columns of the observation that are angles, in rad.
        quaternions: columns of x, y, z, w of each orientation.

    Raises:
        UnsuitableEnvironment: its spaces are not flat boxes, or its actions have no limits.
    """
    if spec := robot_spec(env):
        return spec
    name = env.spec.id if env.spec else type(env.unwrapped).__name__
    for which, space in (("observation", env.observation_space), ("action", env.action_space)):
        if problem := _problem(space):
            raise UnsuitableEnvironment(f"{name}: its {which} space is {problem}")
    states = tuple(f"s{i}" for i in range(env.observation_space.shape[0]))  # type: ignore[index]
    if beyond := [i for i in angles if not 0 <= i < len(states)]:
        last = len(states) - 1
        raise UnsuitableEnvironment(f"{name}: angles: columns are 0 to {last}, not {beyond[0]}")
    try:
        return BoxSystem(
            name,
            _control_period(env),
            states,
            tuple(f"a{i}" for i in range(env.action_space.shape[0])),  # type: ignore[index]
            np.asarray(env.action_space.low, np.float64),  # type: ignore[attr-defined]
            np.asarray(env.action_space.high, np.float64),  # type: ignore[attr-defined]
            tuple(states[i] for i in angles),
            tuple(quaternions),
        )
    except ValueError as error:
        raise UnsuitableEnvironment(str(error)) from error


def _problem(space: gymnasium.Space[Any]) -> str | None:
    """Why the agent cannot use a space, which a sentence goes on with; None: it can."""
    if not isinstance(space, gymnasium.spaces.Box):
        return f"{space}; the agent needs a Box: continuous numbers"
    if len(space.shape) == 1:
        return None
    what = f"a Box of shape {space.shape}"
    if np.dtype(space.dtype) == np.uint8 and len(space.shape) in (2, 3):
        what += ", as of an image"
    return f"{what}; the agent needs one row of numbers, such as positions and velocities"


def task_of(env: Environment) -> Task:
    """The robot's task, or one of which everything is learned."""
    spec = robot_spec(env)
    return Task.of(spec) if spec else Task()


def _control_period(env: Environment) -> float:
    dt = getattr(env.unwrapped, "dt", None)
    if isinstance(dt, float | int) and dt > 0:
        return float(dt)
    fps = env.metadata.get("render_fps")
    return 1.0 / fps if fps else DEFAULT_DT
