"""What the learner stores and acknowledges of what comes, without a middleware in between."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")

from mbrl_msgs.msg import Transition as TransitionMsg

from mbrl_node.data import Event, RunStore, SessionTask, StoreError, Transition, transitions_of
from mbrl_node.ros import intake
from mbrl_node.ros.convert import event_to_msg, transition_to_msg
from mbrl_node.ros.intake import Intake
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole")
GOAL = {"name": "goal", "path": "point.x", "unit": "m", "min": -1, "max": 1}
REACH = SPEC.with_overrides(
    task="reach",
    targets=[{"topic": "/goal", "type": "geometry_msgs/msg/PointStamped", "fields": [GOAL]}],
)


class Ears:
    """A node whose messages are handed over by the test.

    Attributes:
        acknowledged: what was said last, by session.
    """

    def __init__(self) -> None:
        self._callbacks: dict[str, object] = {}
        self.acknowledged: dict[int, int] = {}
        self.logger = SimpleNamespace(warning=self._say, error=self._say)
        self.said: list[str] = []

    def _say(self, text: str, **kwargs) -> None:
        self.said.append(text)

    def get_logger(self):
        return self.logger

    def create_subscription(self, kind, topic, callback, qos) -> None:
        self._callbacks[topic.removeprefix("mbrl_controller/")] = callback

    def create_publisher(self, kind, topic, qos):
        def publish(msg) -> None:
            self.acknowledged[msg.session] = msg.stored

        return SimpleNamespace(publish=publish)

    def hear(self, topic: str, msg) -> None:
        self._callbacks[topic](msg)


class Desk:
    """An intake with a store, and what it tells."""

    def __init__(self, path, spec=SPEC) -> None:
        self.ears = Ears()
        self.store = RunStore(path, spec)
        self.events: list[Event] = []
        self.problems: list[tuple[str, str, str]] = []
        learner = SimpleNamespace(store=self.store, add=self.store.add)
        self.intake = Intake(
            self.ears, spec, learner, self.events.append, lambda *words: self.problems.append(words)
        )

    def send(self, *sequences: int, oldest: int = 0, again: bool = False, **changes) -> None:
        """Transitions of session 7 come; and what has come is stored."""
        for sequence in sequences:
            msg = message(sequence, oldest, **changes)
            self.ears.hear("transitions_again" if again else "transitions", msg)
        self.intake.store()

    @property
    def stored(self) -> list[int]:
        return self.store.records()["sequence"].tolist()


def message(number: int, oldest: int = 0, **changes) -> TransitionMsg:
    state, action = np.full(4, float(number)), np.array([0.5])
    numbers = 7, number, 1, number, number, number + 1
    msg = transition_to_msg(
        Transition(*numbers, state, action, action, state, 0.0, False, False, "mppi", 3),
        SPEC,
        oldest,
    )
    for name, value in changes.items():
        setattr(msg, name, value)
    return msg


@pytest.fixture
def desk(tmp_path):
    it = Desk(tmp_path / "transitions.db")
    yield it
    it.store.close()


def test_what_is_stored_is_acknowledged_up_to_the_first_that_is_missing(desk):
    desk.send(0, 1, 2)
    assert desk.ears.acknowledged == {7: 3}
    desk.send(5, 6)
    assert desk.ears.acknowledged == {7: 3} and desk.stored == [0, 1, 2, 5, 6]
    desk.send(3, 4, again=True)
    assert desk.ears.acknowledged == {7: 7} and desk.store.lost == 0


def test_what_comes_twice_is_acknowledged_twice(desk):
    desk.send(0, 1)
    desk.ears.acknowledged.clear()
    desk.send(0, 1, again=True)
    assert desk.ears.acknowledged == {7: 2} and desk.stored == [0, 1]


def test_what_the_sender_does_not_have_any_more_is_lost_and_told(desk):
    desk.send(0, 1)
    desk.send(8, oldest=5)
    assert desk.store.lost == 3 and desk.ears.acknowledged == {7: 5}
    desk.send(5, 6, 7, again=True, oldest=5)
    assert desk.store.lost == 3 and desk.ears.acknowledged == {7: 9}
    told = ("problem", "transitions", "3 transitions of session 7 never came")
    assert desk.problems == [told]


@pytest.mark.parametrize(
    "changes",
    [
        dict(state=[1.0, 2.0]),
        dict(next_state=[math.nan] * 4),
        dict(action=[1.0, 2.0]),
        dict(action_requested=[]),
        dict(targets=[0.5]),
    ],
)
def test_a_transition_that_cannot_be_used_does_not_hold_up_the_rest(desk, changes):
    desk.send(0)
    desk.send(2, **changes)
    assert desk.ears.acknowledged == {7: 1}  # the one before may still come
    desk.send(1, 3)
    assert desk.ears.acknowledged == {7: 4} and desk.stored == [0, 1, 3]
    assert desk.store.lost == 1 and "refused" in desk.ears.said[0]


@pytest.mark.parametrize(
    "changes",
    [
        dict(spec_hash=5),
        dict(sequence=2**63),
        dict(session=2**64 - 1),
        dict(sequence=3, oldest=4),
    ],
)
def test_what_this_robots_controller_cannot_have_sent_changes_nothing(desk, changes):
    desk.send(0, **changes)
    assert desk.ears.acknowledged == {} and len(desk.store) == 0
    desk.send(0)
    assert desk.ears.acknowledged == {7: 1} and desk.store.lost == 0


def test_what_cannot_be_written_is_kept_within_bounds_and_written_later(desk, monkeypatch):
    monkeypatch.setattr(intake, "MOST", 10)
    monkeypatch.setattr(intake, "RETRY", 0.0)
    add = desk.store.add

    def refuse(records):
        raise StoreError("the disk is full")

    monkeypatch.setattr(desk.intake._learner, "add", refuse)
    for sequence in range(30):
        desk.send(sequence)
    assert desk.intake.problem == "the disk is full" and desk.ears.acknowledged == {}
    assert desk.problems == [("problem", "store", "the disk is full")]
    monkeypatch.setattr(desk.intake._learner, "add", add)
    desk.intake.store()
    assert desk.intake.problem == "" and desk.ears.acknowledged == {7: 1}
    desk.intake.store()
    assert desk.stored == list(range(11))  # one, and ten that waited
    desk.send(*range(11, 30), again=True)
    desk.send(*range(21, 30), again=True)
    assert desk.stored == list(range(30)) and desk.ears.acknowledged == {7: 30}


@pytest.mark.parametrize("targets", [[], [0.5, 0.5], [math.nan]])
def test_targets_are_as_many_as_the_task_has_and_finite(tmp_path, targets):
    desk = Desk(tmp_path / "transitions.db", REACH)
    desk.send(0, 2, targets=[0.25])
    desk.send(1, targets=targets)
    assert desk.stored == [0, 2] and desk.ears.acknowledged == {7: 3} and desk.store.lost == 1
    assert [t.targets.tolist() for t in transitions_of(desk.store.records())] == [[0.25]] * 2
    assert "transition 1 refused: it" in desk.ears.said[0]
    assert desk.store.tasks == {7: SessionTask("reach", ("goal",))}
    desk.store.close()


def test_what_a_session_of_another_task_sends_again_is_stored(tmp_path):
    desk = Desk(tmp_path / "transitions.db", REACH)
    desk.send(0, targets=[0.25])
    desk.store.close()
    desk = Desk(tmp_path / "transitions.db")  # the run goes on with another task
    desk.send(1, again=True, targets=[0.5])
    desk.send(0, session=8)
    desk.send(2, 3, again=True, targets=[0.75])
    assert desk.ears.acknowledged == {7: 4, 8: 1}
    targets = [t.targets.tolist() for t in transitions_of(desk.store.records())]
    assert targets == [[0.25], [0.5], [0.75], [0.75], []]
    assert [task.task for task in desk.store.tasks.values()] == ["reach", "swing_up"]
    desk.send(0, session=9, targets=[0.5])  # of a session that is not known
    assert desk.store.lost == 1
    assert "refused: it has 1 targets, not 0 of its session's task" in desk.ears.said[-1]
    desk.store.close()


def test_events_are_stored_once_and_the_controllers_are_passed_on(desk):
    own = Event(1, 0, 10, math.nan, "model", "12", "refused")
    others = Event(2, 0, 11, 3.5, "rollback", "12 10", "it was worse")
    desk.intake.keep(own)
    for _ in range(2):
        desk.ears.hear("events", event_to_msg(others))
    desk.ears.hear("events", event_to_msg(Event(2**63, 0, 1, 0.0, "stop", "", "")))
    desk.intake.store()
    assert desk.events == [others, others]
    assert [(e.session, e.kind) for e in desk.store.events()] == [(1, "model"), (2, "rollback")]
