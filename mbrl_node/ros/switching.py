"""The controllers of a running node, asked for and swapped from another process."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import rclpy
from builtin_interfaces.msg import Duration
from mbrl_msgs.srv import ListControllers, SwitchController
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import NodeNameNonExistentError
from rclpy.signals import SignalHandlerOptions

PATIENCE = 5.0  # s for the node to be found, and for each answer


class SwitchFailed(Exception):
    """There is no such node, no answer in time, or the node's reason why not."""


@dataclass(frozen=True)
class Listed:
    """One controller of a node."""

    name: str
    type: str
    state: str  # unconfigured, inactive or active
    reason: str  # why it cannot act yet; empty: it can


class Controllers:
    """The controllers of a node; to be used in a `with` statement.

    Args:
        node: its full name, such as /mbrl_controller.
        patience: s for the node to be found, and for each answer; None: PATIENCE.
    """

    def __init__(self, node: str, patience: float | None = None) -> None:
        self._name, self.patience = node, PATIENCE if patience is None else patience

    def __enter__(self) -> Self:
        self._context = rclpy.Context()
        # Ctrl-C is Python's, not rclpy's.
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node(
            "mbrl_switch",
            context=self._context,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._list = self._node.create_client(ListControllers, f"{self._name}/list_controllers")
        self._switch = self._node.create_client(SwitchController, f"{self._name}/switch_controller")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def all(self) -> list[Listed]:
        """All that are loaded.

        Raises:
            SwitchFailed: no such node, or no answer in time.
        """
        answer = self._call(self._list, ListControllers.Request())
        return [Listed(c.name, c.type, c.state, c.reason) for c in answer.controller]

    def activate(self, name: str) -> str:
        """Has one act in the place of the active one, from the next tick on; the node's words.

        Raises:
            SwitchFailed: no such node, no answer in time, or the node refuses.
        """
        request = SwitchController.Request(
            activate_controllers=[name],
            strictness=SwitchController.Request.STRICT,
            timeout=Duration(sec=int(0.8 * self.patience)),  # then it says so itself
        )
        answer = self._call(self._switch, request)
        if not answer.ok:
            raise SwitchFailed(f"{self._name} refuses: {answer.message}")
        return str(answer.message)

    def _call(self, client: Client, request: Any) -> Any:
        if not client.wait_for_service(self.patience):
            domain = os.environ.get("ROS_DOMAIN_ID") or "0"
            where = f"on ROS_DOMAIN_ID {domain} within {self.patience:g} s"
            raise SwitchFailed(
                f"no node {self._name} is heard {where}{self._others()}; start one "
                "(ros2 launch mbrl bringup.launch.py), set its ROS_DOMAIN_ID, or name another "
                "with --node"
            )
        future = client.call_async(request)
        end = time.monotonic() + self.patience
        while not future.done() and (left := end - time.monotonic()) > 0:
            self._executor.spin_once(left)
        if not future.done():
            raise SwitchFailed(
                f"{self._name} is there, but has not answered within {self.patience:g} s; ask "
                "again: `mbrl switch` tells which controller is active"
            )
        return future.result()

    def _others(self) -> str:
        """Nodes that have controllers to switch."""
        nodes = self._node.get_node_names_and_namespaces()
        full = sorted(f"{space.rstrip('/')}/{name}" for name, space in nodes)
        found = [name for name in full if self._offers(name, f"{name}/switch_controller")]
        return f", but {', '.join(found)}" if found else ""

    def _offers(self, node: str, service: str) -> bool:
        space, _, name = node.rpartition("/")
        try:
            offered = self._node.get_service_names_and_types_by_node(name, space or "/")
        except NodeNameNonExistentError:  # it has just ended
            return False
        return service in dict(offered)
