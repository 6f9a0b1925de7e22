"""Where the state comes from: topics, and the numbers in their messages that are its fields."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from mbrl_node.spec.errors import Problem, show
from mbrl_node.spec.parts import (
    FieldPath,
    MessageType,
    Name,
    NonEmptyListOf,
    Positive,
    RosName,
    SpecModel,
    Text,
    refused,
)
from mbrl_node.spec.system import Quaternion

JOINT_STATE = "sensor_msgs/msg/JointState"
EULER_ANGLES = ("roll", "pitch", "yaw")
_OF_ORIENTATION = re.compile(
    r"(?P<whole>(?:.*\.)?(?:orientation|rotation)(?:\[\d+\])?)\.(?P<part>x|y|z|w|roll|pitch|yaw)"
)


class _Field(SpecModel):
    name: Name = Field(description="the field's name in the state vector")
    unit: Text = Field(description="the unit, such as m, rad, m/s, rad/s")
    angle: bool = Field(False, description="true where the value and the value + 2 pi are the same")

    def check(self) -> Iterator[Problem]:
        if self.angle and self.unit != "rad":
            yield Problem(("unit",), f"{show(self.unit)} must be 'rad', {self.name} is an angle")


class _StateField(_Field):
    model_input: bool = Field(True, description="false where the dynamics do not depend on it")


class JointStateField(_StateField):
    """One number of the state, taken from a sensor_msgs/msg/JointState."""

    joint: Text = Field(description="the joint's name in the message")
    value: Literal["position", "velocity", "effort"] = Field(
        description="position, velocity or effort"
    )

    @property
    def source(self) -> tuple[str, ...]:
        """What in the message it is."""
        return (self.joint, self.value)

    def check(self) -> Iterator[Problem]:
        if self.angle and self.value != "position":
            yield Problem(("angle",), f"true is for a position; {self.name} is a {self.value}")
        else:
            yield from super().check()


class FieldAtPath(_Field):
    """One number at a path in a message of any type."""

    path: FieldPath = Field(
        description="where it is in the message, as in twist.twist.linear.x or data[2]"
    )

    @property
    def source(self) -> tuple[str, ...]:
        """What in the message it is."""
        return (self.path,)

    def check(self) -> Iterator[Problem]:
        found = _OF_ORIENTATION.fullmatch(self.path)
        part = found["part"] if found else ""
        if part in EULER_ANGLES and self.unit != "rad":
            yield Problem(("unit",), f"{show(self.unit)} must be 'rad', {self.path} is an angle")
        elif part in ("roll", "yaw") and not self.angle:  # a pitch stays within +- pi / 2
            yield Problem(("angle",), f"must be true: {self.path} + 2 pi is the same")
        else:
            yield from super().check()


class PathField(FieldAtPath, _StateField):
    """One number of the state, at a path in a message of any type."""


class Qos(SpecModel):
    """What a subscription asks of its publishers; one that offers less is not heard."""

    reliability: Literal["best_effort", "reliable"] = Field(
        "best_effort", description="reliable: lost messages are sent again"
    )
    durability: Literal["volatile", "transient_local"] = Field(
        "volatile", description="transient_local: the newest message from before is sent, too"
    )

    def check(self) -> Iterator[Problem]:
        if self.durability == "transient_local" and self.reliability != "reliable":
            yield Problem(("reliability",), "must be reliable where durability is transient_local")


class _Topic(SpecModel):
    topic: RosName = Field(description="the topic it arrives on")
    type: MessageType = Field(description="the topic's message type")
    qos: Qos = Field(Qos(), description="how its messages are delivered")


def _has_joints(value: str) -> str:
    if value != JOINT_STATE:
        hint = "give each field a path, as in twist.linear.x, and no joint"
        raise refused(f"{show(value)} has no joints: {hint}")
    return value


def _has_no_joints(value: str) -> str:
    if value == JOINT_STATE:
        raise refused(f"{show(value)} is read by joint: give each field joint and value, no path")
    return value


class _StateTopic(_Topic):
    timeout: Positive = Field(description="age in s from which a state is stale")


class JointStateTopic(_StateTopic):
    """A topic whose fields are found by the names of joints, in whatever order they come."""

    type: Annotated[MessageType, AfterValidator(_has_joints)] = Field(
        description="the topic's message type"
    )
    fields: NonEmptyListOf[JointStateField] = Field(description="the state fields it gives")

    @property
    def orientations(self) -> tuple[Quaternion, ...]:
        """None: what joints have are single numbers."""
        return ()


class TopicOfPaths(_Topic):
    """A topic of any type, whose fields are found by their paths in the message."""

    type: Annotated[MessageType, AfterValidator(_has_no_joints)] = Field(
        description="the topic's message type"
    )
    size: Annotated[int, Field(gt=0)] | None = Field(
        None, description="how many values the list must have that its fields index"
    )
    fields: NonEmptyListOf[FieldAtPath] = Field(description="the numbers it gives")

    @property
    def orientations(self) -> tuple[Quaternion, ...]:
        """Four fields P.x, P.y, P.z, P.w each, with P ending in orientation or rotation; as
        indices into `fields`."""
        columns: dict[str, dict[str, int]] = {}
        for index, field in enumerate(self.fields):
            if found := _OF_ORIENTATION.fullmatch(field.path):
                columns.setdefault(found["whole"], {})[found["part"]] = index
        return tuple(
            (parts["x"], parts["y"], parts["z"], parts["w"])
            for parts in columns.values()
            if parts.keys() >= set("xyzw")
        )

    @property
    def lists(self) -> tuple[str, ...]:
        """The paths of the lists that the fields index."""
        paths = [path for field in self.fields for path, _ in _indexed(field.path)]
        return tuple(dict.fromkeys(paths))

    def check(self) -> Iterator[Problem]:
        yield from self._check_size()
        for index in (index for orientation in self.orientations for index in orientation):
            field, at = self.fields[index], ("fields", index)
            if field.angle:
                yield Problem((*at, "angle"), f"true is not for {field.path}, of a quaternion")

    def _check_size(self) -> Iterator[Problem]:
        if self.size is None:
            return
        if len(self.lists) != 1:
            count = len(self.lists)
            yield Problem(("size",), f"is of one list that all fields index; they index {count}")
            return
        for i, field in enumerate(self.fields):
            for _, index in _indexed(field.path):
                if index >= self.size:
                    text = f"{show(field.path)} is beyond the end of size {self.size}"
                    yield Problem(("fields", i, "path"), text)


class MessageTopic(TopicOfPaths, _StateTopic):
    """A topic of any type that gives a part of the state."""

    fields: NonEmptyListOf[PathField] = Field(description="the state fields it gives")

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        for index in (index for orientation in self.orientations for index in orientation):
            field = self.fields[index]
            if not field.model_input:
                yield Problem(
                    ("fields", index, "model_input"),
                    f"false is not for {field.path}: a model looks at whole orientations",
                )


def _indexed(path: str) -> Iterator[tuple[str, int]]:
    """The lists that a path goes through, as paths, and where in them."""
    for match in re.finditer(r"\[(\d+)\]", path):
        yield path[: match.start()], int(match[1])


def _model_for(value: object) -> str:
    """The name of the model for an entry of `state`, which may be anything: what its fields have
    decides, then its type."""
    if isinstance(value, _Topic):
        return type(value).__name__
    entry = value if isinstance(value, Mapping) else {}
    fields = entry.get("fields")
    keys = {
        key
        for field in (fields if isinstance(fields, list | tuple) else ())
        if isinstance(field, Mapping)
        for key in field
    }
    if "path" in keys:
        return MessageTopic.__name__
    if keys & {"joint", "value"} or entry.get("type") in (None, JOINT_STATE):
        return JointStateTopic.__name__
    return MessageTopic.__name__


StateField = JointStateField | PathField
StateTopic = Annotated[
    Annotated[JointStateTopic, Tag(JointStateTopic.__name__)]
    | Annotated[MessageTopic, Tag(MessageTopic.__name__)],
    Discriminator(_model_for),
]
