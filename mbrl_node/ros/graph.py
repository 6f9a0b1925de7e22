"""Who publishes, listens to and offers what, without this node itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from mbrl_node.spec.errors import did_you_mean

OURS = "mbrl_controller"  # the node that the robot's file is for
LEARNER = "mbrl_learner"


class Graph:
    """Who publishes, listens and offers what."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.topics = {
            name: kinds
            for name, kinds in node.get_topic_names_and_types()
            if node.get_publishers_info_by_topic(name)
        }
        self.services = dict(node.get_service_names_and_types())

    def publishers(self, topic: str) -> list[Any]:
        """Those of a topic that are not this check."""
        infos = self._node.get_publishers_info_by_topic(topic)
        return [info for info in infos if info.node_name != self._node.get_name()]

    def subscribers(self, topic: str) -> list[Any]:
        """Those of a topic that are not this check."""
        infos = self._node.get_subscriptions_info_by_topic(topic)
        return [info for info in infos if info.node_name != self._node.get_name()]

    def resolved(self, name: str) -> str:
        """A name as the graph has it."""
        return resolved(self._node, name)

    def others(self, topic: str, kind: str) -> str:
        """Topics of a type, or one whose name is near, to choose from instead; or nothing."""
        of_kind = sorted(name for name, kinds in self.topics.items() if kind in kinds)
        if of_kind:
            return f"topic: {' or '.join(of_kind)}, which {_are(of_kind)} of this type"
        near = did_you_mean(topic, sorted(self.topics))
        return near.removeprefix("; ") or "start the robot's driver"


def _are(names: Sequence[object]) -> str:
    return "is" if len(names) == 1 else "are"


def names_of(infos: Sequence[Any]) -> str:
    return ", ".join(sorted({info.node_name for info in infos}))


def types_of(infos: Sequence[Any]) -> list[str]:
    return sorted({info.topic_type for info in infos})


def resolved(node: Node, name: str) -> str:
    """A name in a robot's file as the graph has it."""
    text: str = node.resolve_topic_name(f"/{OURS}{name[1:]}" if name.startswith("~") else name)
    return text


def undelivered(publisher: QoSProfile, subscriber: QoSProfile) -> str:
    """Why a subscriber does not get what is published; empty: it does.

    Of what is read from the graph, deadlines that nobody set are not the same as those of a profile
    that nobody sent: rclpy's own check would compare them.
    """
    if (subscriber.reliability, publisher.reliability) == (
        ReliabilityPolicy.RELIABLE,
        ReliabilityPolicy.BEST_EFFORT,
    ):
        return "it asks for reliable, and best_effort is offered"
    if (subscriber.durability, publisher.durability) == (
        DurabilityPolicy.TRANSIENT_LOCAL,
        DurabilityPolicy.VOLATILE,
    ):
        return "it asks for transient_local, and volatile is offered"
    return ""
