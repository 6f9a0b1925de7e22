"""How every node process starts, runs and ends.

SIGINT and SIGTERM ask the node to stop, however often they come; the node then leaves the robot
safe and the process ends with 0. A configuration that cannot work is one line on stderr and exit
code 2, so that the launch file does not start the process again.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

CONFIGURATION_ERROR = 2


class ConfigurationError(Exception):
    """The node cannot work as it is configured; the message says what to change."""


class RunnableNode(Protocol):
    """A node whose main thread does its work while callbacks come in another thread."""

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set, or the work is done."""

    def close(self) -> None:
        """Ends threads and releases resources; called once, after `run`, also when it raised."""


def main(module: str, node_class: str) -> int:
    """Runs a node until it is told to stop; gives the exit code.

    Args:
        module: imported only after the signal handlers stand, because it may take seconds.
        node_class: a class in it, an rclpy Node and a `RunnableNode`.
    """
    stop = threading.Event()
    starting = True

    def on_signal(number: int, frame: object) -> None:
        if starting:
            os._exit(0)  # nothing was done yet
        stop.set()

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    sys.setswitchinterval(0.0001)  # s; a thread that is late must not wait 5 ms for the interpreter

    make: Callable[[], RunnableNode] = getattr(importlib.import_module(module), node_class)

    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from mbrl_node.ros.fastdds import use_udp

    use_udp(os.environ)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    starting = False
    try:
        try:
            _run(make(), stop)
        except _told() as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            return CONFIGURATION_ERROR
    finally:
        rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # torch and DDS would take seconds to be taken apart


def _told() -> tuple[type[Exception], ...]:
    """What says by itself what to change. Imported when something was raised: torch comes with the
    store, and not every process needs that."""
    from mbrl_node.data import StoreError
    from mbrl_node.spec import PluginError, SpecError

    return SpecError, PluginError, StoreError, ConfigurationError


def _run(node: Any, stop: threading.Event) -> None:
    from rclpy.exceptions import InvalidHandle
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    executor = SingleThreadedExecutor()
    executor.add_node(node)
    ending = threading.Event()

    def spin() -> None:
        while not ending.is_set():
            try:
                executor.spin()
            except ExternalShutdownException:
                return
            except InvalidHandle:
                continue  # something has just been destroyed, as by the node's cleanup
            except Exception as error:  # a bad callback must not make the node deaf
                if not ending.is_set():
                    node.get_logger().error(f"a callback failed: {type(error).__name__}: {error}")

    thread = threading.Thread(target=spin, name="callbacks", daemon=True)
    thread.start()
    try:
        node.run(stop)
    finally:
        ending.set()
        executor.shutdown()
        thread.join(1.0)
        node.close()
        node.destroy_node()
