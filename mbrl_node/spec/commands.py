"""From the message of a command to the action that it is."""

from __future__ import annotations

import math
from typing import Any

from mbrl_node.spec.action import JointActionTopic, MessageActionTopic
from mbrl_node.spec.errors import show
from mbrl_node.spec.extract import Extract, FieldTypes, TopicError, reader_of


def compile_command(action: JointActionTopic | MessageActionTopic, types: FieldTypes) -> Extract:
    """A function from a command's message to the action [m]; it raises ValueError, with a sentence,
    for a message that has none.

    Raises:
        TopicError: the message type has no number at a field's path.
    """
    read: Extract = _read_array
    if isinstance(action, MessageActionTopic):
        for i, field in enumerate(action.fields):
            try:
                reader_of(types, action.type, [field.path])
            except LookupError as error:
                text = f"{show(field.path)} is not a number in {action.type}; {error.args[0]}"
                raise TopicError(("fields", i, "path"), text) from None
        read = reader_of(types, action.type, [field.path for field in action.fields])

    def take(message: Any) -> list[float]:
        try:
            values = read(message)
        except IndexError:
            raise ValueError("a list in it is shorter than the robot's file says") from None
        if len(values) != len(action.fields):
            raise ValueError(f"it has {len(values)} values, not {len(action.fields)}")
        if not all(map(math.isfinite, values)):
            raise ValueError("it is not finite")
        return values

    return take


def _read_array(message: Any) -> list[float]:
    values: list[float] = message.data.tolist()
    return values
