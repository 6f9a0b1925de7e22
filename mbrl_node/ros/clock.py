"""The node's ROS clock as a clock that a pacer can wait on."""

from __future__ import annotations

import time
from typing import Any

from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from mbrl_node.ros.stamps import from_time
from mbrl_node.ros.taken import Taken, Waiter


class SimulatedClock:
    """Time as it comes on /clock (`use_sim_time`), taken by the control thread: waiting ends with
    the message that passes the deadline. It hands each message on, so that the node's own clock
    goes on as well.

    Args:
        subscription: the node's own to /clock, in a group `NoExecutor`.
        period: control period, s. While the clock stands still, waits end that often.
    """

    PATIENCE = 0.2  # s after which a clock that does not move stands still

    def __init__(self, node: Node, subscription: Any, period: float) -> None:
        self._node = node
        self._taken: Taken[Clock] = Taken.of(node, subscription)
        self._waiter = Waiter(node, [self._taken])
        self._period = period
        self._now, self._moved_at = 0, time.monotonic_ns()
        self.stands = False

    def now(self) -> int:
        """The time of the newest /clock message, ns; 0 before the first."""
        try:
            message = self._taken.newest()
            if message is not None:
                self._taken.subscription.callback(message)
                self._move(from_time(message.clock))
        except Exception as error:  # a time below 0, or what is no message at all
            self._node.get_logger().warning(
                f"/clock: a message was refused: {type(error).__name__}: {error}",
                throttle_duration_sec=5.0,
            )
        return self._now

    def _move(self, now: int) -> None:
        if now != self._now:  # a simulator that pauses may go on to say which time it is
            self._now, self._moved_at = now, time.monotonic_ns()
            self.stands = False

    def wait_until(self, deadline: int) -> int | None:
        """See `mbrl_node.control.Clock`. A wait ends early when the clock is set back or stands
        still."""
        patience = self._period if self.stands else self.PATIENCE
        began = time.monotonic_ns()
        before = self._now
        while (now := self.now()) < deadline:
            if now < before:
                return None  # set back
            before = now
            left = patience - (time.monotonic_ns() - max(began, self._moved_at)) * 1e-9
            if left <= 0:
                self.stands = True
                return None
            self._waiter.wait(left)
        return self._moved_at
