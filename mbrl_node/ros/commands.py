"""Commands as the messages that a robot takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node

from mbrl_node.ros.extract import message_class
from mbrl_node.ros.fill import filler
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.ros.stamps import to_time
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.action import MessageActionTopic
from mbrl_node.spec.errors import Problem, line
from mbrl_node.spec.extract import TopicError


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
