"""What an operator stops the robot with, and lets it move with, taken by the control thread itself:
no other callback, such as one that activates somebody's controller, is in its way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from mbrl_node.control import Deadman, StopError, Stops
from mbrl_node.ros.taken import PolledService, Taken

log = logging.getLogger(__name__)

RELIABLE = QoSProfile(depth=10)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


class StopInputs:
    """`~/estop` as topic and service, `~/release_estop`, `~/go`, and the deadman switch. Only one
    thread may poll.

    Args:
        deadman_topic: of a switch that has to be held (std_msgs/Bool); empty: there is none.
        go: lets the next episode begin, and tells what follows; raises StopError.
    """

    def __init__(
        self,
        node: Node,
        stops: Stops,
        deadman: Deadman | None,
        deadman_topic: str,
        go: Callable[[], str],
    ) -> None:
        self._stops, self._deadman, self._go = stops, deadman, go
        # Heard from publishers of any quality of service: who does not fit the one fits the other,
        # and rclpy need not warn of it.
        quiet = SubscriptionEventCallbacks(use_default_callbacks=False)
        self._estop = [Taken(node, Bool, "~/estop", qos, quiet) for qos in (RELIABLE, BEST_EFFORT)]
        self._held = (
            Taken(node, Bool, deadman_topic, BEST_EFFORT, quiet) if deadman is not None else None
        )
        self._services = [
            PolledService(node, Trigger, "~/estop", self._on_estop),
            PolledService(node, Trigger, "~/release_estop", self._on_release),
            PolledService(node, Trigger, "~/go", self._on_go),
        ]

    def poll(self) -> None:
        """Takes what has come. Never raises."""
        try:
            for taken in self._estop:
                while (message := taken.take()) is not None:
                    self._stops.on_topic(message.data)
            if self._held is not None and self._deadman is not None:
                held = self._held.newest()
                if held is not None:
                    self._deadman.pressed(held.data, time.monotonic())
            for service in self._services:
                while service.poll():
                    pass
        except Exception as error:  # what cannot be understood may have meant stop
            self._stops.latch(
                f"an input that stops cannot be read: {type(error).__name__}: {error}"
            )

    def _on_estop(self, request: Any, response: Any) -> Any:
        self._stops.latch("emergency stop by its service")
        response.success, response.message = True, "stopped until ~/release_estop is called"
        return response

    def _on_release(self, request: Any, response: Any) -> Any:
        try:
            response.message, response.success = self._stops.release(), True
            log.warning(response.message)
        except StopError as error:
            response.message, response.success = str(error), False
            log.warning("the stop stays: %s", error)
        return response

    def _on_go(self, request: Any, response: Any) -> Any:
        try:
            response.message, response.success = self._go(), True
            log.info("an operator said go: %s", response.message)
        except StopError as error:
            response.message, response.success = str(error), False
            log.warning("a go was refused: %s", error)
        return response
