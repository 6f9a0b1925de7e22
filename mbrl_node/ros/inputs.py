"""What people and other nodes tell the controller node: stop, go on, references, commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger

from mbrl_node.control import Controller, Deadman, Relay, StopError, Stops
from mbrl_node.spec import RobotSpec

RELIABLE = QoSProfile(depth=10)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


class Inputs:
    """Subscriptions and services of an operator. A message that cannot be used is refused, counted
    and reported; what came before goes on to count.

    What stops the robot is in a callback group of its own: it waits for no other callback, such as
    one that activates somebody's controller. It is heard from publishers of any quality of service.

    Args:
        deadman_topic: of a switch that has to be held (std_msgs/Bool); empty: there is none.
        controllers: those there are now, by name.
    """

    def __init__(
        self,
        node: Node,
        spec: RobotSpec,
        stops: Stops,
        deadman: Deadman | None,
        deadman_topic: str,
        controllers: Callable[[], dict[str, Controller]],
    ) -> None:
        self._node, self._spec, self._stops, self._deadman = node, spec, stops, deadman
        self._controllers = controllers
        self._reference: np.ndarray[Any, Any] | None = None
        self.refused: dict[str, int] = {}
        urgent = MutuallyExclusiveCallbackGroup()
        for name, answer in (
            ("estop", self._on_estop_service),
            ("release_estop", self._on_release),
        ):
            node.create_service(Trigger, f"~/{name}", answer, callback_group=urgent)
        for qos in (RELIABLE, BEST_EFFORT):
            # A publisher that does not fit the one fits the other; no need to warn of it.
            node.create_subscription(
                Bool,
                "~/estop",
                self._on_estop,
                qos,
                callback_group=urgent,
                event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            )
        node.create_subscription(Float64MultiArray, "~/reference", self._on_reference, 1)
        for kind in ("teleop", "external"):
            take = partial(self._on_command, kind)
            node.create_subscription(Float64MultiArray, f"~/{kind}", take, 1)
        if deadman is not None:
            node.create_subscription(
                Bool, deadman_topic, self._on_deadman, BEST_EFFORT, callback_group=urgent
            )

    def equip(self, controller: Controller) -> None:
        """Gives a controller that came later what was said before."""
        if self._reference is not None and hasattr(controller, "set_reference"):
            controller.set_reference(self._reference)

    def _on_estop_service(self, request: Any, response: Any) -> Any:
        self._stops.latch("emergency stop by its service")
        response.success, response.message = True, "stopped until ~/release_estop is called"
        return response

    def _on_estop(self, msg: Bool) -> None:
        self._stops.on_topic(msg.data)

    def _on_release(self, request: Any, response: Any) -> Any:
        try:
            response.message, response.success = self._stops.release(), True
            self._node.get_logger().warning(response.message)
        except StopError as error:
            response.message, response.success = str(error), False
            self._node.get_logger().warning(f"the stop stays: {error}")
        return response

    def _on_deadman(self, msg: Bool) -> None:
        if self._deadman is not None:
            self._deadman.pressed(msg.data, time.monotonic())

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

    def _refuse(self, topic: str, error: Exception) -> None:
        self.refused[topic] = self.refused.get(topic, 0) + 1
        self._node.get_logger().warning(
            f"{topic}: message refused: {error}", throttle_duration_sec=5.0
        )
