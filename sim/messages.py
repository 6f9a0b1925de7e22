"""The messages that simulated robots' sensors give, without ROS: what is in them, and empty ones.

The names and types are those of ROS 2's own, so that the simulator's node only has to copy them.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from mbrl_node.spec.errors import show
from mbrl_node.spec.extract import TopicError
from mbrl_node.spec.topics import JOINT_STATE

Message = Any  # a SimpleNamespace with the fields of its type

IMU = "sensor_msgs/msg/Imu"
ODOMETRY = "nav_msgs/msg/Odometry"
POSE = "geometry_msgs/msg/PoseStamped"
TWIST = "geometry_msgs/msg/TwistStamped"

_XYZ = dict.fromkeys("xyz", "double")
_STAMPED = {"header": "std_msgs/Header"}
# As rosidl's `get_fields_and_field_types` writes them.
TYPES: dict[str, dict[str, str]] = {
    "builtin_interfaces/msg/Time": {"sec": "int32", "nanosec": "uint32"},
    "std_msgs/msg/Header": {"stamp": "builtin_interfaces/Time", "frame_id": "string"},
    "geometry_msgs/msg/Vector3": _XYZ,
    "geometry_msgs/msg/Point": _XYZ,
    "geometry_msgs/msg/Quaternion": _XYZ | {"w": "double"},
    "geometry_msgs/msg/Pose": {
        "position": "geometry_msgs/Point",
        "orientation": "geometry_msgs/Quaternion",
    },
    "geometry_msgs/msg/Twist": dict.fromkeys(("linear", "angular"), "geometry_msgs/Vector3"),
    "geometry_msgs/msg/PoseWithCovariance": {
        "pose": "geometry_msgs/Pose",
        "covariance": "double[36]",
    },
    "geometry_msgs/msg/TwistWithCovariance": {
        "twist": "geometry_msgs/Twist",
        "covariance": "double[36]",
    },
    POSE: _STAMPED | {"pose": "geometry_msgs/Pose"},
    TWIST: _STAMPED | {"twist": "geometry_msgs/Twist"},
    ODOMETRY: _STAMPED
    | {
        "child_frame_id": "string",
        "pose": "geometry_msgs/PoseWithCovariance",
        "twist": "geometry_msgs/TwistWithCovariance",
    },
    IMU: _STAMPED
    | {
        "orientation": "geometry_msgs/Quaternion",
        "orientation_covariance": "double[9]",
        "angular_velocity": "geometry_msgs/Vector3",
        "angular_velocity_covariance": "double[9]",
        "linear_acceleration": "geometry_msgs/Vector3",
        "linear_acceleration_covariance": "double[9]",
    },
    JOINT_STATE: _STAMPED
    | {"name": "sequence<string>"}
    | dict.fromkeys(("position", "velocity", "effort"), "sequence<double>"),
}


def field_types(kind: str) -> Mapping[str, str]:
    """The fields of a message type and their types; see `mbrl_node.spec.extract`.

    Raises:
        TopicError: no simulated sensor gives such a message.
    """
    if kind not in TYPES:
        given = ", ".join(name for name, fields in TYPES.items() if "header" in fields)
        raise TopicError(("type",), f"{show(kind)} is not what sim gives, which is {given}")
    return TYPES[kind]


def empty(kind: str) -> Message:
    """A message of a type, with zeros, and orientations that turn nothing."""
    message = SimpleNamespace()
    for name, type_of in TYPES[kind].items():
        setattr(message, name, _default(type_of))
    if kind == "geometry_msgs/msg/Quaternion":
        message.w = 1.0
    return message


def _default(type_of: str) -> Any:
    if "/" in type_of:
        return empty(type_of.replace("/", "/msg/"))
    if type_of.startswith("sequence"):
        return []
    if size := re.search(r"\[(\d+)\]", type_of):
        return [0.0] * int(size[1])
    return "" if type_of == "string" else 0 if "int" in type_of else 0.0


def set_vector(vector: Message, values: tuple[float, ...]) -> None:
    """Writes x, y, z and, where there are four, w."""
    for name, value in zip("xyzw", values, strict=False):
        setattr(vector, name, float(value))


def copy_to(target: Any, message: Message) -> None:
    """Writes all but the stamp into a ROS message of the same type."""
    for name, value in vars(message).items():
        if isinstance(value, SimpleNamespace):
            copy_to(getattr(target, name), value)
        elif isinstance(value, list) and value and isinstance(value[0], float):
            setattr(target, name, array("d", value))  # an array is not looked through again
        elif name not in ("sec", "nanosec"):
            setattr(target, name, value)
