"""Where a robot is in the picture, from its state: its base, its joints and the ends of its limbs.

For whole trajectories at once, so that a prediction costs no more than a look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import yourdfpy  # type: ignore[import-untyped]
from numpy.typing import NDArray

from mbrl_node.spec import RobotSpec
from mbrl_node.spec.topics import JointStateField
from mbrl_node.view.urdf import Urdf

Array = NDArray[np.float64]

ODOMETRY = "nav_msgs/msg/Odometry"
_TURNS = ("roll", "pitch", "yaw")


class Base:
    """The pose of a robot's base: what an Odometry gives of it, or, for a robot without joints in
    its state, what `display` says; the origin for all others."""

    def __init__(self, spec: RobotSpec) -> None:
        names, columns = spec.state_names, {}
        for topic in spec.state:
            for field in topic.fields if topic.type == ODOMETRY else ():
                *_, parent, last = ["", *field.source[0].split(".")]
                if parent in ("position", "orientation"):
                    columns[f"{parent}.{last}"] = names.index(field.name)
        if not any(isinstance(field, JointStateField) for field in spec.state_fields):
            shown = spec.display
            for key in ("x", "y", "z", "yaw") if shown else ():
                if (name := getattr(shown, key)) is not None:
                    parent = "orientation" if key == "yaw" else "position"
                    columns.setdefault(f"{parent}.{key}", names.index(name))
        self._places = [columns.get(f"position.{axis}") for axis in "xyz"]
        self._turns = [columns.get(f"orientation.{turn}") for turn in _TURNS]
        quaternion = [columns.get(f"orientation.{part}") for part in "xyzw"]
        self._quaternion = [c for c in quaternion if c is not None]

    @property
    def moves(self) -> bool:
        """Whether the state tells where the base is."""
        columns = (*self._places, *self._turns, *self._quaternion)
        return any(column is not None for column in columns)

    def poses(self, states: Array) -> Array:
        """The poses [T, 4, 4] of states [T, n]."""
        poses = np.tile(np.eye(4), (len(states), 1, 1))
        poses[:, :3, 3] = _columns(states, self._places)
        if len(self._quaternion) == 4:
            poses[:, :3, :3] = _rotations(states[:, self._quaternion])
        else:
            for turn, axis in reversed(list(zip(self._turns, np.eye(3), strict=True))):
                if turn is not None:
                    poses[:, :3, :3] = poses[:, :3, :3] @ _about(axis, states[:, turn])
        return poses


@dataclass(frozen=True)
class _Step:
    """From one joint of a chain to the next."""

    origin: Array  # [4, 4]
    axis: Array  # [3]
    column: int | None  # of the state, that moves it
    slides: bool


class Limb:
    """The chain of joints from the base to an end of the robot.

    Args:
        end: in the frame of the last link, [3].
    """

    def __init__(self, steps: Sequence[_Step], end: Array) -> None:
        self._steps, self._end = steps, end

    @property
    def joints(self) -> int:
        """How many of its joints the state moves."""
        return sum(step.column is not None for step in self._steps)

    def places(self, bases: Array, states: Array) -> Array:
        """Where its end is, [T, 3], for bases [T, 4, 4] and states [T, n]."""
        poses = bases
        for step in self._steps:
            poses = poses @ step.origin
            if step.column is None:
                continue
            motion = np.tile(np.eye(4), (len(states), 1, 1))
            values = states[:, step.column]
            if step.slides:
                motion[:, :3, 3] = values[:, None] * step.axis
            else:
                motion[:, :3, :3] = _about(step.axis, values)
            poses = poses @ motion
        places: Array = (poses[:, :3, :3] @ self._end) + poses[:, :3, 3]
        return places


def limbs(urdf: Urdf) -> list[Limb]:
    """Those with the most joints that the state moves; none where it moves none."""
    joints = list(urdf.model.robot.joints)
    into = {joint.child: joint for joint in joints}
    inner = {joint.parent for joint in joints}
    found = []
    for link in into:
        if link in inner:
            continue
        chain: list[yourdfpy.Joint] = []
        here = link
        while here in into:
            chain.insert(0, into[here])
            here = into[here].parent
        while chain and _column(urdf, chain[-1]) is None:
            chain.pop()  # what is bolted to the last joint that moves is no limb of its own
        if chain:
            found.append(tuple(joint.name for joint in chain))
    by_name = {joint.name: joint for joint in joints}
    made = [_limb(urdf, [by_name[name] for name in names]) for names in dict.fromkeys(found)]
    most = max((limb.joints for limb in made), default=0)
    return [limb for limb in made if limb.joints == most]


def _limb(urdf: Urdf, chain: Sequence[yourdfpy.Joint]) -> Limb:
    steps = [
        _Step(
            np.eye(4) if joint.origin is None else np.asarray(joint.origin),
            np.array([1.0, 0.0, 0.0]) if joint.axis is None else np.asarray(joint.axis),
            _column(urdf, joint),
            joint.type == "prismatic",
        )
        for joint in chain
    ]
    return Limb(steps, _end(urdf, chain[-1].child))


def _column(urdf: Urdf, joint: yourdfpy.Joint) -> int | None:
    return urdf.columns.get(joint.name)


def _end(urdf: Urdf, link: str) -> Array:
    """What is farthest from a link's origin of what is drawn of it and of what is bolted to it."""
    graph = urdf.model.scene.graph
    moving = {joint.child for joint in urdf.model.robot.joints if _column(urdf, joint) is not None}
    points = [np.zeros((1, 3))]
    for name, mesh in urdf.model.scene.geometry.items():
        above = [name]
        while above[-1] in graph.transforms.parents and above[-1] not in moving:
            above.append(graph.transforms.parents[above[-1]])
        if above[-1] == link:
            pose = graph.get(frame_to=name, frame_from=link)[0]
            points.append(mesh.vertices @ pose[:3, :3].T + pose[:3, 3])
    drawn = np.concatenate(points)
    distance = np.linalg.norm(drawn, axis=1)
    end: Array = drawn[distance >= 0.97 * distance.max()].mean(0)
    return end


def _columns(states: Array, columns: Sequence[int | None]) -> Array:
    """Columns of states [T, n], 0 for those that are not there."""
    zero = np.zeros(len(states))
    return np.stack([zero if c is None else states[:, c] for c in columns], 1)


def _about(axis: Array, angles: Array) -> Array:
    """Rotations [T, 3, 3] by angles [T] about an axis [3] (Rodrigues' formula)."""
    x, y, z = axis / max(1e-12, float(np.linalg.norm(axis)))
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    sine, cosine = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    rotations: Array = np.eye(3) + sine * cross + (1.0 - cosine) * (cross @ cross)
    return rotations


def _rotations(quaternions: Array) -> Array:
    """Rotations [T, 3, 3] of quaternions [T, 4] in the order x, y, z, w."""
    x, y, z, w = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)
