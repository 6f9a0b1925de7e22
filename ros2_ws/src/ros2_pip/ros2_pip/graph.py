"""A hidden node that looks at the ROS graph.

The official tool asks a daemon that has been listening for long. Here each call listens for itself:
it waits until what it looks for is there, or until nothing new has come for a while.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from .cli import Failure

HIDDEN = "_"
QUIET_S = 0.5
"""Discovery is taken to be over when nothing new has come for this long"""
SOUGHT_QUIET_S = 1.5
"""the same, where one that is looked for has not been seen,"""
LIMIT_S = 4.0
"""and all participants on this machine are known, but in any case after this long. (It is a little
above the 3 s between two announcements of a Fast DDS participant: its answer to a new participant
may come before that one is ready to listen, and is then lost.)"""


@contextlib.contextmanager
def cli_node(name: str | None = None) -> Iterator[Node]:
    """A node with a hidden name, and rclpy around it. Ctrl-C ends the block quietly."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.ALL)
    node = rclpy.create_node(
        name or f"_ros2cli_{os.getpid()}",
        start_parameter_services=False,
        enable_rosout=False,
        use_global_arguments=False,
    )
    try:
        yield node
    except rclpy.executors.ExternalShutdownException:
        pass
    finally:
        with contextlib.suppress(Exception):
            node.destroy_node()
        rclpy.try_shutdown()


def settle(node: Node, found: Callable[[], Any] | None = None) -> Any:
    """Wait for discovery.

    Args:
        node: The node that listens.
        found: Returns what is looked for once it is there; None or something false until then.
            None: nothing in particular is.

    Returns:
        What `found` returned last.
    """
    start = last_change = time.monotonic()
    quiet = QUIET_S if found is None else SOUGHT_QUIET_S
    snapshot: Any = None
    while True:
        result = found() if found is not None else None
        now = time.monotonic()
        if result or now - start > LIMIT_S or not rclpy.ok():
            return result
        current = (
            sorted(node.get_node_names_and_namespaces()),
            sorted((topic, tuple(types)) for topic, types in node.get_topic_names_and_types()),
            sorted((name, tuple(types)) for name, types in node.get_service_names_and_types()),
        )
        if current != snapshot:
            snapshot, last_change = current, now
        elif now - last_change > quiet and _known_participants(node) >= _local_participants():
            return result
        time.sleep(0.02)


def _known_participants(node: Node) -> int:
    """How many DDS participants are known, with ours: each has one publisher of this topic."""
    return len(node.get_publishers_info_by_topic("ros_discovery_info", no_mangle=True))


def _local_participants() -> int:
    """How many there are on this machine, by the UDP ports that the RTPS standard gives them."""
    base = 7400 + 250 * int(os.environ.get("ROS_DOMAIN_ID") or 0) + 10
    ports = set()
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        with contextlib.suppress(OSError), open(table) as lines:
            ports |= {int(line.split()[1].rpartition(":")[2], 16) for line in list(lines)[1:]}
    return len(ports & set(range(base, base + 240, 2)))


def is_hidden(name: str) -> bool:
    """Whether a part of the name starts with an underscore."""
    return any(part.startswith(HIDDEN) for part in name.split("/"))


def full_name(name: str, namespace: str) -> str:
    """A node's name behind its namespace."""
    return namespace.rstrip("/") + "/" + name


def node_names(node: Node) -> list[str]:
    """The full names of all nodes but this one, sorted; a name that two nodes have comes twice."""
    names = [full_name(*pair) for pair in node.get_node_names_and_namespaces()]
    return sorted(name for name in names if name != node.get_fully_qualified_name())


def absolute(name: str) -> str:
    """The name with a slash in front."""
    return name if name.startswith("/") else "/" + name


def find_node(node: Node, name: str) -> str:
    """Wait for the node of this name.

    Raises:
        Failure: It does not come.
    """
    name = absolute(name)
    if not settle(node, lambda: name in node_names(node)):
        raise Failure("Node not found")
    return name


def topic_types(node: Node, topic: str) -> list[str]:
    """The types of a topic, as soon as it is known; empty if it stays unknown."""
    topic = absolute(topic)
    return settle(node, lambda: dict(node.get_topic_names_and_types()).get(topic)) or []


def load_type(name: str, kind: str) -> Any:
    """The class of an interface.

    Args:
        name: `package/msg/Name`, or `package/Name`.
        kind: `msg` or `srv`.

    Raises:
        Failure: There is no such interface.
    """
    parts = name.split("/")
    if len(parts) == 2:
        parts.insert(1, kind)
    what = {"msg": "message", "srv": "service"}[kind]
    if len(parts) != 3 or parts[1] != kind:
        raise Failure(f"The passed {what} type is invalid: '{name}'")
    try:
        return getattr(importlib.import_module(f"{parts[0]}.{kind}"), parts[2])
    except (ImportError, AttributeError):
        raise Failure(f"The passed {what} type is invalid: '{name}'") from None


def call(node: Node, service_type: Any, name: str, request: Any, timeout_s: float = 10.0) -> Any:
    """Call a service and return its response.

    Raises:
        Failure: It is not there or does not answer.
    """
    client = node.create_client(service_type, name)
    try:
        if not client.wait_for_service(timeout_sec=timeout_s):
            raise Failure(f"service '{name}' is not available")
        future = client.call_async(request)
        rclpy.spin_until_future_complete(node, future, timeout_sec=timeout_s)
        if not future.done():
            raise Failure(f"service '{name}' did not answer within {timeout_s:g} s")
        return future.result()
    finally:
        node.destroy_client(client)
