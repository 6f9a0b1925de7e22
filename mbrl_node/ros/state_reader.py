"""The robot's newest state, gathered from its topics by the control thread.

A message is refused, counted and reported where it cannot be used; the one before then stays and
ages. A state is old when nothing has come for the topic's timeout, and when the stamps say so: on a
real robot the first is measured on the machine's steady clock, in simulation on the simulated one,
for which a slow simulator is not late.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from mbrl_node.ros.extract import compile_fields, message_class
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.ros.qos import qos_of
from mbrl_node.ros.stamps import from_time
from mbrl_node.ros.taken import Taken, Waiter
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.errors import Problem, line, one_line
from mbrl_node.spec.extract import TopicError
from mbrl_node.spec.topics import JointStateTopic, MessageTopic

Array = NDArray[np.float64]
log = logging.getLogger(__name__)

# More than one, so that what is refused does not take the place of a good message just before.
_QUEUE = 4
_REPORT_PERIOD = 5_000_000_000  # ns


@dataclass(frozen=True, slots=True)
class Reading:
    """The fields of one topic as a message gave them."""

    stamp: int  # robot time of the measurement, ns
    received: int  # robot time of the arrival, ns; in simulation that of the taking
    arrived: int  # time.monotonic_ns of the arrival
    values: list[float]


class StateReader:
    """Subscribes to a robot's state topics and keeps the newest measurement of each.

    Only the control thread may use it, but for `ages` and the counters.

    Args:
        now: robot time in ns.
        simulated: robot time is not the machine's; it is 0 until the first clock message.

    Raises:
        ConfigurationError: a message type is not known or has no such field.
    """

    def __init__(
        self, node: Node, spec: RobotSpec, now: Callable[[], int], simulated: bool = False
    ) -> None:
        self._now, self._simulated = now, simulated
        self._sources: list[_Source] = []
        for i, topic in enumerate(spec.state):
            try:
                self._sources.append(_Source(node, topic, simulated))
            except TopicError as error:
                self.close()
                problem = Problem(("state", i, *error.at), error.text)
                raise ConfigurationError(line(spec.name, problem)) from None
        self._waiter = Waiter(node, self.subscriptions)
        self._polled = 0  # robot time of the last poll, ns

    @property
    def subscriptions(self) -> list[Taken[Any]]:
        """What brings the state, to be waited on."""
        return [source.taken for source in self._sources]

    @property
    def refused(self) -> dict[str, int]:
        """How many messages of each topic were refused since the start."""
        return {source.topic.topic: source.refused for source in self._sources}

    @property
    def refused_total(self) -> int:
        """How many messages were refused since the start."""
        return sum(source.refused for source in self._sources)

    def poll(self) -> None:
        """Takes what has come. Never raises, whatever has."""
        now = self._now()
        if now < self._polled:  # the clock was set back: what is new has older stamps
            for source in self._sources:
                source.newest = None
        self._polled = now
        for source in self._sources:
            source.poll(now)

    def wait_for(self, stamp: int, patience: float) -> None:
        """Takes what comes until every topic has a measurement of this robot time in ns or later,
        for `patience` s at most.

        In simulation the measurement of a tick and the clock message that starts the tick come on
        different topics, and either may be first.
        """
        deadline = time.monotonic() + patience
        while True:
            self.poll()
            left = deadline - time.monotonic()
            if left <= 0 or all(
                source.reading is not None and source.reading.stamp >= stamp
                for source in self._sources
            ):
                return
            self._waiter.wait(left)

    def read(self, not_before: int = 0) -> tuple[int, Array] | str:
        """The oldest stamp of the newest measurements in ns and the state [n], or why there is
        none.

        Args:
            not_before: measurements up to this robot time, in ns, do not count: that of a reset.
        """
        stamp = now = self._now()
        values: list[float] = []
        for source in self._sources:
            reading = source.usable(now, not_before)
            if isinstance(reading, str):
                return reading
            stamp = min(stamp, reading.stamp)
            values += reading.values
        return stamp, np.array(values)

    @property
    def received(self) -> int | None:
        """time.monotonic_ns at which the oldest of the newest measurements arrived; None: one is
        missing."""
        arrived = [source.reading.arrived for source in self._sources if source.reading]
        return min(arrived) if len(arrived) == len(self._sources) else None

    def ages(self) -> dict[str, float]:
        """Seconds since the arrival of the newest measurement of each topic, inf where none came.
        Any thread may ask."""
        now = self._now()
        return {source.topic.topic: max(0.0, source.age(now) * 1e-9) for source in self._sources}

    def close(self) -> None:
        """Ends the subscriptions."""
        for source in self._sources:
            source.taken.close()


class _TimedTaken(Taken[Any]):
    """A subscription that also tells when each message arrived."""

    def take(self) -> tuple[Any, int] | None:
        """The next message and the time.time_ns of its arrival, or None."""
        taken = self._take_with_info()
        return None if taken is None else (taken[0], taken[1]["received_timestamp"])


class _Source:
    """One topic, its newest measurement and what was refused."""

    def __init__(self, node: Node, topic: JointStateTopic | MessageTopic, simulated: bool) -> None:
        self.topic = topic
        self.reading: Reading | None = None
        self.newest: int | None = None  # stamp that what comes next must not be older than, ns
        self.refused = 0
        self._node, self._simulated = node, simulated
        self._timeout = round(topic.timeout * 1e9)
        self._reason, self._unreported, self._report_at = "", 0, 0
        self._why, self._why_until = "", 0
        self._extract = compile_fields(topic)
        kind = message_class(topic.type)
        header = kind.get_fields_and_field_types().get("header")
        self._has_header = header == "std_msgs/Header"
        try:
            self.taken = _TimedTaken(node, kind, topic.topic, qos_of(topic.qos, _QUEUE))
        except Exception as error:  # the middleware's, as when this node uses it with another type
            raise TopicError(("topic",), f"cannot be subscribed to: {one_line(error)}") from None
        self._emptied = time.monotonic_ns()  # when nothing was left to be taken

    def poll(self, now: int) -> None:
        for _ in range(_QUEUE):
            try:
                taken = self.taken.take()
                if taken is None:
                    break
                self._accept(*taken, now)
            except ValueError as error:
                self._refuse(str(error))
            except Exception as error:  # the control thread goes on, whatever was sent
                self._refuse(f"{type(error).__name__}: {error}")
        self._emptied = time.monotonic_ns()
        if self._unreported and self._emptied >= self._report_at:
            self._report()

    def _accept(self, msg: Any, received: int, now: int) -> None:
        """Takes over what is newer.

        Args:
            received: the time.time_ns of its arrival.

        Raises:
            ValueError: it cannot be used.
        """
        stamp = from_time(msg.header.stamp) if self._has_header else 0
        if stamp:
            ahead = stamp - now
            if ahead > self._timeout:
                if self._simulated and now == 0:
                    return  # the clock has not come yet, so nobody knows
                raise ValueError(
                    f"its stamp is {ahead * 1e-9:.1f} s ahead of this clock: a wrong clock"
                )
            if self.newest is not None and stamp <= self.newest:
                if stamp == self.newest:
                    return  # once more the same
                raise ValueError("it is older than one before it")
        values = self._extract(msg)
        # When it arrived is known on the wall clock, which may have been set meanwhile.
        steady = time.monotonic_ns()
        arrived = max(self._emptied, steady - max(0, time.time_ns() - received))
        received = now if self._simulated else now - (steady - arrived)
        self.reading = Reading(stamp or received, received, arrived, values)
        self.newest = stamp or None
        self._reason = ""

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        self._unreported += 1
        self._reason = reason

    def _report(self) -> None:
        what = "a message was" if self._unreported == 1 else f"{self._unreported} messages were"
        log.warning("%s: %s refused: %s", self.topic.topic, what, self._reason)
        self._unreported, self._report_at = 0, self._emptied + _REPORT_PERIOD

    def age(self, now: int) -> float:
        """ns since the arrival of the newest measurement, below 0 where the clock was set back."""
        reading = self.reading
        if reading is None:
            return math.inf
        return now - reading.received if self._simulated else time.monotonic_ns() - reading.arrived

    def usable(self, now: int, not_before: int) -> Reading | str:
        """The newest measurement, or why it cannot be used."""
        topic, reading = self.topic.topic, self.reading
        refused = f"; the last was refused: {self._reason}" if self._reason else ""
        if reading is None:
            return f"no message on {topic} yet{refused or self._why_none()}"
        age = self.age(now)
        if age < 0:
            return f"no message on {topic} since the clock was set back{refused}"
        ahead, lag = reading.stamp - now, reading.received - reading.stamp
        if lag > self._timeout:
            return (
                f"the stamps on {topic} are {lag * 1e-9:.1f} s behind this clock:"
                f" a wrong clock, or stale{refused}"
            )
        if max(age, -ahead) > self._timeout:
            return f"the state on {topic} is older than {self.topic.timeout:g} s{refused}"
        if ahead > self._timeout:
            return f"the stamps on {topic} are {ahead * 1e-9:.1f} s ahead of this clock{refused}"
        if reading.stamp <= not_before <= now:  # not when the clock was set back since
            return f"no message on {topic} since the reset{refused}"
        return reading

    def _why_none(self) -> str:
        """What the ROS graph tells about a topic on which nothing comes; asked once a second."""
        if (now := time.monotonic_ns()) < self._why_until:
            return self._why
        self._why_until = now + 1_000_000_000
        publishers = self._node.get_publishers_info_by_topic(self.topic.topic)
        types = {publisher.topic_type for publisher in publishers}
        if not publishers:
            self._why = ": nobody publishes it"
        elif self.topic.type not in types:
            self._why = f": it is published as {', '.join(sorted(types))}, not {self.topic.type}"
        elif self.taken.subscription.get_publisher_count() == 0:
            self._why = ": its publishers offer less than the qos in the robot's file asks for"
        else:
            self._why = ""
        return self._why
