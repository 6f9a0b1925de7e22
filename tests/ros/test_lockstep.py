"""Lock-step with the simulator and the learner: over real DDS, and the same bits every time."""

from __future__ import annotations

import math
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")

from mbrl_msgs.msg import ModelUpdate, Transition  # noqa: E402
from mbrl_msgs.srv import Step  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402

from mbrl_node.data import RunStore  # noqa: E402
from mbrl_node.data import Transition as DataTransition  # noqa: E402
from mbrl_node.ros import learner_node  # noqa: E402
from mbrl_node.ros.convert import transition_to_msg  # noqa: E402
from mbrl_node.ros.learner_node import LearnerNode  # noqa: E402
from mbrl_node.ros.lockstep import StepError, SteppedLearner, SteppedRobot  # noqa: E402
from mbrl_node.ros.qos import TRANSITIONS  # noqa: E402
from mbrl_node.ros.stamps import from_time  # noqa: E402
from mbrl_node.ros.taken import Taken  # noqa: E402
from mbrl_node.spec import load_spec  # noqa: E402
from mbrl_node.spec.topics import JOINT_STATE  # noqa: E402
from sim.node import SimNode  # noqa: E402
from sim.robot import BulletRobot  # noqa: E402

SPEC = load_spec("cartpole")
PERIOD = round(SPEC.dt * 1e9)
PATIENCE = 30.0  # s of wall time for anything awaited
Bytes = list[tuple[int, bytes]]


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.002)


class Partner:
    """A node in lock-step, with the threads it has in a process of its own, and who asks it."""

    def __init__(self, make: Callable[[], SimNode | LearnerNode], *parameters: str) -> None:
        rclpy.init(args=["--ros-args", *(part for p in parameters for part in ("-p", p))])
        self.node = rclpy.create_node("asker")
        self.stop, self.asker_stop = threading.Event(), threading.Event()
        self._executor = SingleThreadedExecutor()
        made: queue.SimpleQueue[SimNode | LearnerNode] = queue.SimpleQueue()
        self.main = threading.Thread(target=self._main, args=(make, made), daemon=True)
        self.main.start()
        self.partner = made.get(timeout=PATIENCE)
        self._executor.add_node(self.partner)
        self._spin = threading.Thread(target=self._executor.spin, daemon=True)
        self._spin.start()

    def _main(self, make: Callable, made: queue.SimpleQueue) -> None:
        partner = make()
        made.put(partner)
        partner.run(self.stop)
        partner.close()

    def close(self) -> None:
        """Ends all of it."""
        self.stop.set()
        self.main.join(PATIENCE)
        self._executor.shutdown()
        self._spin.join(PATIENCE)
        self.partner.destroy_node()
        self.node.destroy_node()
        rclpy.shutdown()


@pytest.fixture
def start() -> Iterator[Callable[..., Partner]]:
    running: list[Partner] = []

    def start(make: Callable[[], SimNode | LearnerNode], *parameters: str) -> Partner:
        if running:
            running.pop().close()
        running.append(Partner(make, "sync:=true", *parameters))
        return running[-1]

    yield start
    for partner in running:
        partner.close()


def robot_of(it: Partner, timeout: float = PATIENCE) -> SteppedRobot:
    robot = SteppedRobot(it.node, SPEC, it.asker_stop, timeout)
    wait_for(lambda: robot.ready, "a simulator")
    return robot


def drive(robot: SteppedRobot, steps: int = 60) -> Bytes:
    """What a robot does under commands that are the same every time, with a reset in between."""
    commands = np.random.default_rng(3).uniform(-8.0, 8.0, (steps, 1))  # also beyond the limits
    found = [robot.reset()]
    for k, command in enumerate(commands):
        if k == steps // 2:
            found.append(robot.reset())
        found.append(robot.step(command))
    return [(stamp, state.tobytes()) for stamp, state in found]


# The simulator.


def test_the_same_seed_and_commands_give_the_same_bytes_and_another_seed_does_not(start):
    runs = [drive(robot_of(start(SimNode, f"seed:={seed}"))) for seed in (4, 4, 5)]
    assert runs[0] == runs[1] and runs[0] != runs[2]


def test_a_command_acts_for_exactly_one_period_from_the_state_it_was_computed_on(start):
    bullet = BulletRobot(SPEC, seed=4)
    bullet.reset()

    def direct() -> bytes:
        reading = bullet.message(JOINT_STATE)
        at = [reading.name.index(field.joint) for field in SPEC.state_fields]
        values = [getattr(reading, f.value)[i] for f, i in zip(SPEC.state_fields, at, strict=True)]
        return np.array(values).tobytes()

    robot = robot_of(start(SimNode, "seed:=4"))
    assert robot.reset()[1].tobytes() == direct()
    for force in (3.0, -3.0, 9.0):
        bullet.command(np.array([force]))
        for _ in range(round(SPEC.dt / bullet.dt)):
            bullet.step()
        assert robot.step(np.array([force]))[1].tobytes() == direct()
    bullet.close()


def test_time_stands_still_between_steps_and_does_not_go_back_at_a_reset(start):
    robot = robot_of(start(SimNode))
    assert robot.reset()[0] == 0
    assert [robot.step(np.zeros(1))[0] for _ in range(3)] == [PERIOD, 2 * PERIOD, 3 * PERIOD]
    time.sleep(0.1)
    assert robot.reset()[0] == 3 * PERIOD
    assert robot.step(np.zeros(1))[0] == 4 * PERIOD


def ask(it: Partner, **request) -> Step.Response:
    client = it.node.create_client(Step, "/mbrl_sim/step")
    assert client.wait_for_service(PATIENCE)
    future = client.call_async(Step.Request(**request))
    rclpy.spin_until_future_complete(it.node, future, timeout_sec=PATIENCE)
    return future.result()


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"duration": 0.003}, "0.003 s is no whole number of physics steps of 0.002 s"),
        ({"duration": -0.04}, "-0.04 is not within 0 and 60 s"),
        ({"duration": 1e300}, "1e+300 is not within"),
        ({"duration": math.nan}, "nan is not within"),
        ({"duration": 0.04, "command": [1.0, 2.0]}, "1 finite values was expected"),
        ({"duration": 0.04, "command": [math.nan]}, "1 finite values was expected"),
        ({"reset": True, "command": [math.inf]}, "1 finite values was expected"),
    ],
)
def test_a_request_that_cannot_be_met_changes_nothing_and_is_answered_with_why(
    start, request_, words
):
    it = start(SimNode)
    robot = robot_of(it)
    stamp, state = robot.step(np.array([2.0]))
    refused = ask(it, **request_)
    assert not refused.success and words in refused.message and not refused.state
    same = ask(it)  # a look
    assert same.success and from_time(same.stamp) == stamp and list(same.state) == state.tolist()


def test_without_a_command_the_one_before_holds(start):
    robot = robot_of(it := start(SimNode))
    reader = Taken(it.node, JointState, "/joint_states")
    wait_for(lambda: reader.subscription.get_publisher_count(), "a publisher")
    robot.reset()
    robot.step(np.array([2.0]))
    first = ask(it, duration=0.04)
    seen: list[JointState] = []

    def shown() -> bool:
        if (newest := reader.newest()) is not None:
            seen.append(newest)
        return bool(seen) and seen[-1].header.stamp == first.stamp

    wait_for(shown, "the state on its topic")
    assert max(seen[-1].effort) == 2.0


def test_whoever_looks_on_sees_states_and_the_clock(start):
    it = start(SimNode)
    states = Taken(it.node, JointState, "/joint_states", 10)
    clock = Taken(it.node, Clock, "/clock", 10)
    robot = robot_of(it)
    for taken in (states, clock):
        wait_for(taken.subscription.get_publisher_count, "a publisher")
    robot.reset()

    def seen() -> bool:
        stamp, _ = robot.step(np.zeros(1))
        time.sleep(0.01)
        state, now = states.newest(), clock.newest()
        if state is None or now is None:
            return False
        return from_time(state.header.stamp) == from_time(now.clock) == stamp

    wait_for(seen, "a state and a clock of the newest step")


# What goes wrong.


def test_who_is_not_there_is_named_at_once(start):
    it = start(SimNode)
    learner = SteppedLearner(it.node, it.asker_stop)
    with pytest.raises(StepError, match=r"nobody offers .*mbrl_learner/learn.*started with sync"):
        learner.learn(1, 0)


def test_a_wait_for_an_answer_ends_in_time_or_when_told_to(start):
    it = start(SimNode)
    robot = robot_of(it, timeout=0.3)
    robot.reset()
    it.stop.set()  # it is there and serves nobody
    it.main.join(PATIENCE)
    with pytest.raises(StepError, match=r"no answer of .*step in 0.3 s"):
        robot.step(np.zeros(1))
    it.asker_stop.set()
    with pytest.raises(StepError, match="told to stop"):
        robot.step(np.zeros(1))


def test_the_answer_to_a_request_that_was_given_up_is_not_taken_for_a_later_one(start):
    it = start(SimNode)
    robot = robot_of(it, timeout=0.5)
    robot.reset()
    with it.partner._lock, pytest.raises(StepError, match="no answer"):
        robot.step(np.array([1.0]))
    stamp, _ = robot.step(np.array([1.0]))
    assert stamp == 2 * PERIOD


def test_a_robot_of_another_size_is_noticed(start, tmp_path):
    last = "- {name: theta_dot, joint: cart_to_pole,   value: velocity, unit: rad/s}"
    more = last + "\n      - {name: push, joint: slider_to_cart, value: effort, unit: N}"
    text = SPEC.path.read_text()
    assert last in text
    other = tmp_path / "other.yaml"
    other.write_text(text.replace(last, more))
    robot = robot_of(start(SimNode, f"robot:={other}"))
    with pytest.raises(StepError, match=r"another robot: its state has 5 values, that of .* 4"):
        robot.reset()


# As processes of their own.


@pytest.fixture
def asker():
    rclpy.init()
    node = rclpy.create_node("asker")
    yield node
    node.destroy_node()
    rclpy.shutdown()


def test_two_processes_give_the_same_bytes_as_two_others(asker, capsys):
    runs, rate = [], 0.0
    for _ in range(2):
        process = subprocess.Popen(
            ["ros2", "run", "mbrl", "sim", "--ros-args", "-p", "sync:=true", "-p", "seed:=7"],
            start_new_session=True,
        )
        try:
            robot = SteppedRobot(asker, SPEC, threading.Event(), PATIENCE)
            wait_for(lambda robot=robot: robot.ready, "a simulator")
            runs.append(drive(robot))
            begin, count = time.monotonic(), 1000
            for _ in range(count):
                robot.step(np.zeros(1))
            rate = count / (time.monotonic() - begin)
            robot.close()
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(PATIENCE)
        wait_for(lambda: not asker.get_publishers_info_by_topic("/joint_states"), "its leaving")
    assert runs[0] == runs[1]
    with capsys.disabled():
        print(f" {rate:.0f} steps/s, {rate * SPEC.dt:.0f} times real time ", end="")


# The learner.

SMALL = (
    "model.hidden:=[16, 16]",
    "learner.min_transitions:=20",
    "learner.gradient_steps:=5",
)


def transitions(session: int, count: int) -> list[Transition]:
    """Messages of a robot that is driven at random."""
    robot, rng = BulletRobot(SPEC, seed=1), np.random.default_rng(2)

    def state() -> np.ndarray:
        r = robot.message(JOINT_STATE)
        return np.array([getattr(r, f.value)[r.name.index(f.joint)] for f in SPEC.state_fields])

    found, before = [], state()
    for k in range(count):
        action = rng.uniform(-5.0, 5.0, 1)
        robot.command(action)
        for _ in range(round(SPEC.dt / robot.dt)):
            robot.step()
        after = state()
        stamps = k * PERIOD, (k + 1) * PERIOD
        values = before, action, action, after, 0.0, False, False, "random", 0
        found.append(DataTransition(session, k, 1, k, *stamps, *values))
        before = after
    robot.close()
    return [transition_to_msg(t, SPEC) for t in found]


class Lessons:
    """Publishes transitions and asks for lessons."""

    def __init__(self, it: Partner, session: int = 11, count: int = 90) -> None:
        self._session, self._all = session, transitions(session, count)
        self._publisher = it.node.create_publisher(
            Transition, "/mbrl_controller/transitions", TRANSITIONS
        )
        self._learner = SteppedLearner(it.node, it.asker_stop, PATIENCE)
        wait_for(lambda: self._learner.ready, "a learner")
        self._sent = 0

    def send(self, count: int) -> None:
        """Publishes the next ones."""
        for msg in self._all[self._sent : self._sent + count]:
            self._publisher.publish(msg)
        self._sent += count

    def learn(self, beyond: int = 0) -> ModelUpdate | None:
        """Asks for a lesson on what was sent, and on some that were not."""
        return self._learner.learn(self._session, self._sent + beyond)


def lessons_in(start, run_dir: Path, seed: int) -> list[ModelUpdate]:
    it = start(LearnerNode, f"run_dir:={run_dir}", f"seed:={seed}", *SMALL)
    lessons, updates = Lessons(it), []
    for _ in range(3):
        lessons.send(30)
        updates.append(lessons.learn())
    return updates


def test_the_same_transitions_give_the_same_model_bit_by_bit(start, tmp_path):
    runs = [
        lessons_in(start, tmp_path / name, seed) for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert [update.version for update in runs[0]] == [1, 2, 3]
    assert [update.transitions for update in runs[0]] == [30, 60, 90]
    for first, second in zip(runs[0], runs[1], strict=True):
        one, other = load_file(first.path), load_file(second.path)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    one, other = load_file(runs[0][-1].path), load_file(runs[2][-1].path)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_it_learns_when_it_is_asked_to_and_only_if_there_is_something_new(start, tmp_path):
    it = start(LearnerNode, f"run_dir:={tmp_path}", *SMALL)
    lessons = Lessons(it)
    lessons.send(10)
    assert lessons.learn() is None  # too few
    lessons.send(20)
    wait_for(lambda: it.partner._learner.store.stored(11) == 30, "the storing")
    time.sleep(0.3)  # one that learns by itself would have begun
    assert not list((tmp_path / "models").iterdir())
    assert lessons.learn().version == 1
    assert lessons.learn().version == 1  # nothing new
    lessons.send(1)
    assert lessons.learn().version == 2
    records = RunStore(tmp_path / "transitions.db", SPEC).records()
    assert set(records["session"]) == {11} and records["sequence"].tolist() == list(range(31))


def test_transitions_that_do_not_come_are_missed(start, tmp_path, monkeypatch):
    monkeypatch.setattr(learner_node, "ARRIVAL", 0.3)
    it = start(LearnerNode, f"run_dir:={tmp_path}", *SMALL)
    lessons = Lessons(it)
    lessons.send(3)
    with pytest.raises(
        StepError, match=r"learn: 3 of 4 transitions of session 11 were stored in 0.3 s"
    ):
        lessons.learn(beyond=1)
    assert lessons.learn() is None


def test_a_learner_that_goes_on_with_a_run_answers_with_its_model(start, tmp_path):
    last = lessons_in(start, tmp_path, seed=3)[-1]
    it = start(LearnerNode, f"run_dir:={tmp_path}", *SMALL)
    lessons = Lessons(it, session=12)
    assert lessons.learn().version == last.version
    lessons.send(30)
    update = lessons.learn()
    assert update.version == last.version + 1 and update.transitions == 120
