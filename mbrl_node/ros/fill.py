"""Numbers written into messages of any type that ROS has: commands and targets."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from mbrl_node.ros.extract import field_types
from mbrl_node.spec.action import JointActionTopic, MessageActionTopic, PathActionField
from mbrl_node.spec.extract import TopicError, check_path
from mbrl_node.spec.targets import TargetField, TargetTopic

Fill = Callable[[Any, list[float]], None]


def filler(topic: JointActionTopic | MessageActionTopic | TargetTopic) -> Fill:
    """What writes an action, or targets, into a message.

    Raises:
        TopicError: the message has no number at a field's path.
    """
    if isinstance(topic, JointActionTopic):
        return _fill_array
    setters = []
    fields: Sequence[PathActionField | TargetField] = topic.fields
    for i, field in enumerate(fields):
        try:
            whole = check_path(field_types, topic.type, field.path)
        except LookupError as error:
            text = f"'{field.path}' is not a number in {topic.type}; {error.args[0]}"
            raise TopicError(("fields", i, "path"), text) from None
        setters.append(_setter(field.path, int if whole else float))

    def fill(message: Any, values: list[float]) -> None:
        for put, value in zip(setters, values, strict=True):
            put(message, value)

    return fill


def _fill_array(message: Any, values: list[float]) -> None:
    message.data = array("d", values)


def _setter(path: str, kind: type[int] | type[float]) -> Callable[[Any, float], None]:
    """Writes a number at a path; a list is made as long as the path needs it to be."""
    *parents, last = path.split(".")
    name, index = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", last).groups()  # type: ignore[union-attr]

    def put(message: Any, value: float) -> None:
        for parent in parents:
            message = getattr(message, parent)
        number = round(value) if kind is int else value
        if index is None:
            setattr(message, name, number)
            return
        items = getattr(message, name)
        if len(items) <= int(index):
            items = [*items, *[kind()] * (int(index) + 1 - len(items))]
            items[int(index)] = number
            setattr(message, name, items)
        else:
            items[int(index)] = number

    return put
