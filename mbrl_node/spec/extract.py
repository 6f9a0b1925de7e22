"""From a message of any type to the state fields it holds.

What can be known beforehand is worked out once: where each number is, and that the message's type
has it. For each message there is then little to do, and nothing that it holds can do harm. What
messages are made of is told by who has them: ROS, or a bag.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from operator import attrgetter, itemgetter
from typing import Any

from mbrl_node.spec.errors import Location, show
from mbrl_node.spec.topics import JointStateTopic, TopicOfPaths

Message = Any
Extract = Callable[[Message], list[float]]
# The fields of a message type `package/msg/Name`, and their types as rosidl's
# `get_fields_and_field_types` writes them; it raises TopicError for a type that is not known.
FieldTypes = Callable[[str], Mapping[str, str]]
Getter = Callable[[Any], Any]

_QUATERNION = "geometry_msgs/msg/Quaternion"
_NUMBERS = frozenset(
    (
        "float",
        "double",
        "boolean",
        *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)),
    )
)
_LIST = re.compile(r"sequence<(?P<of>.*?)(, \d+)?>|(?P<item>[^\[]+)\[(?P<size>\d+)\]")


class TopicError(Exception):
    """A topic of the state cannot be read as the robot's file says.

    Args:
        at: where in the topic's entry, such as ("fields", 1, "path").
        text: what is wrong.
    """

    def __init__(self, at: Location, text: str) -> None:
        super().__init__(text)
        self.at, self.text = at, text


def compile_fields(topic: JointStateTopic | TopicOfPaths, types: FieldTypes) -> Extract:
    """A function from a message of the topic to its fields, in order.

    It raises ValueError, with a sentence, for a message that does not have them: a joint is missing
    or is there twice, a list has another length than it should, a value is not finite, an
    orientation is none.

    Raises:
        TopicError: the message type is not known or has no number at a field's path.
    """
    types(topic.type)
    return _Joints(topic) if isinstance(topic, JointStateTopic) else _Paths(topic, types)


class _Joints:
    """The fields of a sensor_msgs/msg/JointState. Where its joints are is remembered."""

    def __init__(self, topic: JointStateTopic) -> None:
        self._fields = topic.fields
        self._columns: tuple[str, ...] = tuple(dict.fromkeys(field.value for field in topic.fields))
        self._names: list[str] | None = None
        self._places: list[tuple[str, int]] = []

    def __call__(self, msg: Message) -> list[float]:
        names = msg.name
        if names != self._names:
            self._places = self._find(names)
            self._names = list(names)  # not one that somebody might change
        columns = {name: getattr(msg, name) for name in self._columns}
        for name, column in columns.items():
            if len(column) != len(names):
                raise ValueError(f"it has {len(names)} joints and {len(column)} values of {name}")
        values = [float(columns[name][index]) for name, index in self._places]
        if not all(map(math.isfinite, values)):
            for field, value in zip(self._fields, values, strict=True):
                if not math.isfinite(value):
                    raise ValueError(f"the {field.value} of joint '{field.joint}' is {value}")
        return values

    def _find(self, names: list[str]) -> list[tuple[str, int]]:
        for joint in dict.fromkeys(field.joint for field in self._fields):
            if (count := names.count(joint)) != 1:
                has = f"has joint '{joint}' {count} times" if count else f"has no joint '{joint}'"
                raise ValueError(f"it {has}")
        return [(field.value, names.index(field.joint)) for field in self._fields]


class _Paths:
    """The fields at paths in a message of any type."""

    def __init__(self, topic: TopicOfPaths, types: FieldTypes) -> None:
        self._paths = [field.path for field in topic.fields]
        self._getters: list[Getter] = []
        for i, path in enumerate(self._paths):
            try:
                self._getters.append(_number_at(types, topic.type, path))
            except LookupError as error:
                text = f"{show(path)} is not a number in {topic.type}; {error.args[0]}"
                raise TopicError(("fields", i, "path"), text) from None
        self._orientations = [(self._paths[q[0]][:-2], q) for q in topic.orientations]
        self._size, self._list = topic.size, topic.lists[0] if topic.size else ""
        self._get_list = _getter(self._list) if self._list else None

    def __call__(self, msg: Message) -> list[float]:
        if self._get_list and (count := len(self._get_list(msg))) != self._size:
            raise ValueError(f"it has {count} values in {self._list}, not {self._size}")
        try:
            values = [float(get(msg)) for get in self._getters]
        except IndexError:
            raise ValueError(f"it has no {self._first_missing(msg)}") from None
        if not all(map(math.isfinite, values)):
            for path, value in zip(self._paths, values, strict=True):
                if not math.isfinite(value):
                    raise ValueError(f"its {path} is {value}")
        for path, columns in self._orientations:
            _check_length(path, *(values[column] for column in columns))
        return values

    def _first_missing(self, msg: Message) -> str:
        for path, get in zip(self._paths, self._getters, strict=True):
            try:
                get(msg)
            except IndexError:
                return path
        raise AssertionError("a message does not change")


def _number_at(types: FieldTypes, kind: str, path: str) -> Getter:
    """What gets the number at a path from a message of a type.

    Raises:
        LookupError: with why there is none.
    """
    *parents, last = path.split(".")
    here, walked = kind, ""
    for step in parents:
        here, walked = _step(types, here, walked, step)
    if here == _QUATERNION and last in _EULER:
        return _chain(_getter(walked), functools.partial(_EULER[last], walked))
    here, _ = _step(types, here, walked, last)
    if here in _NUMBERS:
        return _getter(path)
    if "/" in here:
        raise LookupError(_parts(types, here, path))
    is_list = _LIST.fullmatch(here)
    raise LookupError(f"{path} is a list, as in {path}[0]" if is_list else f"it is a {here}")


def reader_of(types: FieldTypes, kind: str, paths: list[str]) -> Extract:
    """What gets the numbers at paths from a message of a type.

    Raises:
        LookupError: there is no number at a path.
    """
    getters = [_number_at(types, kind, path) for path in paths]
    return lambda message: [float(get(message)) for get in getters]


def check_path(types: FieldTypes, kind: str, path: str) -> bool:
    """Whether the number at a path of a message is a whole one, so that it can be written.

    Raises:
        LookupError: with why there is none, or why it cannot be written.
    """
    *parents, last = path.split(".")
    here, walked = kind, ""
    for step in parents:
        if "[" in step:
            raise LookupError(f"{step} is one of a list of messages")
        here, walked = _step(types, here, walked, step)
    if here == _QUATERNION and last in _EULER:
        raise LookupError(f"{last} is worked out, and can only be read")
    here, _ = _step(types, here, walked, last)
    if here not in _NUMBERS or here == "boolean":
        raise LookupError(f"it is a {here}")
    return here not in ("float", "double")


def _step(types: FieldTypes, kind: str, walked: str, step: str) -> tuple[str, str]:
    """The type of what is at `step` in something of a type, and the path to it."""
    name, _, index = step.removesuffix("]").partition("[")
    if "/" not in kind:
        raise LookupError(f"{walked} is a {kind}")
    fields = types(kind)
    if name not in fields:
        raise LookupError(_parts(types, kind, walked))
    found = fields[name]
    path = f"{walked}.{step}" if walked else step
    if index:
        items = _LIST.fullmatch(found)
        if items is None:
            raise LookupError(f"{path.removesuffix(f'[{index}]')} is no list")
        if items["size"] and int(index) >= int(items["size"]):
            raise LookupError(f"there are {items['size']} values")
        found = items["of"] or items["item"]
    return found.replace("/", "/msg/"), path


def _parts(types: FieldTypes, kind: str, walked: str) -> str:
    parts = [*types(kind)]
    parts += _EULER if kind == _QUATERNION else ()
    return f"{walked or 'it'} has {', '.join(parts)}"


def _getter(path: str) -> Getter:
    pieces = re.findall(r"\[\d+\]|[^\[\]]+", path)
    return _chain(
        *(itemgetter(int(p[1:-1])) if p[0] == "[" else attrgetter(p.lstrip(".")) for p in pieces)
    )


def _chain(*functions: Getter) -> Getter:
    def get(value: Any) -> Any:
        for function in functions:
            value = function(value)
        return value

    return functions[0] if len(functions) == 1 else get


def _check_length(path: str, x: float, y: float, z: float, w: float) -> None:
    length = math.sqrt(x * x + y * y + z * z + w * w)
    if not 0.95 <= length <= 1.05:  # nor where it is not a number
        raise ValueError(f"its {path} is a quaternion of the length {length:.3g}, not 1")


def _roll(path: str, q: Any) -> float:
    _check_length(path, q.x, q.y, q.z, q.w)
    return math.atan2(2 * (q.w * q.x + q.y * q.z), q.w**2 - q.x**2 - q.y**2 + q.z**2)


def _pitch(path: str, q: Any) -> float:
    _check_length(path, q.x, q.y, q.z, q.w)
    sine = 2 * (q.w * q.y - q.x * q.z) / (q.w**2 + q.x**2 + q.y**2 + q.z**2)
    return math.asin(min(1.0, max(-1.0, sine)))


def _yaw(path: str, q: Any) -> float:
    _check_length(path, q.x, q.y, q.z, q.w)
    return math.atan2(2 * (q.w * q.z + q.x * q.y), q.w**2 + q.x**2 - q.y**2 - q.z**2)


_EULER = {"roll": _roll, "pitch": _pitch, "yaw": _yaw}  # of rotations about x, then y, then z
