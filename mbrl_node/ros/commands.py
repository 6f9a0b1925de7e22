"""Commands as the messages that a robot takes."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node

from mbrl_node.ros.convert import to_time
from mbrl_node.ros.extract import field_types, message_class
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.action import JointActionTopic, MessageActionTopic
from mbrl_node.spec.errors import Problem, line
from mbrl_node.spec.extract import TopicError, check_path


class CommandPublisher:
    """Publishes actions on the robot's command topic.

    Args:
        now: robot time, ns; the stamp of a message that has one.

    Raises:
        ConfigurationError: the message type is not known, or has no such number.
    """

    def __init__(self, node: Node, spec: RobotSpec, now: Callable[[], int]) -> None:
        self._now = now
        try:
            kind = message_class(spec.action.type)
            self._fill = filler(spec.action)
        except TopicError as error:
            problem = Problem(("action", *error.at), error.text)
            raise ConfigurationError(line(spec.name, problem)) from None
        self._message = kind()
        self._header = getattr(self._message, "header", None)
        if self._header is not None and isinstance(spec.action, MessageActionTopic):
            self._header.frame_id = spec.action.frame or ""
        self._publisher = node.create_publisher(kind, spec.action.topic, 1)

    def publish(self, action: NDArray[Any]) -> None:
        """Sends an action [m]."""
        if self._header is not None:
            self._header.stamp = to_time(self._now())
        self._fill(self._message, action.tolist())
        self._publisher.publish(self._message)

    def confirm(self, timeout: float) -> None:
        """Waits until the last has arrived, for `timeout` s at most."""
        self._publisher.wait_for_all_acked(Duration(seconds=timeout))


Fill = Callable[[Any, list[float]], None]


def filler(action: JointActionTopic | MessageActionTopic) -> Fill:
    """What writes an action into a message.

    Raises:
        TopicError: the message has no number at a field's path.
    """
    if isinstance(action, JointActionTopic):
        return _fill_array
    setters = []
    for i, field in enumerate(action.fields):
        try:
            whole = check_path(field_types, action.type, field.path)
        except LookupError as error:
            text = f"'{field.path}' is not a number in {action.type}; {error.args[0]}"
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
