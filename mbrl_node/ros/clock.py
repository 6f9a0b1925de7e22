"""The node's ROS clock as a clock that a pacer can wait on."""

from __future__ import annotations

import threading
import time

from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node


class SimulatedClock:
    """Time as it comes on /clock (`use_sim_time`): waiting ends with the message that passes the
    deadline.

    A wait ends early when the clock is set back, stands still for `PATIENCE` seconds, or `close`
    is called.
    """

    PATIENCE = 0.2  # s

    def __init__(self, node: Node) -> None:
        self._clock = node.get_clock()
        self._changed = threading.Condition()
        self._now, self._moved_at, self._set_back, self._closed = 0, 0, False, False
        self._handle = self._clock.create_jump_callback(
            JumpThreshold(
                min_forward=Duration(nanoseconds=1),
                min_backward=Duration(nanoseconds=-1),
                on_clock_change=True,
            ),
            post_callback=self._on_jump,
        )

    def _on_jump(self, jump: TimeJump) -> None:
        now = self._clock.now().nanoseconds
        with self._changed:
            self._set_back |= now < self._now
            self._now, self._moved_at = now, time.monotonic_ns()
            self._changed.notify_all()

    def now(self) -> int:
        """The time of the last /clock message, ns; 0 before the first."""
        return self._now

    def wait_until(self, deadline: int) -> int | None:
        """See `mbrl_node.control.Clock`."""
        with self._changed:
            self._set_back = False
            while self._now < deadline:
                moved = self._changed.wait(self.PATIENCE)
                if self._closed or self._set_back or not moved:
                    return None
            return self._moved_at

    def close(self) -> None:
        """Ends a wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._handle.unregister()
