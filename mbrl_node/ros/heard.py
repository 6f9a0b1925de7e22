"""What comes on a topic of a robot's state while one listens, beside what the robot's file says."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from mbrl_node.ros.extract import compile_fields, message_class
from mbrl_node.ros.graph import Graph, names_of, resolved, types_of, undelivered
from mbrl_node.ros.qos import qos_of
from mbrl_node.ros.stamps import from_time
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.action import JointActionTopic
from mbrl_node.spec.advice import Finding, finding, warning
from mbrl_node.spec.errors import Location, did_you_mean, one_line, show
from mbrl_node.spec.extract import Extract, TopicError
from mbrl_node.spec.topics import JointStateTopic, MessageTopic

_JUMP = 0.02  # rad or m: more than that at once is no small step
_QUEUE = 1000  # messages, so that none is lost while others are looked at


def is_here(kind: str) -> bool:
    try:
        message_class(kind)
    except TopicError:
        return False
    return True


class SimulatedTime:
    """Simulated time, if there is one."""

    def __init__(self, node: Node) -> None:
        self.comes, self.now = False, 0
        if not is_here("rosgraph_msgs/msg/Clock"):
            return
        quick = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        kind = message_class("rosgraph_msgs/msg/Clock")
        node.create_subscription(kind, "/clock", self._on_clock, quick)

    def _on_clock(self, message: Any) -> None:
        self.comes, self.now = True, from_time(message.clock)


class Heard:
    """What comes on a topic of the state."""

    def __init__(
        self, node: Node, at: Location, topic: JointStateTopic | MessageTopic, clock: SimulatedTime
    ) -> None:
        self._at, self._topic, self._clock = at, topic, clock
        self._qos = qos_of(topic.qos, _QUEUE)
        self._arrivals: list[float] = []  # s
        self._stamps: list[int] = []  # ns
        self._ages: list[float] = []  # s, by the machine's clock
        self._simulated_ages: list[float] = []  # s, by /clock
        self._joints: list[str] = []
        self._errors: Counter[str] = Counter()
        self._lows: list[float] = []
        self._highs: list[float] = []
        self._last: list[float] = []
        kind = message_class(topic.type)
        self._has_stamp = kind.get_fields_and_field_types().get("header") == "std_msgs/Header"
        self._extract: Extract | None
        try:
            self._extract = compile_fields(topic)
        except TopicError:  # message_findings says so
            self._extract = None
        node.create_subscription(
            kind,
            resolved(node, topic.topic),
            self._on,
            self._qos,
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
        )

    def _on(self, message: Any, info: Any) -> None:
        received = info["received_timestamp"]  # by the middleware: this thread may be late
        self._arrivals.append(received * 1e-9)
        stamp = from_time(message.header.stamp) if self._has_stamp else 0
        if stamp:
            self._stamps.append(stamp)
            self._ages.append((received - stamp) * 1e-9)
            if self._clock.comes:
                self._simulated_ages.append((self._clock.now - stamp) * 1e-9)
        if isinstance(self._topic, JointStateTopic):
            self._joints = list(dict.fromkeys([*self._joints, *message.name]))
        if self._extract is None:
            return
        try:
            values = self._extract(message)
        except Exception as error:  # whatever is in it
            self._errors[one_line(error)] += 1
            return
        self._last = values
        self._lows = [*map(min, self._lows, values)] if self._lows else values
        self._highs = [*map(max, self._highs, values)] if self._highs else values

    def findings(self, graph: Graph, spec: RobotSpec, seconds: float) -> Iterator[Finding]:
        """What was heard, beside what the file says."""
        topic, name = self._topic, graph.resolved(self._topic.topic)
        publishers = graph.publishers(name)
        if not publishers:
            yield finding(
                "problem",
                (*self._at, "topic"),
                f"nobody publishes {name}",
                graph.others(name, topic.type),
            )
            return
        who = f"{name} is published by {names_of(publishers)}"
        if topic.type not in (kinds := types_of(publishers)):
            yield finding(
                "problem",
                (*self._at, "type"),
                f"{who} as {', '.join(kinds)}, not {topic.type}",
                f"type: {kinds[0]}, and the fields that it has; or another topic",
            )
            return
        if len(publishers) > 1:
            yield warning(
                (*self._at, "topic"),
                f"{who}, {len(publishers)} publishers: are they one robot?",
                "leave one of them running, or name a topic that only one publishes",
            )
        if (problem := self._on_qos(publishers)) is not None:
            yield problem
            return
        if not self._arrivals:
            yield finding("problem", (*self._at, "topic"), f"{who}; no message in {seconds:g} s")
            return
        yield finding("ok", self._at, f"{who} as {topic.type}, {len(self._arrivals)} messages")
        yield from self._on_rate(spec)
        yield from self._on_stamps(spec)
        yield from self._on_fields(spec)

    def _on_qos(self, publishers: list[Any]) -> Finding | None:
        reasons = [undelivered(publisher.qos_profile, self._qos) for publisher in publishers]
        if not all(reasons):
            return None
        return finding(
            "problem",
            (*self._at, "qos"),
            f"what {names_of(publishers)} publishes is not delivered: {reasons[0]}",
            "qos: {reliability: best_effort}, which is the default and fits every publisher",
        )

    def _on_rate(self, spec: RobotSpec) -> Iterator[Finding]:
        name, timeout = self._topic.topic, self._topic.timeout
        if len(self._arrivals) < 2:
            yield finding("problem", (*self._at, "topic"), f"{name}: one message only")
            return
        gaps = [b - a for a, b in zip(self._arrivals, self._arrivals[1:], strict=False)]
        rate, longest = len(gaps) / sum(gaps), max(gaps)
        text = f"{name} comes at {rate:.1f} Hz"
        if rate < 0.95 * spec.rate:
            yield finding(
                "problem",
                ("rate",),
                f"{text}, control is at {show(spec.rate)} Hz: states would be used twice",
                f"rate: {_below(rate)}, or have it published more often",
            )
        elif rate < 1.5 * spec.rate:
            yield warning(
                ("rate",),
                f"{text}, control is at {show(spec.rate)} Hz: a state may be a period old",
                f"have it published at {show(2 * spec.rate)} Hz or more, if that can be",
            )
        else:
            yield finding("ok", ("rate",), f"{text}, control is at {show(spec.rate)} Hz")
        if longest * 2 > timeout:
            beyond = longest > timeout
            yield finding(
                "problem" if beyond else "warning",
                (*self._at, "timeout"),
                f"{name}: {_duration(longest)} between two messages; after {show(timeout)} s "
                "without one the robot is stopped",
                f"timeout: {show(float(f'{3 * longest:.1g}'))}, or see why they come late",
            )

    def _on_stamps(self, spec: RobotSpec) -> Iterator[Finding]:
        at, name, timeout = self._at, self._topic.topic, self._topic.timeout
        if not self._stamps:
            yield warning(
                at, f"{name} has no stamps, so a state is as old as its message, and not older"
            )
            return
        again = sum(b <= a for a, b in zip(self._stamps, self._stamps[1:], strict=False))
        if again:
            yield warning(
                at,
                f"{name}: {again} of {len(self._stamps)} messages have stamps that are not newer "
                "than the one before, and are not used",
                "one publisher, which stamps with the time of its measurement",
            )
        age, clock = statistics.median(self._ages), "this machine's clock"
        if abs(age) > timeout and self._simulated_ages:
            simulated = statistics.median(self._simulated_ages)
            if abs(simulated) <= timeout:
                age, clock = simulated, "/clock"
        words = f"{_duration(abs(age))} {'behind' if age >= 0 else 'ahead of'} {clock}"
        if abs(age) > timeout:
            yield finding(
                "problem",
                at,
                f"the stamps of {name} are {words}: a wrong clock, and no state would be used",
                "set both clocks by NTP or chrony; or use_sim_time:=true with a simulator's",
            )
        elif age > spec.dt or age < -spec.dt / 2:
            yield warning(
                at, f"the stamps of {name} are {words}", "set both clocks; or shorten the way here"
            )
        else:
            yield finding("ok", at, f"the stamps of {name} are {words}")

    def _on_fields(self, spec: RobotSpec) -> Iterator[Finding]:
        topic, missing = self._topic, False
        if isinstance(topic, JointStateTopic):
            for k, field in enumerate(topic.fields):
                if field.joint not in self._joints:
                    missing = True
                    hint = did_you_mean(field.joint, self._joints)
                    yield finding(
                        "problem",
                        (*self._at, "fields", k, "joint"),
                        f"{topic.topic} has no joint {show(field.joint)}{hint}",
                        f"one of {', '.join(self._joints) or 'none, so far'}",
                    )
            used = {field.joint for field in topic.fields}
            if others := [joint for joint in self._joints if joint not in used]:
                text = f"{topic.topic} has other joints, which are not used: {', '.join(others)}"
                yield finding("ok", self._at, text)
        for error, count in self._errors.items() if not missing else ():
            what = f"{count} of {len(self._arrivals)} messages cannot be used: {error}"
            yield finding("problem", (*self._at, "fields"), f"{topic.topic}: {what}")
        for k, (low, high) in enumerate(zip(self._lows, self._highs, strict=True)):
            yield from _on_range(spec, (*self._at, "fields", k), topic.fields[k], low, high)
        yield from self._on_jumps(spec)

    def _on_jumps(self, spec: RobotSpec) -> Iterator[Finding]:
        """Where commands are positions, the first takes a joint to `safe` at once."""
        topic, action = self._topic, spec.action
        if not (isinstance(topic, JointStateTopic) and isinstance(action, JointActionTopic)):
            return
        if "position" not in action.topic or not self._last:
            return
        for i, command in enumerate(action.fields):
            for field, value in zip(topic.fields, self._last, strict=True):
                of_it = field.value == "position" and field.joint == command.joint
                if of_it and abs(value - command.safe) > _JUMP:
                    yield warning(
                        ("action", "fields", i, "safe"),
                        f"joint {field.joint} is at {value:.3g}, and the first command takes it to "
                        f"{show(command.safe)} {field.unit} at once",
                        "bring the robot there before the start",
                    )


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.2g} ms"


def _below(rate: float) -> str:
    return show(float(int(rate)) if rate >= 2 else float(f"{0.95 * rate:.2g}"))


def _on_range(
    spec: RobotSpec, at: Location, field: Any, low: float, high: float
) -> Iterator[Finding]:
    """What was seen of a field beside where it may be."""
    seen = f"{field.name} was {low:.4g} to {high:.4g} {field.unit}"
    fits = True
    for i, limits in enumerate(spec.envelope):
        if limits.of == field.name:
            if _outside(low, high, limits.min, limits.max):
                fits = False
                yield finding(
                    "problem",
                    ("envelope", i),
                    f"{seen}: beyond its hard limit, so that the robot is stopped from the start",
                    "move the robot, check sign and unit, or widen the limits",
                )
            elif _outside(low, high, limits.soft_min, limits.soft_max):
                fits = False
                yield warning(("envelope", i), f"{seen}: beyond its soft limit")
    for key, ranges in (("termination", spec.termination), ("constraints", spec.constraints)):
        for i, allowed in enumerate(ranges):
            if allowed.of == field.name and _outside(low, high, allowed.min, allowed.max):
                fits = False
                what = "the episode ends at once" if key == "termination" else "plans keep off it"
                yield warning((key, i), f"{seen}, which is beyond its range: {what}")
    if fits:
        yield finding("ok", at, seen)


def _outside(low: float, high: float, least: float | None, most: float | None) -> bool:
    return (least is not None and low < least) or (most is not None and high > most)
