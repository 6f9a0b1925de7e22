"""What ros2_control's command line asks a controller manager, and what it prints of the answers.

Reads a command a line, as `list_controllers` or `switch_controllers --activate NAME`, and ends what
it prints for each with `rc NUMBER`. `activity` prints the newest message of that topic.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any

import rclpy
from controller_manager_msgs.msg import ControllerManagerActivity
from controller_manager_msgs.srv import (
    ConfigureController,
    ListControllers,
    LoadController,
    SwitchController,
    UnloadController,
)
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.task import Future

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Commands:
    """The commands, for one controller manager."""

    def __init__(self, node: Node, manager: str) -> None:
        self._node, self._manager = node, manager

    def _call(self, kind: Any, name: str, /, **fields: object) -> Any:
        client = self._node.create_client(kind, f"{self._manager}/{name}")
        while not client.service_is_ready():
            client.wait_for_service(10.0)
        future = client.call_async(kind.Request(**fields))
        rclpy.spin_until_future_complete(self._node, future)
        self._node.destroy_client(client)
        return future.result()

    def _switch(self, activate: list[str], deactivate: list[str], strict: bool) -> bool:
        kind = SwitchController.Request
        ok: bool = self._call(
            SwitchController,
            "switch_controller",
            activate_controllers=activate,
            deactivate_controllers=deactivate,
            strictness=kind.STRICT if strict else kind.BEST_EFFORT,
            activate_asap=True,
            timeout=Duration(seconds=5.0).to_msg(),
        ).ok
        return ok

    def list_controllers(self, args: argparse.Namespace) -> bool:
        for c in self._call(ListControllers, "list_controllers").controller:
            print(c.name, c.type, c.state)
        return True

    def switch_controllers(self, args: argparse.Namespace) -> bool:
        return self._switch(args.activate, args.deactivate, args.strict)

    def load_controller(self, args: argparse.Namespace) -> bool:
        ok: bool = self._call(LoadController, "load_controller", name=args.name).ok
        if ok and args.set_state:
            ok = self._call(ConfigureController, "configure_controller", name=args.name).ok
        if ok and args.set_state == "active":
            ok = self._switch([args.name], [], strict=True)
        return ok

    def unload_controller(self, args: argparse.Namespace) -> bool:
        ok: bool = self._call(UnloadController, "unload_controller", name=args.name).ok
        return ok

    def set_controller_state(self, args: argparse.Namespace) -> bool:
        listed = self._call(ListControllers, "list_controllers").controller
        (state,) = [c.state for c in listed if c.name == args.name]
        if args.state == "active":
            return self._switch([args.name], [], strict=True)
        if state == "active":
            return self._switch([], [args.name], strict=True)
        ok: bool = self._call(ConfigureController, "configure_controller", name=args.name).ok
        return ok

    def activity(self, args: argparse.Namespace) -> bool:
        heard = Future()
        subscription = self._node.create_subscription(
            ControllerManagerActivity, f"{self._manager}/activity", heard.set_result, LATCHED
        )
        rclpy.spin_until_future_complete(self._node, heard)
        self._node.destroy_subscription(subscription)
        for c in heard.result().controllers:
            print(c.name, c.state.label, c.state.id)
        return True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-c", "--controller-manager", default="/controller_manager")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list_controllers")
    verbs.add_parser("activity")
    verb = verbs.add_parser("switch_controllers")
    verb.add_argument("--activate", nargs="*", default=[])
    verb.add_argument("--deactivate", nargs="*", default=[])
    verb.add_argument("--strict", action="store_true")
    verb = verbs.add_parser("load_controller")
    verb.add_argument("name")
    verb.add_argument("--set-state", choices=["inactive", "active"])
    verbs.add_parser("unload_controller").add_argument("name")
    verb = verbs.add_parser("set_controller_state")
    verb.add_argument("name")
    verb.add_argument("state", choices=["inactive", "active"])

    rclpy.init()
    node = rclpy.create_node("_ros2cli_control")
    for line in sys.stdin:
        args = parser.parse_args(shlex.split(line))
        ok = getattr(Commands(node, args.controller_manager), args.verb)(args)
        print(f"rc {0 if ok else 1}", flush=True)


if __name__ == "__main__":
    main()
