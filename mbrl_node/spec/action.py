"""Where commands go: the action vector, and the message that it becomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import AfterValidator, Discriminator, Field, Tag

from mbrl_node.spec.errors import Problem, show
from mbrl_node.spec.parts import (
    FieldPath,
    FrameName,
    MessageType,
    Name,
    NonEmptyListOf,
    NotNegative,
    Number,
    Positive,
    RosName,
    SpecModel,
    Text,
    range_problem,
    refused,
)

ARRAY = "std_msgs/msg/Float64MultiArray"


class _ActionField(SpecModel):
    name: Name = Field(description="the field's name in the action vector")
    min: Number = Field(description="the lowest command")
    max: Number = Field(description="the highest command")
    safe: Number = Field(description="the command that is sent when there is nothing better")
    max_rate: Positive | None = Field(None, description="the fastest change, in unit/s")
    max_jerk: Positive | None = Field(
        None, description="the fastest change of the change, in unit/s^2"
    )
    unit: Text = Field(description="the unit, such as N, N m, rad/s")

    def check(self) -> Iterator[Problem]:
        if self.min >= self.max:
            yield range_problem(self.min, self.max)
        elif not self.min <= self.safe <= self.max:
            limits = f"{show(self.min)} and {show(self.max)}"
            yield Problem(("safe",), f"{show(self.safe)} must be between min and max, {limits}")


class JointActionField(_ActionField):
    """One number of the action, which drives a joint."""

    joint: Text = Field(description="the joint it drives")

    @property
    def destination(self) -> str:
        """What in the message it is."""
        return self.joint


class PathActionField(_ActionField):
    """One number of the action, at a path in a message of any type."""

    path: FieldPath = Field(description="where it is in the message, as in twist.linear.x")

    @property
    def destination(self) -> str:
        """What in the message it is."""
        return self.path


class _ActionTopic(SpecModel):
    topic: RosName = Field(description="the topic the commands go to")
    delay: NotNegative = Field(0.0, description="s from a command's being sent to its effect")


def _is_array(value: str) -> str:
    if value != ARRAY:
        raise refused(f"{show(value)} has no joints: give each field a path, as in linear.x")
    return value


def _is_no_array(value: str) -> str:
    if value == ARRAY:
        raise refused(f"{show(value)} is a number for each joint: give each field a joint, no path")
    return value


class JointActionTopic(_ActionTopic):
    """A number for each field, in order, as ros2_control's effort, velocity, position and forward
    command controllers take them."""

    type: Annotated[MessageType, AfterValidator(_is_array)] = Field(
        description="the topic's message type"
    )
    fields: NonEmptyListOf[JointActionField] = Field(description="the action fields, in order")


class MessageActionTopic(_ActionTopic):
    """A message of any type, with the fields at their paths in it; its stamp, where it has one, is
    the time of sending."""

    type: Annotated[MessageType, AfterValidator(_is_no_array)] = Field(
        description="the topic's message type"
    )
    frame: FrameName | None = Field(None, description="the frame_id of its header")
    fields: NonEmptyListOf[PathActionField] = Field(description="the action fields, in order")


def _model_for(value: object) -> str:
    """The name of the model for what `action` says, which may be anything."""
    if isinstance(value, _ActionTopic):
        return type(value).__name__
    entry = value if isinstance(value, Mapping) else {}
    fields = entry.get("fields")
    keys = {
        key
        for field in (fields if isinstance(fields, list | tuple) else ())
        if isinstance(field, Mapping)
        for key in field
    }
    by_path = "path" in keys or ("joint" not in keys and entry.get("type") not in (None, ARRAY))
    return (MessageActionTopic if by_path else JointActionTopic).__name__


ActionField = JointActionField | PathActionField
ActionTopic = Annotated[
    Annotated[JointActionTopic, Tag(JointActionTopic.__name__)]
    | Annotated[MessageActionTopic, Tag(MessageActionTopic.__name__)],
    Discriminator(_model_for),
]
