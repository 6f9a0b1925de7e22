"""Transitions on their way to the learner, whoever dies meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mbrl_msgs.msg import Acknowledgement
from mbrl_msgs.msg import Transition as TransitionMsg
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from mbrl_node.data import Transition, transitions_of
from mbrl_node.data.outbox import Outbox, left_over, open_outbox
from mbrl_node.data.repeater import Repeater
from mbrl_node.ros.convert import transition_to_msg
from mbrl_node.ros.qos import ACKNOWLEDGEMENTS, AGAIN, TRANSITIONS
from mbrl_node.spec import RobotSpec

log = logging.getLogger(__name__)

PERIOD, SLICE = 0.05, 200  # so many transitions are sent again at once, so often (s)


def outboxes(spec: RobotSpec, session: int, run_dir: str) -> tuple[Outbox, list[Outbox]]:
    """A new outbox for this session, and those that earlier sessions of the run left behind.

    Args:
        run_dir: the run's folder; empty: there is none, and they end with the process.
    """
    if not run_dir:
        return Outbox(spec, session), []
    earlier = left_over(spec, Path(run_dir))
    return open_outbox(spec, session, Path(run_dir)), earlier


class Delivery:
    """Publishes each transition once on `~/transitions`, for everybody, and what no learner has
    stored again on `~/transitions_again`, for learners alone.

    The control thread puts; all else happens in the callback thread.

    Args:
        outboxes: of this session, and of those that have ended; None: nobody is going to learn, and
            nothing is kept.
        say: makes an event of a kind, a subject and a sentence.
    """

    def __init__(
        self,
        node: Node,
        spec: RobotSpec,
        outboxes: tuple[Outbox, Sequence[Outbox]] | None,
        say: Callable[[str, str, str], None],
    ) -> None:
        self._spec, self._say = spec, say
        self._outbox: Outbox | None = None
        self._repeaters: list[Repeater] = []
        self._publisher = node.create_publisher(TransitionMsg, "~/transitions", TRANSITIONS)
        self._full = False
        if outboxes is None:
            return
        self._outbox, earlier = outboxes
        self._repeaters = [Repeater(each) for each in (*earlier, self._outbox)]
        if earlier:
            log.info("%d transitions of earlier sessions are sent again", self.unacknowledged)
        self._again = node.create_publisher(TransitionMsg, "~/transitions_again", AGAIN)
        node.create_subscription(
            Acknowledgement, "mbrl_learner/acknowledgement", self._on_stored, ACKNOWLEDGEMENTS
        )
        node.create_timer(PERIOD, self._repeat, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def heard(self) -> bool:
        """Whether somebody listens."""
        return bool(self._publisher.get_subscription_count() > 0)

    @property
    def unacknowledged(self) -> int:
        """Transitions that no learner has stored yet, those of earlier sessions among them."""
        return sum(len(repeater.outbox) for repeater in list(self._repeaters))

    @property
    def dropped(self) -> int:
        """Transitions for which there was no more room before a learner had stored them."""
        return 0 if self._outbox is None else self._outbox.dropped

    def put(self, transition: Transition) -> None:
        """Keeps a transition and publishes it. For the control thread: waits for nobody."""
        oldest = transition.sequence
        if self._outbox is not None:
            self._outbox.put(transition)
            oldest = self._outbox.oldest
        self._publisher.publish(transition_to_msg(transition, self._spec, oldest))

    def _on_stored(self, msg: Any) -> None:
        for repeater in self._repeaters:
            if repeater.outbox.session == msg.session:
                repeater.outbox.acknowledge(msg.stored)

    def _repeat(self) -> None:
        for repeater in list(self._repeaters):
            if repeater.outbox is not self._outbox and not len(repeater.outbox):
                self._repeaters.remove(repeater)
                repeater.outbox.close()
        self._tell_drops()
        if self._again.get_subscription_count() == 0:
            return
        left = SLICE
        for repeater in self._repeaters:
            records = repeater.due(time.monotonic(), left)
            left -= len(records)
            for transition in transitions_of(records):
                oldest = min(transition.sequence, repeater.outbox.oldest)
                self._again.publish(transition_to_msg(transition, self._spec, oldest))

    def _tell_drops(self) -> None:
        full = self._outbox is not None and len(self._outbox) == self._outbox.capacity
        if full and self.dropped and not self._full:
            text = "no learner has stored transitions for so long that the oldest are lost"
            log.error(text)
            self._say("problem", "transitions", text)
        self._full = full

    def settle(self, timeout: float) -> None:
        """Waits until a learner that is there has stored all, `timeout` s at most. Not for the
        callback thread."""
        deadline = time.monotonic() + timeout
        while self.unacknowledged and time.monotonic() < deadline:
            if self._again.get_subscription_count() == 0:
                return
            time.sleep(0.02)

    def close(self) -> None:
        """Leaves what is not acknowledged to the next process."""
        for repeater in self._repeaters:
            repeater.outbox.close()
