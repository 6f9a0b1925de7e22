"""The clock of a simulation, as the control thread takes it from /clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402

from mbrl_node.control import Pacer  # noqa: E402
from mbrl_node.ros.clock import SimulatedClock  # noqa: E402
from mbrl_node.ros.stamps import to_time  # noqa: E402
from mbrl_node.ros.taken import NoExecutor  # noqa: E402

MS = 1_000_000
PERIOD = 20 * MS


class Simulated(Node):
    """A node whose /clock is taken by hand, as the controller node's."""

    def __init__(self, context: Any) -> None:
        given = [Parameter("use_sim_time", value=True)]
        super().__init__("simulated", context=context, parameter_overrides=given)

    def create_subscription(self, kind: Any, topic: str, *args: Any, **kwargs: Any) -> Any:
        self.clock_subscription = super().create_subscription(
            kind, topic, *args, callback_group=NoExecutor()
        )
        return self.clock_subscription


class Bench:
    """A clock, and who sets it."""

    def __init__(self, context: Any) -> None:
        self.node = Simulated(context)
        self.clock = SimulatedClock(self.node, self.node.clock_subscription, 1e-9 * PERIOD)
        self.other = Node("setter", context=context)
        self._publisher = self.other.create_publisher(Clock, "/clock", 10)
        deadline = time.monotonic() + 20.0
        while not self._publisher.get_subscription_count():
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def send(self, message: Clock | bytes) -> None:
        self._publisher.publish(message)

    def set(self, now: int) -> int:
        """Sets it, and gives what it says then, ns."""
        self.send(Clock(clock=to_time(now)))
        return self.clock.now()

    def later(self, *times: int, every: float = 0.03) -> threading.Thread:
        """Sets it to these times, one after the other."""

        def work() -> None:
            for now in times:
                time.sleep(every)
                self.send(Clock(clock=to_time(now)))

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def close(self) -> None:
        self.node.destroy_node()
        self.other.destroy_node()


@pytest.fixture
def bench() -> Iterator[Bench]:
    context = rclpy.Context()
    rclpy.init(context=context)
    made = Bench(context)
    yield made
    made.close()
    rclpy.shutdown(context=context)


def test_it_says_the_newest_time_and_the_clock_of_the_node_says_the_same(bench: Bench) -> None:
    assert bench.clock.now() == 0
    bench.send(Clock(clock=to_time(5 * PERIOD)))
    assert bench.set(7 * PERIOD) == 7 * PERIOD
    assert bench.node.get_clock().now().nanoseconds == 7 * PERIOD


def test_a_wait_ends_with_the_message_that_passes_the_deadline(bench: Bench) -> None:
    bench.set(PERIOD)
    thread = bench.later(PERIOD + MS, 2 * PERIOD + MS)
    began = bench.clock.wait_until(2 * PERIOD)
    assert began is not None and 0 <= time.monotonic_ns() - began < 1000 * MS
    assert bench.clock.now() == 2 * PERIOD + MS
    thread.join()


def test_a_deadline_that_has_passed_is_not_waited_for(bench: Bench) -> None:
    bench.set(PERIOD)
    assert bench.clock.wait_until(PERIOD) is not None


def test_a_wait_ends_when_the_clock_is_set_back(bench: Bench) -> None:
    bench.set(10 * PERIOD)
    thread = bench.later(PERIOD)
    assert bench.clock.wait_until(11 * PERIOD) is None and not bench.clock.stands
    thread.join()


def test_a_pacer_goes_on_after_the_clock_was_set_back(bench: Bench) -> None:
    bench.set(10 * PERIOD)
    pacer = Pacer(PERIOD, bench.clock)
    threads = [bench.later(PERIOD)]
    assert pacer.wait() is None
    threads.append(bench.later(2 * PERIOD))
    assert pacer.wait() is not None and pacer.deadline == 2 * PERIOD and pacer.missed == 0
    for thread in threads:
        thread.join()


def test_a_clock_that_stands_is_noticed_and_then_each_wait_is_a_period(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SimulatedClock, "PATIENCE", 1.0)
    bench.set(PERIOD)
    assert bench.clock.wait_until(2 * PERIOD) is None and bench.clock.stands
    before = time.monotonic()
    assert bench.clock.wait_until(2 * PERIOD) is None
    assert 0.019 <= time.monotonic() - before < 1.0
    thread = bench.later(2 * PERIOD, every=0.0)
    while bench.clock.wait_until(2 * PERIOD) is None:
        pass
    assert not bench.clock.stands
    thread.join()


def test_a_simulator_that_repeats_its_time_while_it_pauses_stands_still_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SimulatedClock, "PATIENCE", 0.1)
    bench.set(PERIOD)
    thread = bench.later(*[PERIOD] * 150, every=0.01)
    assert bench.clock.wait_until(2 * PERIOD) is None and bench.clock.stands
    assert thread.is_alive()  # it did not wait for the end of the messages
    thread.join()


@pytest.mark.parametrize(
    "message",
    [Clock(clock=Time(sec=-1)), Clock(clock=Time(sec=-(2**31), nanosec=2**32 - 1)), b"", b"\0\1"],
    ids=["below 0", "far below 0", "nothing", "cut"],
)
def test_what_is_no_time_is_refused_and_the_one_before_stays(
    bench: Bench, message: Clock | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    class Logger:
        @staticmethod
        def warning(text: str, **throttle: object) -> None:
            said.append(text)

    monkeypatch.setattr(bench.node, "get_logger", Logger)
    bench.set(PERIOD)
    bench.send(message)
    assert bench.clock.now() == PERIOD
    if not isinstance(message, bytes):  # what cannot be read may be dropped before it comes here
        assert len(said) == 1 and said[0].startswith("/clock: a message was refused: ")
    assert bench.set(2 * PERIOD) == 2 * PERIOD
