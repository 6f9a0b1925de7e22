"""From the messages of a bag to the numbers that a robot's file asks for."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbrl_node.data.bags.bag import Bag
from mbrl_node.data.bags.storage import BagError, Topic
from mbrl_node.data.bags.types import TRANSITION, Reader
from mbrl_node.data.records import Records, records_of, with_room
from mbrl_node.data.store import SessionTask
from mbrl_node.data.transition import Transition, no_targets
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.commands import compile_command
from mbrl_node.spec.errors import Location, Problem, did_you_mean, line, show
from mbrl_node.spec.extract import TopicError, compile_fields
from mbrl_node.spec.goals import Goals
from mbrl_node.spec.targets import TargetTopic
from mbrl_node.spec.topics import JOINT_STATE

Times = NDArray[np.int64]
_BATCH = 4096  # transitions


@dataclass(frozen=True)
class Samples:
    """What the messages of a topic say, by the time at which they were recorded."""

    received: Times  # ns, [K]
    stamp: Times  # ns; 0: the message has none, [K]
    values: NDArray[np.float64]  # [K, width]


class Source:
    """A topic that a robot's file names, and what a bag has of it.

    Args:
        at: where in the file it is.
        width: how many numbers a message gives.
        compile: from a reader of the messages to what takes the numbers from one.
    """

    def __init__(
        self,
        at: Location,
        name: str,
        kind: str,
        width: int,
        compile: Callable[[Reader], Callable[[Any], list[float]]],
    ) -> None:
        self.at, self.name, self.kind, self.width = at, name, kind, width
        self.topics: list[Topic] = []  # of the bag that have its name
        self.refused: Counter[str] = Counter()  # why messages were, and how many
        self._problem: Problem | None = None
        self._compile = compile
        # For each topic; None: it cannot be read.
        self._readers: list[tuple[Reader, Callable[[Any], list[float]]] | None] = []
        self._times, self._values = array("q"), array("d")
        self._names: list[str] = []  # of the joints in the newest message that was refused

    @property
    def use(self) -> str:
        """What it is to the robot, such as state[0]."""
        return str(self.at[0]) + "".join(f"[{index}]" for index in self.at[1:])

    def matches(self, topic: Topic) -> bool:
        """Whether a bag's topic is this one, whose name may be relative."""
        if self.name.startswith("/"):
            return topic.name == self.name
        return topic.name.endswith("/" + self.name.removeprefix("~/"))

    def add(self, topic: Topic, received: int, data: bytes) -> None:
        """Takes in a message; one that cannot be used is counted."""
        if topic not in self.topics:
            self.topics.append(topic)
            self._readers.append(self._reader(topic))
        if (reader := self._readers[self.topics.index(topic)]) is None:
            return
        read, take = reader
        message = None
        try:
            message = read(data)
            values = take(message)
        except ValueError as error:
            self.refused[str(error)] += 1
            self._names = getattr(message, "name", [])
            return
        self._times.append(received)
        self._times.append(_nanoseconds(message.header.stamp) if read.has_header else 0)
        self._values.extend(values)

    def _reader(self, topic: Topic) -> tuple[Reader, Callable[[Any], list[float]]] | None:
        names = sorted({topic.name for topic in self.topics})
        try:
            if topic.type != self.kind:
                text = f"{show(self.kind)} is not what the bag has, {show(topic.type)}"
                raise TopicError(("type",), text)
            if len(names) > 1:
                text = f"{show(self.name)} may be each of {', '.join(names)}; begin it with /"
                raise TopicError(("topic",), text)
            reader = Reader(topic)
            return reader, self._compile(reader)
        except TopicError as error:
            self._problem = self._problem or Problem((*self.at, *error.at), error.text)
            return None

    @property
    def problem(self) -> Problem | None:
        """Why it has nothing that could be used, if so."""
        if self._problem or self._times or not self.refused:
            return self._problem
        why, _ = self.refused.most_common(1)[0]
        text = f"no message on {self.name} can be used: {why}"
        if self.kind == JOINT_STATE:
            text += f"; its joints are {', '.join(self._names) or 'none'}"
        return Problem(self.at, text)

    def samples(self) -> Samples:
        """All, sorted by the time at which they were recorded."""
        times = np.array(self._times, np.int64).reshape(-1, 2)
        values = np.array(self._values).reshape(len(times), self.width)
        order = np.argsort(times[:, 0], kind="stable")
        return Samples(times[order, 0], times[order, 1], values[order])


class Gathered:
    """All of a bag that a robot's file asks for: its topics, and transitions that are there
    already.

    Attributes:
        transitions: those of this robot, by session and sequence, each once, [N].
        tasks: what it was to do in their sessions.
        foreign: how many transitions are of another robot, or another version of it.

    Raises:
        BagError: the bag cannot be read.
    """

    def __init__(self, bag: Bag, spec: RobotSpec) -> None:
        self._spec, self._bag = spec, bag
        self.states = [_state_source(spec, i) for i in range(len(spec.state))]
        self.targets = _target_sources(spec)
        self.commands = _command_source(spec)
        self.foreign = 0
        self.damaged: Counter[str] = Counter()  # why transitions could not be read, and how many
        self._pending: list[Transition] = []
        self._batches: list[Records] = []
        self._target_dims: dict[int, int] = {}  # of each session
        readers: dict[Topic, Reader | None] = {}
        handlers: dict[Topic, list[Source]] = {}
        for topic, time, data in bag.messages():
            if topic not in handlers:
                handlers[topic] = [source for source in self.sources if source.matches(topic)]
                readers[topic] = self._reader(topic) if topic.type == TRANSITION else None
            for source in handlers[topic]:
                source.add(topic, time, data)
            if (reader := readers[topic]) is not None:
                self._add(reader, data)
        self._flush()
        widest = max(self._target_dims.values(), default=0)
        batches = [with_room(batch, widest) for batch in self._batches]
        self.transitions = _sorted(np.concatenate(batches))
        self.tasks = {session: self._task(session) for session in self._target_dims}

    @property
    def sources(self) -> list[Source]:
        """What the robot's file names."""
        return [*self.states, *self.targets, self.commands]

    def _task(self, session: int) -> SessionTask:
        """What the bag says of a session and else the robot's file, if it has as many targets."""
        count = self._target_dims[session]
        for task in (self._bag.tasks.get(session), SessionTask.of(self._spec)):
            if task is not None and len(task.targets) == count:
                return task
        return SessionTask("", tuple(f"target_{i}" for i in range(count)))

    def check(self) -> None:
        """Whether the bag has what transitions are made from.

        Raises:
            BagError: it has not; a line for each topic, and what the bag has.
        """
        has = [*dict.fromkeys(topic.name for topic in self._bag.counts)]
        problems = []
        for source in self.sources:
            if source.problem is not None:
                problems.append(source.problem)
            elif not source.topics and source not in self.targets:  # nobody need have told any
                text = f"{show(source.name)} is not in the bag{did_you_mean(source.name, has)}"
                problems.append(Problem((*source.at, "topic"), text))
        if problems:
            topics = sorted((topic.name, topic.type, n) for topic, n in self._bag.counts.items())
            listed = [f"  {name}  {kind}  {count}" for name, kind, count in topics]
            raise BagError(
                "\n".join(
                    [
                        *(line(self._spec.name, problem) for problem in problems),
                        f"{self._bag.path} has:" if listed else f"{self._bag.path} is empty",
                        *listed,
                    ]
                )
            )

    def _reader(self, topic: Topic) -> Reader | None:
        try:
            return Reader(topic)
        except TopicError as error:
            self.damaged[error.text] += 1
            return None

    def _add(self, reader: Reader, data: bytes) -> None:
        try:
            msg = reader(data)
            if msg.spec_hash != self._spec.hash:
                self.foreign += 1
                return
            transition = _transition(msg)
            shapes = [len(transition.state), len(transition.action), len(transition.next_state)]
            n, m = self._spec.state_dim, self._spec.action_dim
            if shapes != [n, m, n] or len(transition.action_requested) != m:
                raise ValueError(f"its sizes are {shapes}")
            if not np.isfinite(transition.targets).all():
                raise ValueError("its targets are not finite")
            count = len(transition.targets)
            if count != (others := self._target_dims.setdefault(transition.session, count)):
                raise ValueError(f"it has {count} targets, others of its session have {others}")
        except (ValueError, AttributeError) as error:
            self.damaged[str(error)] += 1
            return
        self._pending.append(transition)
        if len(self._pending) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        widest = max((len(transition.targets) for transition in self._pending), default=0)
        dims = self._spec.state_dim, self._spec.action_dim, widest
        self._batches.append(records_of(self._pending, *dims))
        self._pending = []


def _state_source(spec: RobotSpec, index: int) -> Source:
    topic = spec.state[index]

    def compile(reader: Reader) -> Callable[[Any], list[float]]:
        return compile_fields(topic, reader.fields)

    return Source(("state", index), topic.topic, topic.type, len(topic.fields), compile)


def _target_sources(spec: RobotSpec) -> list[Source]:
    """Of each topic of the task's targets; what the controller would refuse is refused."""
    goals, first, sources = Goals(spec), 0, []
    for index, topic in enumerate(spec.targets):

        def compile(
            reader: Reader, topic: TargetTopic = topic, first: int = first
        ) -> Callable[[Any], list[float]]:
            extract = compile_fields(topic, reader.fields)
            if topic.frame is not None and not reader.has_header:
                raise TopicError(("frame",), f"{topic.type} has no header that would tell it")

            def take(message: Any) -> list[float]:
                if topic.frame is not None and message.header.frame_id != topic.frame:
                    frame = message.header.frame_id
                    raise ValueError(f"it is in the frame '{frame}', not '{topic.frame}'")
                values = extract(message)
                goals.tell(values, first)
                return values

            return take

        at, width = ("targets", index), len(topic.fields)
        sources.append(Source(at, topic.topic, topic.type, width, compile))
        first += width
    return sources


def _command_source(spec: RobotSpec) -> Source:
    action = spec.action

    def compile(reader: Reader) -> Callable[[Any], list[float]]:
        return compile_command(action, reader.fields)

    return Source(("action",), action.topic, action.type, spec.action_dim, compile)


def _transition(msg: Any) -> Transition:
    return Transition(
        msg.session,
        msg.sequence,
        msg.episode,
        msg.step,
        _nanoseconds(msg.stamp),
        _nanoseconds(msg.next_stamp),
        msg.state,
        msg.action,
        msg.action_requested,
        msg.next_state,
        msg.reward,
        msg.terminated,
        msg.truncated,
        msg.controller,
        msg.model_version,
        getattr(msg, "targets", no_targets()),  # a bag from before there were any has none
    )


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def _sorted(records: Records) -> Records:
    """By session and sequence, each once."""
    records = records[np.lexsort((records["sequence"], records["session"]))]
    same = [records[name][1:] == records[name][:-1] for name in ("session", "sequence")]
    result: Records = records[np.r_[True, ~(same[0] & same[1])][: len(records)]]
    return result
