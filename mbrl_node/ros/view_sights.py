"""What the live view sees at a rate: states, plans and their candidates. Only while somebody looks:
a plan is published, and its candidates are worked out, for those who listen."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from mbrl_msgs.msg import Plan
from numpy.typing import NDArray
from rclpy.node import Node
from visualization_msgs.msg import Marker, MarkerArray

from mbrl_node.ros.extract import compile_fields, message_class
from mbrl_node.ros.graph import OURS, resolved
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.ros.qos import qos_of
from mbrl_node.ros.stamps import seconds
from mbrl_node.ros.taken import Taken
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.errors import Problem, line
from mbrl_node.spec.extract import TopicError
from mbrl_node.view.foresight import Prediction
from mbrl_node.view.scene import Candidate

Array = NDArray[np.float64]


class Sights:
    """Subscriptions of one pair of eyes; the newest message of each is taken when they look.

    Raises:
        ConfigurationError: a message type of the state is not known, or has no such field.
    """

    def __init__(self, node: Node, spec: RobotSpec) -> None:
        self._spec, self._taken = spec, []
        self._sources: list[tuple[Taken[Any], Any, int]] = []
        column = 0
        for i, topic in enumerate(spec.state):
            try:
                extract, kind = compile_fields(topic), message_class(topic.type)
            except TopicError as error:
                self.close()
                problem = Problem(("state", i, *error.at), error.text)
                raise ConfigurationError(line(spec.name, problem)) from None
            name = resolved(node, topic.topic)
            taken: Taken[Any] = Taken(node, kind, name, qos_of(topic.qos, 1))
            self._taken.append(taken)
            self._sources.append((taken, extract, column))
            column += len(topic.fields)
        self._plan: Taken[Plan] = Taken(node, Plan, f"{OURS}/plan")
        self._taken.append(self._plan)
        self._markers: Taken[MarkerArray] | None = None
        if spec.display is not None:
            self._markers = Taken(node, MarkerArray, f"{OURS}/markers")
            self._taken.append(self._markers)
        self._state = np.full(spec.state_dim, np.nan)
        self._stamps = [0.0] * len(self._sources)

    def state(self) -> tuple[float, Array] | None:
        """The newest state [n] and the oldest of its stamps, robot time in s; None: nothing new
        came, or a part of it never did. A message that has no such fields is passed over."""
        new = False
        for k, (taken, extract, column) in enumerate(self._sources):
            message = taken.newest()
            if message is None:
                continue
            try:
                values = extract(message)
            except ValueError:
                continue  # the controller tells what is wrong with it
            self._state[column : column + len(values)] = values
            header = getattr(message, "header", None)
            stamp = 0.0 if header is None else seconds(header.stamp)
            self._stamps[k], new = stamp or time.time(), True
        if not new or np.isnan(self._state).any():
            return None
        return min(self._stamps), self._state.copy()

    def plan(self) -> Prediction | None:
        """The newest plan; None: there is no new one of this robot."""
        message = self._plan.newest()
        if message is None or tuple(message.state_names) != self._spec.state_names:
            return None
        states = np.array(message.states).reshape(-1, self._spec.state_dim)
        stamp = message.header.stamp
        return Prediction(seconds(stamp), message.dt, states)

    def candidates(self) -> list[Candidate] | None:
        """Those of the newest plan; None: there are no new ones."""
        message = self._markers.newest() if self._markers is not None else None
        if message is None:
            return None
        return [
            Candidate(_places(marker), (marker.color.r, marker.color.g, marker.color.b))
            for marker in message.markers
            if marker.ns == "samples"
        ]

    def close(self) -> None:
        """Looks away."""
        for taken in self._taken:
            taken.close()


def _places(marker: Marker) -> Array:
    return np.array([(point.x, point.y, point.z) for point in marker.points])
