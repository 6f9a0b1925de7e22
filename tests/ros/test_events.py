"""Events: said by any thread, published in order; what changes from tick to tick."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")

from mbrl_node.data import Event
from mbrl_node.ros.convert import event_from_msg
from mbrl_node.ros.events import EventPublisher, Watch


class Mouth:
    """A node that keeps what is published."""

    def __init__(self) -> None:
        self.published: list[Event] = []

    def create_publisher(self, kind, topic, qos):
        return SimpleNamespace(publish=lambda msg: self.published.append(event_from_msg(msg)))

    def create_timer(self, period, callback, clock) -> None:
        self.tick = callback


def test_what_any_thread_says_is_published_in_order_and_numbered_without_gaps():
    mouth, kept = Mouth(), []
    publisher = EventPublisher(mouth, 5, kept.append)
    threads = [
        threading.Thread(target=lambda: [publisher.say("stop", "", "now", 1.5) for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mouth.published == []  # who says something does not publish
    mouth.tick()
    assert [(e.session, e.sequence) for e in mouth.published] == [(5, k) for k in range(200)]
    assert mouth.published == kept and kept[0].robot_time == 1.5
    mouth.tick()
    assert len(kept) == 200


class Robot:
    """Who acts, and what stops it; and what is said about that."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, str]] = []
        self.manager = SimpleNamespace(failure="")
        self.stops = SimpleNamespace(reason="")
        self.watch = Watch(lambda *words: self.said.append(words), self.manager, self.stops)

    def tick(self, active="mppi", acting=None, failure="", stop="") -> list[tuple[str, str, str]]:
        """What is said of a tick."""
        self.manager.active = SimpleNamespace(name=active)
        self.manager.acting = SimpleNamespace(name=acting or active)
        self.manager.failure, self.stops.reason = failure, stop
        begin = len(self.said)
        self.watch.look()
        return self.said[begin:]


def test_a_fallback_is_told_when_it_begins_when_its_cause_changes_and_when_it_is_over():
    robot = Robot()
    assert robot.tick() == []
    text = "'mppi' does not act: too slow; 'hold' acts"
    assert robot.tick(acting="hold", failure="too slow") == [("fallback", "mppi", text)]
    assert robot.tick(acting="hold", failure="too slow") == []
    [(kind, _, text)] = robot.tick(acting="hold", failure="NaN")
    assert kind == "fallback" and "NaN" in text
    assert robot.tick() == [("fallback", "mppi", "'mppi' acts again")]
    assert robot.tick() == []


def test_a_fallback_that_a_switch_ends_is_not_a_recovery():
    robot = Robot()
    robot.tick(acting="hold", failure="too slow")
    assert robot.tick(active="pd") == []


def test_stops_and_releases_are_told():
    robot = Robot()
    assert robot.tick(stop="button") == [("stop", "", "stopped: button")]
    assert robot.tick(stop="button") == []
    assert robot.tick() == [("stop", "", "released: button")]
