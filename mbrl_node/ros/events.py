"""What the history of a run must tell, as events on a topic."""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mbrl_msgs.msg import Event as EventMsg
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from mbrl_node.control import ControllerManager, Stops
from mbrl_node.data import Event
from mbrl_node.ros.convert import event_to_msg
from mbrl_node.ros.qos import EVENTS

PERIOD = 0.1  # s from one look for events to the next

Say = Callable[[str, str, str], None]  # kind, subject, a sentence


class EventPublisher:
    """Publishes on `~/events` what any thread says; none of them waits.

    Args:
        session: of the events, see mbrl_msgs/Event.
        keep: called with each event, in the callback thread.
    """

    def __init__(
        self, node: Node, session: int, keep: Callable[[Event], None] = lambda event: None
    ) -> None:
        self._session, self._keep, self._sequence = session, keep, 0
        self._said: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._publisher = node.create_publisher(EventMsg, "~/events", EVENTS)
        node.create_timer(PERIOD, self.flush, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def say(self, kind: str, subject: str, text: str, robot_time: float = math.nan) -> None:
        """Something has happened.

        Args:
            kind, subject: see mbrl_msgs/Event.
            text: a sentence.
            robot_time: s since the first command; NaN: there was none.
        """
        self._said.put((time.time_ns(), robot_time, kind, subject, text))

    def flush(self) -> None:
        """Publishes what was said. A timer does it, too; at the end, whoever ends the timer."""
        with suppress(queue.Empty):
            while True:
                self._publish(*self._said.get_nowait())

    def _publish(self, *said: Any) -> None:
        event = Event(self._session, self._sequence, *said)
        self._sequence += 1
        self._keep(event)
        self._publisher.publish(event_to_msg(event))


class Watch:
    """Says what has changed from tick to tick: who acts for whom, and stops. For one thread."""

    def __init__(self, say: Say, manager: ControllerManager, stops: Stops) -> None:
        self._say, self._manager, self._stops = say, manager, stops
        self._failed, self._failure, self._stop = "", "", stops.reason

    def look(self) -> None:
        """At each tick, and now and then where there is none."""
        failure, stop = self._manager.failure, self._stops.reason
        if failure != self._failure:
            self._tell_failure(failure)
        if stop != self._stop:
            self._say("stop", "", f"stopped: {stop}" if stop else f"released: {self._stop}")
        self._failure, self._stop = failure, stop

    def _tell_failure(self, failure: str) -> None:
        active, acting = self._manager.active.name, self._manager.acting.name
        if failure:
            self._failed = active
            text = f"'{active}' does not act: {failure}; '{acting}' acts"
        elif self._failed == active:
            text = f"'{active}' acts again"
        else:  # another was chosen meanwhile
            return
        self._say("fallback", active, text)
