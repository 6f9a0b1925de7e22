"""States, targets and commands as the messages that they come in."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys.store import Typestore

from mbrl_node.data.bags.types import field_types
from mbrl_node.spec.action import JointActionTopic, MessageActionTopic
from mbrl_node.spec.commands import compile_command
from mbrl_node.spec.extract import TopicError, compile_fields
from mbrl_node.spec.targets import TargetTopic
from mbrl_node.spec.topics import EULER_ANGLES, JointStateTopic, MessageTopic

_QUATERNION = "geometry_msgs/msg/Quaternion"
_DTYPES = {"byte": "uint8", "char": "uint8"}  # else as in the definition
Steps = Sequence[str | int]
MakeMessage = Callable[[Sequence[float], int], Any]  # values of the fields, stamp in ns


def message_maker(
    store: Typestore,
    topic: JointStateTopic | MessageTopic | TargetTopic | JointActionTopic | MessageActionTopic,
) -> MakeMessage:
    """A function from the values of a topic's fields to a message of its type, the same object each
    time. What the fields do not say is 0, of the joints of a state NaN.

    Raises:
        TopicError: the type is none of ROS 2's own, or has no number at a field's path.
    """
    if topic.type not in store.fielddefs:
        raise TopicError(("type",), f"{topic.type} is none of the types of ROS 2 itself")

    def types(kind: str) -> Mapping[str, str]:
        return field_types(store, kind)

    if isinstance(topic, JointActionTopic):
        return _Array(store, topic.type)
    if isinstance(topic, MessageActionTopic):
        compile_command(topic, types)
        return _Paths(store, topic.type, [field.path for field in topic.fields], 0, topic.frame)
    compile_fields(topic, types)
    if isinstance(topic, JointStateTopic):
        return _Joints(store, topic)
    frame = topic.frame if isinstance(topic, TargetTopic) else None
    paths = [field.path for field in topic.fields]
    return _Paths(store, topic.type, paths, topic.size or 0, frame)


class _Array:
    """A std_msgs/msg/Float64MultiArray."""

    def __init__(self, store: Typestore, kind: str) -> None:
        self._message: Any = blank(store, kind)

    def __call__(self, values: Sequence[float], stamp: int) -> Any:
        self._message.data = np.array(values)
        return self._message


class _Joints:
    """A sensor_msgs/msg/JointState."""

    def __init__(self, store: Typestore, topic: JointStateTopic) -> None:
        self._message: Any = blank(store, topic.type)
        joints = list(dict.fromkeys(field.joint for field in topic.fields))
        self._message.name = joints
        for value in dict.fromkeys(field.value for field in topic.fields):
            setattr(self._message, value, np.full(len(joints), np.nan))
        self._places = [
            (getattr(self._message, field.value), joints.index(field.joint))
            for field in topic.fields
        ]

    def __call__(self, values: Sequence[float], stamp: int) -> Any:
        _stamp(self._message, stamp)
        for (column, joint), value in zip(self._places, values, strict=True):
            column[joint] = value
        return self._message


class _Paths:
    """A message of any type, with its fields at paths.

    Args:
        size: of the list that they index, if the robot's file tells.
        frame: of its header; None: it says nothing of one.
    """

    def __init__(
        self, store: Typestore, kind: str, paths: Sequence[str], size: int, frame: str | None
    ) -> None:
        self._message: Any = blank(store, kind)
        if frame is not None and hasattr(self._message, "header"):
            self._message.header.frame_id = frame
        for path in sorted(paths, key=len):
            _grow(store, self._message, kind, _steps(path), size)
        self._set: list[Callable[[float], None]] = []
        self._euler: dict[int, tuple[Any, dict[str, float]]] = {}  # quaternions, given as angles
        for path in paths:
            *steps, last = _steps(path)
            parent = self._message
            for step in steps:
                parent = parent[step] if isinstance(step, int) else getattr(parent, step)
            if last in EULER_ANGLES and not hasattr(parent, str(last)):
                _, angles = self._euler.setdefault(id(parent), (parent, {}))
                self._set.append(_setter(angles, str(last), float))
            elif isinstance(last, int):
                self._set.append(_setter(parent, last, parent.dtype.type))
            else:
                self._set.append(_setter(vars(parent), last, type(getattr(parent, last))))

    def __call__(self, values: Sequence[float], stamp: int) -> Any:
        _stamp(self._message, stamp)
        for set_, value in zip(self._set, values, strict=True):
            set_(value)
        for quaternion, angles in self._euler.values():
            _turn(quaternion, *(angles.get(name, 0.0) for name in EULER_ANGLES))
        return self._message


def blank(store: Typestore, kind: str) -> Any:
    """A message of a type in which all is 0 or empty, and quaternions are no rotation."""
    message: Any = store.types[kind](
        **{name: _blank_field(store, of) for name, of in store.fielddefs[kind][1]}
    )
    if kind == _QUATERNION:
        message.w = 1.0
    return message


def _blank_field(store: Typestore, of: Any) -> Any:
    kind, what = of
    if kind == Nodetype.NAME:
        return blank(store, what)
    if kind == Nodetype.BASE:
        name = what[0]
        if name.endswith("string"):
            return ""
        return False if name == "bool" else 0.0 if name.startswith("float") else 0
    item, size = what
    count = size if kind == Nodetype.ARRAY else 0
    if item[0] == Nodetype.BASE and not item[1][0].endswith("string"):
        return np.zeros(count, _DTYPES.get(item[1][0], item[1][0]))
    return [_blank_field(store, item) for _ in range(count)]


def _stamp(message: Any, stamp: int) -> None:
    """Sets the stamp of a message that has one, in ns."""
    if hasattr(message, "header"):
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)


def _grow(store: Typestore, message: Any, kind: str, steps: Steps, size: int) -> None:
    """Makes the lists on a path long enough for it, and at least `size`."""
    name, *rest = steps
    fields: dict[Any, Any] = dict(store.fielddefs[kind][1])
    if name not in fields:  # an angle of a quaternion
        return
    of, here = fields[name], getattr(message, str(name))
    if rest and isinstance(index := rest[0], int):
        del rest[0]
        of, count = of[1][0], max(index + 1, size)
        more = [_blank_field(store, of) for _ in range(count - len(here))]
        longer = [*here, *more]
        here = np.array(longer, here.dtype) if isinstance(here, np.ndarray) else longer
        setattr(message, str(name), here)
        here = here[index]
    if rest and of[0] == Nodetype.NAME:
        _grow(store, here, of[1], rest, size)


def _steps(path: str) -> list[str | int]:
    """The names and list indices that a path is made of."""
    found = re.findall(r"\[(\d+)\]|([^.\[\]]+)", path)
    return [int(index) if index else name for index, name in found]


def _setter(of: Any, key: str | int, kind: Callable[[float], Any]) -> Callable[[float], None]:
    def set_(value: float) -> None:
        of[key] = kind(value)

    return set_


def _turn(quaternion: Any, roll: float, pitch: float, yaw: float) -> None:
    """Sets a quaternion to rotations about x, then y, then z."""
    (sr, cr), (sp, cp), (sy, cy) = (
        (math.sin(angle / 2), math.cos(angle / 2)) for angle in (roll, pitch, yaw)
    )
    quaternion.x = sr * cp * cy - cr * sp * sy
    quaternion.y = cr * sp * cy + sr * cp * sy
    quaternion.z = cr * cp * sy - sr * sp * cy
    quaternion.w = cr * cp * cy + sr * sp * sy
