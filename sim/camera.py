"""Pictures of a simulated robot, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pybullet
import pybullet_data
from numpy.typing import NDArray

from mbrl_node.spec import RobotSpec

Array = NDArray[np.float64]


class Camera:
    """Looks at a robot from the side, and goes along with it, over a floor.

    Args:
        world: PyBullet's number of it.
        yaw, pitch: from where it looks, degrees.
        distance: in sizes of the robot.
    """

    def __init__(
        self, world: int, yaw: float = 0.0, pitch: float = -25.0, distance: float = 3.2
    ) -> None:
        self._world = world
        self.yaw, self.pitch, self.distance = yaw, pitch, distance
        self.has_floor = False  # there is one; else it is drawn where the robot reaches down to
        self._scene: float | None = None  # size of what is drawn, m; None: nothing was yet

    def picture(self, body: int, fixed_base: bool, width: int, height: int) -> NDArray[np.uint8]:
        """[height, width, 3]."""
        centre, reach = self._extent(body, fixed_base)
        if self._scene is None:
            self._scene = max(reach, 0.3)
            if not self.has_floor:
                self._draw_floor(min(0.0, centre[2] - reach))
        view = pybullet.computeViewMatrixFromYawPitchRoll(
            centre.tolist(), self.distance * self._scene, self.yaw, self.pitch, 0, 2
        )
        lens = pybullet.computeProjectionMatrixFOV(45, width / height, 0.1, 50)
        picture = pybullet.getCameraImage(
            width,
            height,
            view,
            lens,
            lightDirection=(1, -2, 3),
            shadow=0,
            renderer=pybullet.ER_TINY_RENDERER,
            physicsClientId=self._world,
        )
        return np.reshape(np.asarray(picture[2], np.uint8), (height, width, 4))[..., :3]

    def _extent(self, body: int, fixed_base: bool) -> tuple[Array, float]:
        """The centre of the first link that moves, [3], and how far the robot reaches from there,
        m."""
        joints = pybullet.getNumJoints(body, physicsClientId=self._world)
        links = range(0 if fixed_base and joints else -1, joints)
        boxes = [pybullet.getAABB(body, i, physicsClientId=self._world) for i in links]
        centre = np.mean(boxes[0], axis=0)
        corners = np.abs(np.array(boxes) - centre).max(axis=(0, 1))
        return centre, float(corners.max())

    def _draw_floor(self, z: float) -> None:
        floor = pybullet.loadURDF(
            str(Path(pybullet_data.getDataPath()) / "plane.urdf"),
            (0, 0, z),
            useFixedBase=True,
            physicsClientId=self._world,
        )
        pybullet.changeVisualShape(
            floor, -1, rgbaColor=(0.4, 0.4, 0.4, 1), physicsClientId=self._world
        )
        pybullet.setCollisionFilterGroupMask(floor, -1, 0, 0, physicsClientId=self._world)


def target_place(spec: RobotSpec, targets: Sequence[float] | Array) -> tuple[float, ...] | None:
    """The place [3] that a task's targets are, m; None where they are none."""
    columns = [_column(spec, f"position.{axis}") for axis in "xyz"]
    if len(targets) < len(spec.target_fields) or all(column is None for column in columns):
        return None
    return tuple(0.0 if column is None else float(targets[column]) for column in columns)


def _column(spec: RobotSpec, path: str) -> int | None:
    """The target that is told at the end of a path."""
    paths = [field.path for field in spec.target_fields]
    return next((i for i, p in enumerate(paths) if p.endswith(path)), None)
