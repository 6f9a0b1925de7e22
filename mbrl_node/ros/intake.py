"""Transitions and events on their way into a run's store, and word of what was stored."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from mbrl_msgs.msg import Acknowledgement
from mbrl_msgs.msg import Event as EventMsg
from mbrl_msgs.msg import Transition as TransitionMsg
from rclpy.node import Node

from mbrl_node.data import (
    Event,
    Records,
    StoreError,
    Transition,
    record_type,
    records_of,
)
from mbrl_node.learning import Learner
from mbrl_node.ros.convert import NotOursError, event_from_msg, transition_from_msg
from mbrl_node.ros.events import Say
from mbrl_node.ros.qos import ACKNOWLEDGEMENTS, AGAIN, EVENTS, TRANSITIONS
from mbrl_node.spec import RobotSpec

MOST = 20_000  # transitions that wait; whoever sent more sends them again
MOST_EVENTS = 1000
RETRY = 1.0  # s after which it is tried again to write


@dataclass(frozen=True, slots=True)
class _Received:
    session: int
    sequence: int
    oldest: int  # what is missing below will not come
    transition: Transition | None  # None: refused


class Intake:
    """Takes messages in the callback thread; one other thread stores what they bring.

    Nothing is acknowledged before it is on disk, so that whoever sent it keeps it. A transition
    that is refused counts as one that is lost: it would be refused whenever it is sent.

    Args:
        on_event: called with each event of the controller, by the thread that stores.
        say: makes an event of a kind, a subject and a sentence.

    Attributes:
        problem: why nothing can be written; empty: it can.
    """

    def __init__(
        self,
        node: Node,
        spec: RobotSpec,
        learner: Learner,
        on_event: Callable[[Event], None],
        say: Say,
    ) -> None:
        self._node, self._spec, self._learner = node, spec, learner
        self._on_event, self._say = on_event, say
        self.problem = ""
        self._received: queue.SimpleQueue[_Received] = queue.SimpleQueue()
        self._heard: queue.SimpleQueue[tuple[Event, bool]] = queue.SimpleQueue()
        # Of the storing thread: what is to be written. It is as wide as the store is, so that there
        # is room for what a session of another task left behind.
        self._dims = spec.state_dim, spec.action_dim, learner.store.target_dim
        self._nothing: Records = np.empty(0, record_type(*self._dims))
        self._records = self._nothing
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._oldest: dict[int, int] = {}  # of each session that something came of
        self._refused: dict[int, set[int]] = {}
        self._retry_at = 0.0
        for topic, qos in (("transitions", TRANSITIONS), ("transitions_again", AGAIN)):
            node.create_subscription(
                TransitionMsg, f"mbrl_controller/{topic}", self._on_transition, qos
            )
        node.create_subscription(EventMsg, "mbrl_controller/events", self._on_event_msg, EVENTS)
        self._publisher = node.create_publisher(
            Acknowledgement, "~/acknowledgement", ACKNOWLEDGEMENTS
        )

    # The callback thread.

    def _on_transition(self, msg: Any) -> None:
        transition = None
        try:
            transition = transition_from_msg(msg, self._spec, self._target_dim(msg.session))
        except ValueError as error:
            self._node.get_logger().warning(
                f"transition {msg.sequence} refused: {error}", throttle_duration_sec=1.0
            )
            if isinstance(error, NotOursError):
                return
        if self._received.qsize() < MOST:
            self._received.put(_Received(msg.session, msg.sequence, msg.oldest, transition))

    def _target_dim(self, session: int) -> int:
        """How many targets its transitions have: one from before may have had another task."""
        task = self._learner.store.tasks.get(session)
        return len(self._spec.target_names if task is None else task.targets)

    def _on_event_msg(self, msg: Any) -> None:
        try:
            self._heard.put((event_from_msg(msg), True))
        except ValueError as error:
            self._node.get_logger().warning(f"an event was refused: {error}")

    def keep(self, event: Event) -> None:
        """An event of this node's own is to be stored; for any thread."""
        self._heard.put((event, False))

    @property
    def hears_controller(self) -> bool:
        """Whether there is somebody who sends transitions."""
        return bool(self._node.count_publishers("mbrl_controller/transitions"))

    # The storing thread.

    def store(self, wait: float = 0.0) -> None:
        """Stores what has come and tells its senders; what cannot be written is kept and tried
        again.

        Args:
            wait: s to wait for something to come.
        """
        if wait:
            with suppress(queue.Empty):
                self._take([self._received.get(timeout=wait)])
        if not len(self._records) and not self._received.empty():
            self._take([self._received.get() for _ in range(self._received.qsize())])
        while not self._heard.empty():
            event, others = self._heard.get()
            if others:
                self._on_event(event)
            self._events.append(event)
        if time.monotonic() < self._retry_at or not (self._oldest or self._events):
            return
        try:
            self._write()
        except StoreError as error:
            self._retry_at = time.monotonic() + RETRY
            self._node.get_logger().error(
                f"{error}; the controller keeps what is not stored", throttle_duration_sec=5.0
            )
            if not self.problem:
                self._say("problem", "store", str(error))
            self.problem = str(error)
        else:
            self.problem = ""

    def _take(self, received: list[_Received]) -> None:
        new = [r.transition for r in received if r.transition is not None]
        self._records = np.concatenate((self._records, records_of(new, *self._dims)))
        for each in received:
            self._oldest[each.session] = max(self._oldest.get(each.session, 0), each.oldest)
            if each.transition is None:
                self._refused.setdefault(each.session, set()).add(each.sequence)

    def _write(self) -> None:
        store = self._learner.store
        if len(self._records):
            self._learner.add(self._records)
            self._records = self._nothing
        try:
            for session, oldest in self._oldest.items():
                self._skip(session, oldest)
        finally:  # what was stored is stored
            for session in self._oldest:
                self._publisher.publish(
                    Acknowledgement(session=session, stored=store.stored(session))
                )
        self._oldest = {}
        if self._events:
            store.add_events(self._events)
            self._events.clear()

    def _skip(self, session: int, oldest: int) -> None:
        """Passes over what will not come, and what came and was refused."""
        store, refused = self._learner.store, self._refused.get(session, set())
        lost = store.skip(session, oldest) if oldest > store.stored(session) else 0
        if lost:
            text = f"{lost} transitions of session {session} never came"
            self._node.get_logger().warning(text)
            self._say("problem", "transitions", text)
        while (stored := store.stored(session)) in refused:
            store.skip(session, stored + 1)
        # What is beyond a gap comes again with that, if it has to be forgotten here.
        left = {sequence for sequence in refused if sequence > stored}
        self._refused[session] = left if len(left) < MOST else set()
        if not self._refused[session]:
            del self._refused[session]
