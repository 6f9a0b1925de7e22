"""Where a robot's state can be seen: the fields that are a place in a frame of tf2's."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from mbrl_node.spec.errors import Problem
from mbrl_node.spec.parts import FrameName, SpecModel, Text

PLACES = ("x", "y", "z", "yaw")


class Display(SpecModel):
    """The state fields that are a place, for pictures of plans; what is not given is 0."""

    frame: FrameName = Field(description="the tf2 frame that the place is in")
    x: str | None = Field(None, description="the state field that is its x, m")
    y: str | None = Field(None, description="the state field that is its y, m")
    z: str | None = Field(None, description="the state field that is its z, m")
    yaw: str | None = Field(None, description="the state field that is its turn about z, rad")
    urdf: Text | None = Field(
        None,
        description="what the live view draws of the robot, beside its file or in pybullet_data; "
        "null: sim.urdf",
    )

    def check(self) -> Iterator[Problem]:
        if self.x is None and self.y is None and self.z is None:
            yield Problem(("x",), "is missing: give x, y, z or several")
