"""What the control thread makes of the messages on a robot's state topics, over real DDS."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")

from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped  # noqa: E402
from mbrl_msgs.msg import ControllerStatus  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from sensor_msgs.msg import Imu, JointState  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402

from mbrl_node.ros.process import ConfigurationError  # noqa: E402
from mbrl_node.ros.stamps import to_time  # noqa: E402
from mbrl_node.ros.state_reader import StateReader  # noqa: E402
from mbrl_node.ros.taken import Waiter  # noqa: E402
from mbrl_node.spec import RobotSpec  # noqa: E402

PATIENCE = 20.0  # s
SECOND = 10**9
START = 1000 * SECOND  # robot time at which a test begins, ns
_numbers = itertools.count()


def entry(kind: str, *fields: str, **more: object) -> dict[str, Any]:
    """An entry of `state` on a topic of its own; fields are joint.value or paths."""
    number = next(_numbers)
    described: list[dict[str, object]] = []
    for i, text in enumerate(fields):
        joint, _, value = text.partition(".")
        source = {"joint": joint, "value": value} if "JointState" in kind else {"path": text}
        angle = text.endswith("yaw")
        field = {"name": f"f{number}_{i}", "unit": "rad", "angle": angle}
        described.append(field | source)
    topic = {"topic": f"/test/state_{number}", "type": kind, "timeout": 0.25, "fields": described}
    return topic | more


def robot(*topics: dict[str, Any]) -> RobotSpec:
    """A robot with these state topics."""
    command = {"name": "u", "joint": "a", "min": -1, "max": 1, "safe": 0, "unit": "N"}
    kind = "std_msgs/msg/Float64MultiArray"
    return RobotSpec.from_dict(
        {
            "name": "arm",
            "rate": 100,
            "state": list(topics),
            "action": {"topic": "/test/commands", "type": kind, "fields": [command]},
            "reward": [{"term": "square", "of": "u", "weight": -1}],
            "episode": {"length": 10},
        }
    )


READER_LOG = logging.getLogger("mbrl_node.ros.state_reader")


class Log(logging.Handler):
    """Keeps what the reader logs."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings.append(record.getMessage())


class Bench:
    """A reader, publishers to its topics, and a robot time that only the test moves."""

    def __init__(self, nodes: tuple[Any, Any], spec: RobotSpec, simulated: bool = True) -> None:
        self.node, self.publisher_node = nodes
        self.log = Log()
        READER_LOG.addHandler(self.log)
        self.now = START
        self.reader = StateReader(self.node, spec, lambda: self.now, simulated)
        self.topics = [topic.topic for topic in spec.state]
        self._waiter = Waiter(self.node, self.reader.subscriptions)
        self._publishers: list[Any] = []

    def publish_to(self, index: int, kind: Any, qos: QoSProfile | int = 10) -> Any:
        """A publisher that the reader has found."""
        publisher = self.publisher_node.create_publisher(kind, self.topics[index], qos)
        self._publishers.append(publisher)
        subscription = self.reader.subscriptions[index].subscription
        eventually(
            lambda: publisher.get_subscription_count() and subscription.get_publisher_count()
        )
        return publisher

    def send(self, publisher: Any, msg: Any) -> None:
        """Publishes, and polls once it has come."""
        publisher.publish(msg)
        self._waiter.wait(PATIENCE)
        self.reader.poll()

    @property
    def values(self) -> list[float]:
        """The state, which must be usable."""
        state = self.reader.read()
        assert not isinstance(state, str), state
        return [float(value) for value in state[1]]

    @property
    def refused(self) -> list[int]:
        return list(self.reader.refused.values())

    def close(self) -> None:
        self.reader.close()
        for publisher in self._publishers:
            self.publisher_node.destroy_publisher(publisher)
        READER_LOG.removeHandler(self.log)


def eventually(condition: Callable[[], object]) -> None:
    """Waits until it holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Any, Any]]:
    context = rclpy.Context()
    rclpy.init(context=context)
    two = tuple(rclpy.create_node(f"state_{name}", context=context) for name in ("in", "out"))
    yield two
    for node in two:
        node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def bench(nodes: tuple[Any, Any]) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*topics: dict[str, Any], simulated: bool = True) -> Bench:
        made.append(Bench(nodes, robot(*topics), simulated))
        return made[-1]

    yield make
    for it in made:
        it.close()


JOINTS = ("b.velocity", "a.position")


@pytest.fixture
def arm(bench: Callable[..., Bench]) -> tuple[Bench, Any]:
    """A robot with one JointState topic, and a publisher to it."""
    it = bench(entry("sensor_msgs/msg/JointState", *JOINTS))
    return it, it.publish_to(0, JointState)


def state(stamp: int, a: float = 1.0, b: float = 2.0, **changes: Any) -> JointState:
    """A measurement at a robot time in ns."""
    msg = JointState(name=["a", "b"], position=[a, 0.0], velocity=[0.0, b])
    msg.header.stamp = to_time(stamp)
    for name, value in changes.items():
        setattr(msg, name, value)
    return msg


# Messages of every type.


def odometry() -> Odometry:
    msg = Odometry()
    msg.pose.pose.orientation.z, msg.pose.pose.orientation.w = math.sin(0.6), math.cos(0.6)
    msg.twist.twist.linear.x = 0.5
    return msg


def filled(msg: Any, **values: float) -> Any:
    """With values at paths, in which __ stands for a dot."""
    for path, value in values.items():
        *parents, last = path.split("__")
        at = msg
        for parent in parents:
            at = getattr(at, parent)
        setattr(at, last, value)
    return msg


ORIENTATION = tuple(f"orientation.{c}" for c in "xyzw")
MESSAGES: list[tuple[Any, str, tuple[str, ...], list[float]]] = [
    (
        odometry(),
        "nav_msgs/msg/Odometry",
        ("pose.pose.orientation.yaw", "twist.twist.linear.x"),
        [1.2, 0.5],
    ),
    (
        filled(Imu(), angular_velocity__z=0.1, orientation__z=0.6, orientation__w=-0.8),
        "sensor_msgs/msg/Imu",
        ("angular_velocity.z", *ORIENTATION),
        [0.1, 0.0, 0.0, 0.6, -0.8],
    ),
    (
        filled(PoseStamped(), pose__position__z=3.0),
        "geometry_msgs/msg/PoseStamped",
        ("pose.position.z", "pose.orientation.yaw"),
        [3.0, 0.0],
    ),
    (
        filled(TwistStamped(), twist__angular__y=-2.0),
        "geometry_msgs/msg/TwistStamped",
        ("twist.angular.y",),
        [-2.0],
    ),
    (
        filled(WrenchStamped(), wrench__force__x=9.0),
        "geometry_msgs/msg/WrenchStamped",
        ("wrench.force.x", "wrench.torque.z"),
        [9.0, 0.0],
    ),
    (
        Float64MultiArray(data=[1.0, 2.0, 3.0]),
        "std_msgs/msg/Float64MultiArray",
        ("data[2]", "data[0]"),
        [3.0, 1.0],
    ),
    (
        ControllerStatus(rate=25.0, ticks=7, stopped=True),
        "mbrl_msgs/msg/ControllerStatus",
        ("rate", "ticks", "stopped"),
        [25.0, 7.0, 1.0],
    ),
]


@pytest.mark.parametrize(("msg", "kind", "fields", "expected"), MESSAGES)
def test_a_message_of_any_type_gives_its_fields(
    bench: Callable[..., Bench], msg: Any, kind: str, fields: tuple[str, ...], expected: list[float]
) -> None:
    it = bench(entry(kind, *fields))
    it.send(it.publish_to(0, type(msg)), msg)
    assert it.values == pytest.approx(expected) and it.refused == [0]
    assert not it.log.warnings


def test_a_state_is_gathered_from_all_topics_with_the_oldest_stamp(
    bench: Callable[..., Bench],
) -> None:
    it = bench(
        entry("sensor_msgs/msg/JointState", *JOINTS),
        entry("geometry_msgs/msg/TwistStamped", "twist.linear.x"),
        entry("std_msgs/msg/Float64MultiArray", "data[0]", size=1),
    )
    joints, twist, array = (
        it.publish_to(i, kind)
        for i, kind in enumerate((JointState, TwistStamped, Float64MultiArray))
    )
    it.send(joints, state(START - 1_000_000))
    it.send(array, Float64MultiArray(data=[5.0]))
    missing = it.reader.read()
    assert isinstance(missing, str) and missing.startswith(f"no message on {it.topics[1]} yet")
    assert it.reader.ages()[it.topics[1]] == math.inf and it.reader.received is None
    msg = filled(TwistStamped(), twist__linear__x=4.0)
    msg.header.stamp = to_time(START - 2_000_000)
    it.send(twist, msg)
    read = it.reader.read()
    assert not isinstance(read, str)
    assert read[0] == START - 2_000_000 and read[1].tolist() == [2.0, 1.0, 4.0, 5.0]
    it.now += 100_000_000
    assert it.reader.ages() == dict.fromkeys(it.topics, pytest.approx(0.1))
    received = it.reader.received
    assert received is not None and 0 <= time.monotonic_ns() - received < PATIENCE * SECOND


# What is refused.


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": ["a"]}, "it has no joint 'b'"),
        ({"name": ["x", "y"]}, "it has no joint 'b'"),
        ({"name": []}, "it has no joint 'b'"),
        ({"name": ["a", "b", "b"]}, "it has joint 'b' 2 times"),
        ({"position": [1.0]}, "it has 2 joints and 1 values of position"),
        ({"velocity": [1.0, 2.0, 3.0]}, "it has 2 joints and 3 values of velocity"),
        ({"position": [math.nan, 0.0]}, "the position of joint 'a' is nan"),
        ({"velocity": [0.0, math.inf]}, "the velocity of joint 'b' is inf"),
    ],
)
def test_a_message_that_cannot_be_used_is_refused_counted_and_reported(
    arm: tuple[Bench, Any], changes: dict[str, Any], reason: str
) -> None:
    it, publisher = arm
    it.send(publisher, state(START))
    it.send(publisher, state(START + 1, **changes))
    assert it.refused == [1] and it.reader.refused_total == 1
    assert it.log.warnings == [f"{it.topics[0]}: a message was refused: {reason}"]
    assert it.values == [2.0, 1.0], "the one before stays"
    it.now += SECOND
    assert it.reader.read() == (
        f"the state on {it.topics[0]} is older than 0.25 s; the last was refused: {reason}"
    )


def test_before_the_first_good_message_the_reason_is_told(arm: tuple[Bench, Any]) -> None:
    it, publisher = arm
    it.send(publisher, state(START, name=["x", "y"]))
    assert it.reader.read() == (
        f"no message on {it.topics[0]} yet; the last was refused: it has no joint 'b'"
    )


def test_an_array_of_the_wrong_size_is_refused(bench: Callable[..., Bench]) -> None:
    it = bench(entry("std_msgs/msg/Float64MultiArray", "data[0]", size=2))
    publisher = it.publish_to(0, Float64MultiArray)
    it.send(publisher, Float64MultiArray(data=[1.0, 2.0]))
    for data in ([], [7.0], [7.0, 7.0, 7.0], [7.0] * 100_000):
        it.send(publisher, Float64MultiArray(data=data))
    assert it.values == [1.0] and it.refused == [4]


def test_refused_messages_are_reported_once_in_five_seconds_with_their_number(
    arm: tuple[Bench, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    it, publisher = arm
    real, skipped = time.monotonic_ns, [0]
    monkeypatch.setattr(time, "monotonic_ns", lambda: real() + skipped[0])
    for _ in range(4):
        it.send(publisher, state(START, position=[]))
    assert len(it.log.warnings) == 1
    skipped[0] = 6 * SECOND
    it.reader.poll()
    assert it.log.warnings[1:] == [
        f"{it.topics[0]}: 3 messages were refused: it has 2 joints and 0 values of position"
    ]
    it.reader.poll()
    assert len(it.log.warnings) == 2 and it.refused == [4]


def test_what_is_refused_does_not_hide_a_good_message_before_it(arm: tuple[Bench, Any]) -> None:
    it, publisher = arm
    publisher.publish(state(START, a=5.0))
    publisher.publish(state(START + 1, a=math.nan))
    eventually(lambda: (it.reader.poll(), it.refused == [1])[1])
    assert it.values == [2.0, 5.0]


def test_of_many_messages_the_newest_counts(arm: tuple[Bench, Any]) -> None:
    it, publisher = arm
    for i in range(20):
        publisher.publish(state(START + i, a=float(i)))

    def newest() -> bool:
        it.reader.poll()
        read = it.reader.read()
        return not isinstance(read, str) and read[1][1] == 19.0

    eventually(newest)
    assert it.refused == [0]


def test_garbage_on_the_wire_does_no_harm(arm: tuple[Bench, Any]) -> None:
    it, publisher = arm
    good = bytes(serialize_message(state(START)))
    for data in (good[:12], good[:4] + b"\xff" * 200, good.replace(b"a\0", b"\xff\0"), good[:-9]):
        publisher.publish(data)
        it.reader.poll()
    publisher.publish(state(START + 1, a=6.0))

    def came() -> bool:
        it.reader.poll()
        read = it.reader.read()
        return not isinstance(read, str) and read[1][1] == 6.0

    eventually(came)


# Time.


def test_a_reordered_message_is_refused_and_a_duplicate_is_no_news(arm: tuple[Bench, Any]) -> None:
    it, publisher = arm
    it.send(publisher, state(START - 5, a=1.0))
    it.send(publisher, state(START - 6, a=2.0))
    assert it.refused == [1] and it.values == [2.0, 1.0]
    assert "it is older than one before it" in it.log.warnings[0]
    it.now += 200_000_000
    it.send(publisher, state(START - 5, a=3.0))
    assert it.refused == [1] and it.values == [2.0, 1.0]
    assert it.reader.ages() == {it.topics[0]: pytest.approx(0.2)}, "not refreshed"
    it.now += 100_000_000
    assert str(it.reader.read()).startswith(f"the state on {it.topics[0]} is older than 0.25 s")
    it.send(publisher, state(START - 4 + 200_000_000, a=4.0))
    assert it.values == [2.0, 4.0]


def test_after_the_clock_was_set_back_older_stamps_are_taken_again(arm: tuple[Bench, Any]) -> None:
    it, publisher = arm
    it.send(publisher, state(START))
    it.now = SECOND
    it.reader.poll()
    assert it.reader.read() == f"no message on {it.topics[0]} since the clock was set back"
    it.send(publisher, state(SECOND - 1, a=3.0))
    assert it.values == [2.0, 3.0] and it.refused == [0]


def test_a_stamp_of_the_future_is_refused_beyond_the_timeout(arm: tuple[Bench, Any]) -> None:
    it, publisher = arm
    it.send(publisher, state(START + 240_000_000))
    assert it.values == [2.0, 1.0]
    read = it.reader.read()
    assert not isinstance(read, str) and read[0] == START, "no state is newer than now"
    it.send(publisher, state(START + 3 * SECOND, a=9.0))
    assert it.values == [2.0, 1.0] and it.refused == [1]
    assert it.log.warnings[0].endswith("its stamp is 3.0 s ahead of this clock: a wrong clock")


def test_stamps_that_are_behind_are_taken_for_a_wrong_clock(arm: tuple[Bench, Any]) -> None:
    it, publisher = arm
    it.send(publisher, state(START - 3_200_000_000))
    assert it.reader.read() == (
        f"the stamps on {it.topics[0]} are 3.2 s behind this clock: a wrong clock, or stale"
    )


def test_without_a_stamp_the_time_of_arrival_counts(arm: tuple[Bench, Any]) -> None:
    it, publisher = arm
    for a in (1.0, 2.0):  # the second is news although robot time stands still
        it.send(publisher, state(0, a=a))
        read = it.reader.read()
        assert not isinstance(read, str)
        assert read[0] == START and read[1].tolist() == [2.0, a]


def test_measurements_from_before_a_reset_do_not_count(arm: tuple[Bench, Any]) -> None:
    it, publisher = arm
    it.send(publisher, state(START))
    assert it.reader.read(START) == f"no message on {it.topics[0]} since the reset"
    assert not isinstance(it.reader.read(START - 1), str)
    assert not isinstance(it.reader.read(START + 1), str), "the clock was set back since"


def test_before_the_first_clock_message_stamps_are_not_judged(arm: tuple[Bench, Any]) -> None:
    it, publisher = arm
    it.now = 0
    it.send(publisher, state(START))
    assert it.refused == [0] and isinstance(it.reader.read(), str)


def test_on_a_real_robot_arrival_ages_on_the_steady_clock(bench: Callable[..., Bench]) -> None:
    topic = entry("sensor_msgs/msg/JointState", *JOINTS, timeout=0.1)
    it = bench(topic, simulated=False)
    publisher = it.publish_to(0, JointState)
    it.send(publisher, state(START))
    before = time.monotonic()
    assert it.values == [2.0, 1.0]
    eventually(lambda: isinstance(it.reader.read(), str))  # robot time stands still
    assert time.monotonic() - before > 0.05
    assert it.reader.read() == f"the state on {it.topics[0]} is older than 0.1 s"
    assert it.reader.ages()[it.topics[0]] > 0.1


def test_what_waited_while_this_process_was_stopped_is_as_old_as_it_is(
    bench: Callable[..., Bench],
) -> None:
    it = bench(entry("std_msgs/msg/Float64MultiArray", "data[0]"), simulated=False)
    publisher = it.publish_to(0, Float64MultiArray)
    it.reader.poll()
    publisher.publish(Float64MultiArray(data=[1.0]))
    it._waiter.wait(PATIENCE)
    time.sleep(0.3)  # nothing to be awaited: time itself is what is tested
    it.reader.poll()
    assert it.reader.ages()[it.topics[0]] >= 0.29
    assert it.reader.read() == f"the state on {it.topics[0]} is older than 0.25 s"


def test_a_measurement_of_a_time_is_waited_for(arm: tuple[Bench, Any]) -> None:
    it, publisher = arm
    it.send(publisher, state(START - 10))
    before = time.monotonic()
    it.reader.wait_for(START, patience=0.05)
    assert time.monotonic() - before >= 0.05
    publisher.publish(state(START - 5))
    publisher.publish(state(START, a=7.0))
    it.reader.wait_for(START, PATIENCE)
    assert it.values == [2.0, 7.0]


# Delivery.


def test_the_newest_message_from_before_comes_where_the_robot_asks_for_it(
    bench: Callable[..., Bench], nodes: tuple[Any, Any]
) -> None:
    qos = {"reliability": "reliable", "durability": "transient_local"}
    topic = entry("std_msgs/msg/Float64MultiArray", "data[0]", qos=qos)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = nodes[1].create_publisher(Float64MultiArray, topic["topic"], latched)
    publisher.publish(Float64MultiArray(data=[8.0]))
    it = bench(topic)
    eventually(lambda: (it.reader.poll(), not isinstance(it.reader.read(), str))[1])
    assert it.values == [8.0]
    nodes[1].destroy_publisher(publisher)


def test_why_nothing_comes_is_told_as_far_as_the_graph_knows(
    bench: Callable[..., Bench], nodes: tuple[Any, Any]
) -> None:
    def read_by(topic: dict[str, Any]) -> str:
        """The reason of a reader that has just begun, once publishers are known."""
        it = bench(topic)
        eventually(lambda: nodes[0].count_publishers(topic["topic"]) == len(publishers))
        read = it.reader.read()
        assert isinstance(read, str)
        return read.removeprefix(f"no message on {topic['topic']} yet: ")

    publishers: list[Any] = []
    context = rclpy.Context()  # one participant cannot know a topic with two types
    rclpy.init(context=context)
    other = rclpy.create_node("state_other", context=context)
    topic = entry("nav_msgs/msg/Odometry", "pose.pose.position.x", qos={"reliability": "reliable"})
    assert read_by(topic) == "nobody publishes it"
    weak = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publishers.append(other.create_publisher(Odometry, topic["topic"], weak))
    assert read_by(topic).startswith("its publishers offer less than the qos")
    topic = entry("nav_msgs/msg/Odometry", "pose.pose.position.x")
    publishers[:] = [other.create_publisher(PoseStamped, topic["topic"], 1)]
    assert read_by(topic) == (
        "it is published as geometry_msgs/msg/PoseStamped, not nav_msgs/msg/Odometry"
    )
    other.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize(
    ("kind", "path", "problem"),
    [
        (
            "geometry_msgs/msg/TwistStamped",
            "twist.linear.q",
            "state[1].fields[0].path: 'twist.linear.q' is not a number in"
            " geometry_msgs/msg/TwistStamped; twist.linear has x, y, z",
        ),
        (
            "nav_msgs/msg/Odom",
            "x",
            "state[1].type: 'nav_msgs/msg/Odom' is not a message of nav_msgs;"
            " did you mean 'Odometry'?",
        ),
    ],
)
def test_what_a_message_type_does_not_have_ends_the_node_with_one_line(
    nodes: tuple[Any, Any], kind: str, path: str, problem: str
) -> None:
    spec = robot(entry("sensor_msgs/msg/JointState", *JOINTS), entry(kind, path))
    with pytest.raises(ConfigurationError) as error:
        StateReader(nodes[0], spec, lambda: START)
    assert str(error.value) == f"arm: {problem}"
