"""How PyBullet builds a robot, and what is not ideal about it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from mbrl_node.spec.errors import Problem, show
from mbrl_node.spec.parts import Name, NotNegative, Number, Positive, SpecModel, Text

Part = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class Randomise(SpecModel):
    """By how much the robot differs from one episode to the next: each factor is drawn uniformly
    from 1 - part to 1 + part at a reset."""

    mass: Part = Field(0.0, description="of each link's mass and inertia")
    friction: Part = Field(0.0, description="of each joint's damping and each link's friction")
    gain: Part = Field(0.0, description="of what each field of the action brings about")


class Sim(SpecModel):
    """How PyBullet builds the robot."""

    urdf: Text = Field(
        description="a URDF or MJCF (.xml) file of pybullet_data, or relative to the robot's file"
    )
    kind: Name = Field(
        "joints",
        description="the class that builds it and knows its sensors and drives: one of sim/robots, "
        "or an entry point of the group mbrl.robots",
    )
    drive: Literal["effort", "velocity", "position"] = Field(
        "effort", description="what a command is to a joint: what its controller on a robot follows"
    )
    physics_rate: Positive = Field(description="physics steps per second")
    state_rate: Positive = Field(description="states published per second")
    fixed_base: bool = Field(False, description="true where the base is bolted to the world")
    initial: dict[str, Number] = Field({}, description="joint positions after a reset; others 0")
    initial_noise: NotNegative = Field(0.0, description="uniform +- on each joint at a reset")
    noise: dict[str, NotNegative] = Field(
        {}, description="standard deviation of what is measured of a state field, in its unit"
    )
    latency: NotNegative = Field(0.0, description="s from a measurement to its being published")
    dropped: Part = Field(0.0, description="the part of states and of commands that is lost")
    delay: NotNegative = Field(
        0.0, description="s more from a command to its effect, of which the controller is not told"
    )
    saturation: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="the part of the action's range that the actuators can do"
    )
    randomise: Randomise = Field(Randomise(), description="differences from episode to episode")

    def check(self) -> Iterator[Problem]:
        rest = math.remainder(self.physics_rate, self.state_rate)
        if abs(rest) > 1e-9 * self.physics_rate or self.physics_rate < 0.5 * self.state_rate:
            yield Problem(
                ("physics_rate",),
                f"{show(self.physics_rate)} must be a whole multiple of state_rate"
                f" {show(self.state_rate)}",
            )
