"""What people and other nodes tell the controllers: references and commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from mbrl_node.control import Controller, Relay
from mbrl_node.ros.extract import compile_fields, message_class
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.ros.qos import qos_of
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.errors import Problem, line
from mbrl_node.spec.extract import Extract, TopicError
from mbrl_node.spec.goals import Goals
from mbrl_node.spec.targets import TargetTopic


class Inputs:
    """`~/reference`, `~/teleop`, `~/external` and the topics of the task's targets. A message that
    cannot be used is refused, counted and reported; what came before goes on to count.

    Args:
        controllers: those there are now, by name.
        goals: who is told targets.

    Raises:
        ConfigurationError: a message type of the targets is not known, or has no such number.
    """

    def __init__(
        self,
        node: Node,
        spec: RobotSpec,
        controllers: Callable[[], dict[str, Controller]],
        goals: Goals,
    ) -> None:
        self._node, self._spec, self._controllers = node, spec, controllers
        self._goals = goals
        self._reference: np.ndarray[Any, Any] | None = None
        self.refused: dict[str, int] = {}
        node.create_subscription(Float64MultiArray, "~/reference", self._on_reference, 1)
        for kind in ("teleop", "external"):
            take = partial(self._on_command, kind)
            node.create_subscription(Float64MultiArray, f"~/{kind}", take, 1)
        first = 0
        for i, topic in enumerate(spec.targets):
            try:
                take = partial(self._on_target, topic, compile_fields(topic), first)
                kind_of_message = message_class(topic.type)
            except TopicError as error:
                problem = Problem(("targets", i, *error.at), error.text)
                raise ConfigurationError(line(spec.name, problem)) from None
            node.create_subscription(kind_of_message, topic.topic, take, qos_of(topic.qos, 1))
            first += len(topic.fields)

    def equip(self, controller: Controller) -> None:
        """Gives a controller that came later what was said before."""
        if self._reference is not None and hasattr(controller, "set_reference"):
            controller.set_reference(self._reference)

    def _on_reference(self, msg: Float64MultiArray) -> None:
        values = np.array(msg.data)
        n = self._spec.state_dim
        if values.size > n and values.size % n == 0:
            values = values.reshape(-1, n)
        followers = [c for c in self._controllers().values() if hasattr(c, "set_reference")]
        try:
            for controller in followers:
                controller.set_reference(values)
        except ValueError as error:
            self._refuse("~/reference", error)
            return
        self._reference = values

    def _on_command(self, kind: str, msg: Float64MultiArray) -> None:
        now = time.monotonic()
        try:
            for controller in self._controllers().values():
                if isinstance(controller, Relay) and controller.kind == kind:
                    controller.receive(msg.data, now)
        except ValueError as error:
            self._refuse(f"~/{kind}", error)

    def _on_target(self, topic: TargetTopic, extract: Extract, first: int, msg: Any) -> None:
        try:
            frame = msg.header.frame_id if topic.frame else None
            if frame != topic.frame:
                raise ValueError(f"it is in the frame '{frame}', not '{topic.frame}'")
            self._goals.tell(extract(msg), first)
        except ValueError as error:
            self._refuse(topic.topic, error)

    def _refuse(self, topic: str, error: Exception) -> None:
        self.refused[topic] = self.refused.get(topic, 0) + 1
        self._node.get_logger().warning(
            f"{topic}: message refused: {error}", throttle_duration_sec=5.0
        )
