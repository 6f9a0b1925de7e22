"""The services of ros2_control's controller manager, for our controllers.

They have our own types, which are those of controller_manager_msgs in short. Where that package is
installed they are offered under its types as well, so that `ros2 control … -c /mbrl_controller`
works.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import rclpy
from lifecycle_msgs.msg import State
from rclpy.node import Node
from rclpy.publisher import Publisher

from mbrl_node.control import ControllerManager, SwitchError
from mbrl_node.ros.qos import LATEST
from mbrl_node.ros.stamps import seconds

STATES = {
    "unconfigured": State.PRIMARY_STATE_UNCONFIGURED,
    "inactive": State.PRIMARY_STATE_INACTIVE,
    "active": State.PRIMARY_STATE_ACTIVE,
}
OTHER = "controller_manager_msgs"


class ManagerServices:
    """Offers `~/list_controllers`, `~/switch_controller`, `~/load_controller`,
    `~/configure_controller`, `~/unload_controller` and, for everyone who comes, `~/activity`.

    Args:
        load: loads a controller by name; raises SwitchError.
        switched: called after a switch.
    """

    def __init__(
        self,
        node: Node,
        manager: ControllerManager,
        load: Callable[[str], None],
        switched: Callable[[], None],
    ) -> None:
        self._node, self._manager, self._load, self._switched = node, manager, load, switched
        self._other: _OtherTypes | None = None
        self._activity: list[tuple[ModuleType, Publisher]] = []
        self._offer(node, "mbrl_msgs")
        try:
            import_module(f"{OTHER}.srv")
        except ImportError:
            pass
        else:
            self._other = _OtherTypes(node)
            self._offer(self._other.node, OTHER)
        self.publish_activity()

    def _offer(self, node: Node, package: str) -> None:
        services, messages = import_module(f"{package}.srv"), import_module(f"{package}.msg")
        prefix = self._node.get_fully_qualified_name()
        lister = self._lister(messages.ControllerState)
        for name, kind, handler in (
            ("list_controllers", "ListControllers", lister),
            ("switch_controller", "SwitchController", self._on_switch),
            ("load_controller", "LoadController", self._changer("loaded", self._load)),
            (
                "configure_controller",
                "ConfigureController",
                self._changer("configured", self._manager.configure),
            ),
            (
                "unload_controller",
                "UnloadController",
                self._changer("unloaded", self._manager.unload),
            ),
        ):
            node.create_service(
                getattr(services, kind),
                f"{prefix}/{name}",
                handler,
                callback_group=self._node.default_callback_group,  # one request at a time
            )
        if hasattr(messages, "ControllerManagerActivity"):
            publisher = node.create_publisher(
                messages.ControllerManagerActivity, f"{prefix}/activity", LATEST
            )
            self._activity.append((messages, publisher))

    def publish_activity(self) -> None:
        """Tells who listens in which state the controllers are now."""
        states = [(c.name, c.state) for c in self._manager.loaded()]
        for messages, publisher in self._activity:
            msg = messages.ControllerManagerActivity()
            msg.header.stamp = self._node.get_clock().now().to_msg()
            msg.controllers = [
                messages.NamedLifecycleState(name=name, state=State(id=STATES[state], label=state))
                for name, state in states
            ]
            publisher.publish(msg)

    def _lister(self, kind: type) -> Callable[[Any, Any], Any]:
        def on_list(request: Any, response: Any) -> Any:
            for controller in self._manager.loaded():
                state = kind(name=controller.name, state=controller.state, type=controller.kind)
                _set(state, ready=not controller.not_ready, reason=controller.not_ready)
                response.controller.append(state)
            return response

        return on_list

    def _on_switch(self, request: Any, response: Any) -> Any:
        timeout = seconds(request.timeout)
        strict = request.strictness == type(request).STRICT

        def switch() -> str:
            return self._manager.switch(
                request.activate_controllers, request.deactivate_controllers, strict, timeout
            )

        self._answer(response, switch)
        if response.ok:
            self._switched()
        return response

    def _changer(self, done: str, change: Callable[[str], None]) -> Callable[[Any, Any], Any]:
        def on_change(request: Any, response: Any) -> Any:
            def work() -> str:
                change(request.name)
                return f"'{request.name}' is {done}"

            return self._answer(response, work)

        return on_change

    def _answer(self, response: Any, work: Callable[[], str]) -> Any:
        try:
            message, response.ok = work(), True
            self._node.get_logger().info(message)
        except SwitchError as error:
            message, response.ok = str(error), False
            self._node.get_logger().warning(f"refused: {error}")
        except Exception as error:  # who asked must not wait for an answer for ever
            message, response.ok = f"{type(error).__name__}: {error}", False
            self._node.get_logger().error(f"a request failed: {message}")
        _set(response, message=message)
        return response

    def close(self) -> None:
        """Ends what does not belong to the node."""
        if self._other is not None:
            self._other.close()


def _set(into: Any, **values: object) -> None:
    """Sets the fields that this version of the type has."""
    for name, value in values.items():
        if hasattr(into, name):
            setattr(into, name, value)


class _OtherTypes:
    """A node in a DDS participant of its own: one participant cannot offer a service under two
    types. The executor of the first node serves it, too."""

    def __init__(self, node: Node) -> None:
        self._context = rclpy.Context()
        # What the process was told is for the first node, its new name for instance.
        rclpy.init(args=[], context=self._context)
        self.node = Node(
            f"{node.get_name()}_ros2_control",
            namespace=node.get_namespace(),
            context=self._context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._executor = node.executor
        if self._executor is not None:
            self._executor.add_node(self.node)

    def close(self) -> None:
        if self._executor is not None:
            self._executor.remove_node(self.node)
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)
