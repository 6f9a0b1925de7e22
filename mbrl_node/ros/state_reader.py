"""The robot's newest state, gathered from its topics."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState

from mbrl_node.ros.convert import from_time
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.parts import JointStateTopic

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reading:
    """The fields of one topic as its newest message gave them."""

    stamp: int  # robot time of the measurement, ns
    received: int  # robot time of the arrival, ns
    values: list[float]


class StateReader:
    """Subscribes to a robot's state topics and keeps the newest of each.

    A message that lacks a joint or has a value that is not finite is refused, counted and reported.

    Args:
        now: robot time in ns.
    """

    def __init__(self, node: Node, spec: RobotSpec, now: Callable[[], int]) -> None:
        self._node, self._topics, self._now = node, spec.state, now
        self._readings: list[Reading | None] = [None] * len(spec.state)
        self._arrived = threading.Condition()
        self.refused = 0
        # Best effort matches every publisher; only the newest message counts.
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        for i, topic in enumerate(spec.state):
            node.create_subscription(JointState, topic.topic, self._callback(i, topic), qos)

    def _callback(self, index: int, topic: JointStateTopic) -> Callable[[JointState], None]:
        def on_message(msg: JointState) -> None:
            try:
                values = joint_values(msg, topic)
            except ValueError as error:
                self.refused += 1
                self._node.get_logger().warning(
                    f"{topic.topic}: message refused: {error}", throttle_duration_sec=5.0
                )
                return
            now = self._now()
            with self._arrived:
                self._readings[index] = Reading(from_time(msg.header.stamp) or now, now, values)
                self._arrived.notify_all()

        return on_message

    def wait_for(self, stamp: int, patience: float) -> None:
        """Waits until every topic has a measurement of this time or later, `patience` s at most.

        In simulation the measurement of a tick and the clock message that starts the tick come on
        different topics, and either may be first.
        """
        with self._arrived:
            self._arrived.wait_for(
                lambda: all(r is not None and r.stamp >= stamp for r in self._readings), patience
            )

    def read(self, not_before: int = 0) -> tuple[int, Array] | str:
        """The oldest stamp of the newest measurements in ns and the state [n], or why there is
        none.

        Args:
            not_before: measurements before this robot time, in ns, do not count.
        """
        now = self._now()
        values: list[float] = []
        stamp = now
        with self._arrived:
            readings = list(self._readings)
        for topic, reading in zip(self._topics, readings, strict=True):
            if reading is None:
                return f"no message on {topic.topic} yet"
            age = (now - min(reading.stamp, reading.received)) * 1e-9
            if not 0.0 <= age <= topic.timeout:
                return f"the state on {topic.topic} is {age:.2f} s old"
            if reading.stamp <= not_before <= now:  # not when the clock was set back since
                return f"no message on {topic.topic} since the reset"
            stamp = min(stamp, reading.stamp)
            values += reading.values
        return stamp, np.array(values)


def joint_values(msg: JointState, topic: JointStateTopic) -> list[float]:
    """The topic's fields in a message.

    Raises:
        ValueError: a joint is missing, or a value is missing or not finite.
    """
    values = []
    for field in topic.fields:
        if field.joint not in msg.name:
            raise ValueError(f"it has no joint '{field.joint}'")
        column = getattr(msg, field.value)
        index = msg.name.index(field.joint)
        if index >= len(column):
            raise ValueError(f"it has no {field.value} of joint '{field.joint}'")
        if not math.isfinite(column[index]):
            raise ValueError(f"the {field.value} of joint '{field.joint}' is {column[index]}")
        values.append(float(column[index]))
    return values
