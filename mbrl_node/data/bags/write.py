"""A run as a bag of rosbag2 in MCAP, which `ros2 bag play`, PlotJuggler and Foxglove read."""

from __future__ import annotations

import heapq
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from mbrl_node.data.bags.bag import TASKS, tasks_as_text
from mbrl_node.data.bags.messages import blank, message_maker
from mbrl_node.data.bags.storage import BagError
from mbrl_node.data.bags.types import TRANSITION, own_types
from mbrl_node.data.records import Records, transitions_of
from mbrl_node.data.store import SessionTask
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.action import ActionTopic
from mbrl_node.spec.extract import TopicError
from mbrl_node.spec.robot import delay_periods
from mbrl_node.spec.system import System
from mbrl_node.spec.targets import TargetTopic
from mbrl_node.spec.topics import StateTopic

TRANSITIONS = "/mbrl_controller/transitions"
_BETWEEN = 10**9  # ns, from the end of a session to the next, where they would overlap
_FOREVER = QosTime(9223372036, 854775807)  # as rmw writes it
# As the controller offers them, so that a learner takes them from `ros2 bag play`.
_TRANSITIONS_QOS = Qos(
    history=QosHistory.KEEP_LAST,
    depth=10_000,
    reliability=QosReliability.RELIABLE,
    durability=QosDurability.TRANSIENT_LOCAL,
    deadline=_FOREVER,
    lifespan=_FOREVER,
    liveliness=QosLiveliness.AUTOMATIC,
    liveliness_lease_duration=_FOREVER,
    avoid_ros_namespace_conventions=False,
)
Written = tuple[int, int, Connection, bytes | memoryview]  # ns in the bag, rank at that time


def write_bag(
    folder: Path, system: System, records: Records, tasks: Mapping[int, SessionTask]
) -> list[str]:
    """Writes a run as a bag: its transitions, and of a robot the states, targets and commands that
    they are made of, on the robot's own topics.

    The clock of a simulated robot begins with 0 in each session. In the bag it begins when the
    session did; only what is in the messages on `TRANSITIONS` is as it was.

    Args:
        folder: of the bag; made whole, or not at all.
        records: by session and sequence, [N].
        tasks: what the robot was to do in each session; the targets of another task than the
            system's are in the transitions only.

    Returns:
        What could not be written, a sentence each.

    Raises:
        BagError: there is such a folder already, there is nothing to write, or it cannot be
            written.
    """
    if folder.exists():
        raise BagError(f"{folder}: exists already")
    if not len(records):
        raise BagError(f"{folder}: there are no transitions to write")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    whole = part / folder.name
    try:
        with Writer(whole, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            writer.set_custom_data(TASKS, tasks_as_text(tasks))
            contents = _Contents(writer, system, tasks)
            for time, _, connection, data in contents.messages(records):
                writer.write(connection, time, data)
        whole.rename(folder)
    except OSError as error:
        raise BagError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return contents.omitted


class _Contents:
    """The topics of a bag and their messages."""

    def __init__(self, writer: Writer, system: System, tasks: Mapping[int, SessionTask]) -> None:
        self._writer, self._store = writer, own_types()
        self._system, self._tasks = system, tasks
        self._streams: list[Callable[[Records, int], Iterator[tuple[int, Connection, Any]]]] = []
        self.omitted: list[str] = []
        if isinstance(system, RobotSpec):
            self._add_robot(system)
            own = SessionTask.of(system)
            for task in sorted({it.task for it in tasks.values() if it.targets and it != own}):
                text = f"the targets of the task '{task}' are in the transitions only"
                self.omitted.append(f"{text}: the topics are those of '{system.task}'")
        self._add_transitions(system.hash)

    def messages(self, records: Records) -> Iterator[Written]:
        """All messages in the order of time; at one time states come first, transitions last."""
        end = 0
        breaks = np.flatnonzero(np.diff(records["session"].astype(np.int64))) + 1
        for session in np.split(records, breaks):
            first, last = int(session["stamp"].min()), int(session["next_stamp"].max())
            # A real robot's clock is that of the bag already.
            begin = max(first, int(session["session"][0]), end + _BETWEEN if end else 0)
            offset = begin - first
            end = last + offset
            yield from heapq.merge(
                *(
                    self._serialized(rank, stream(session, offset))
                    for rank, stream in enumerate(self._streams)
                ),
                key=lambda written: written[:2],
            )

    def _serialized(
        self, rank: int, messages: Iterator[tuple[int, Connection, Any]]
    ) -> Iterator[Written]:
        for time, connection, message in messages:
            yield time, rank, connection, self._store.serialize_cdr(message, connection.msgtype)

    def _connect(self, topic: str, kind: str, *qos: Qos) -> Connection:
        return self._writer.add_connection(
            topic, kind, typestore=self._store, offered_qos_profiles=qos
        )

    def _add_robot(self, spec: RobotSpec) -> None:
        first = 0
        for topic in spec.state:
            columns = slice(first, first := first + len(topic.fields))
            self._add_topic(topic, partial(_states, columns))
        first = 0
        for target in spec.targets:
            columns = slice(first, first := first + len(target.fields))
            self._add_topic(target, partial(self._targets, columns))
        self._add_topic(spec.action, partial(_commands, delay_periods(spec) * round(spec.dt * 1e9)))

    def _add_topic(
        self,
        topic: StateTopic | TargetTopic | ActionTopic,
        rows: Callable[[Records], tuple[list[int], NDArray[np.float64]]],
    ) -> None:
        """One of the robot's own topics.

        Args:
            rows: from the transitions of a session to the times of the messages in ns, rising, and
                the values of the topic's fields in each.
        """
        try:
            make = message_maker(self._store, topic)
        except TopicError as error:
            self.omitted.append(f"{topic.topic} is left out: {error.text}")
            return
        connection = self._connect(_absolute(topic.topic), topic.type)

        def stream(records: Records, offset: int) -> Iterator[tuple[int, Connection, Any]]:
            for stamp, values in zip(*rows(records), strict=True):
                time = max(0, stamp + offset)
                yield time, connection, make(values, time)

        self._streams.append(stream)

    def _targets(self, columns: slice, records: Records) -> tuple[list[int], NDArray[np.float64]]:
        """Those of a session each time they change, with the time of the state from which on they
        count; none where it had another task."""
        if self._tasks.get(int(records["session"][0])) != SessionTask.of(self._system):
            records = records[:0]
        records = records[np.isfinite(records["targets"]).all(1)]
        values = records["targets"][:, columns]
        new = np.r_[True, (values[1:] != values[:-1]).any(1)][: len(values)]
        return records["stamp"][new].tolist(), values[new]

    def _add_transitions(self, spec_hash: int) -> None:
        connection = self._connect(TRANSITIONS, TRANSITION, _TRANSITIONS_QOS)
        message: Any = blank(self._store, TRANSITION)
        message.spec_hash = spec_hash

        def stream(records: Records, offset: int) -> Iterator[tuple[int, Connection, Any]]:
            message.oldest = int(records["sequence"][0])
            for t in transitions_of(records):
                for name in records.dtype.names or ():
                    if name not in ("stamp", "next_stamp"):
                        setattr(message, name, getattr(t, name))
                for stamp, ns in ((message.stamp, t.stamp), (message.next_stamp, t.next_stamp)):
                    stamp.sec, stamp.nanosec = divmod(ns, 10**9)
                yield t.next_stamp + offset, connection, message

        self._streams.append(stream)


def _states(columns: slice, records: Records) -> tuple[list[int], NDArray[np.float64]]:
    """Every state of a session once, with its stamp."""
    n = len(records)
    stamp = np.stack((records["stamp"], records["next_stamp"]), 1).ravel()
    state = np.stack((records["state"], records["next_state"]), 1).reshape(2 * n, -1)
    # Most are both: the last of a transition, and the first of the one after.
    again = np.r_[False, (stamp[1:] == stamp[:-1]) & (state[1:] == state[:-1]).all(1)]
    return stamp[~again].tolist(), state[~again, columns]


def _commands(before: int, records: Records) -> tuple[list[int], NDArray[np.float64]]:
    """The commands of a session, `before` ns earlier than they took effect."""
    return (records["stamp"] - before).tolist(), records["action"]


def _absolute(name: str) -> str:
    """A topic's name as it is without namespaces."""
    return "/" + name.removeprefix("~").removeprefix("/")
