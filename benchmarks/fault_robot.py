"""A robot for the table of faults: a cart-pole behind the topics of a real one, that can be told to
lie, to fall silent or to stand elsewhere."""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import yaml
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from mbrl_node.data import Transition, records_of
from mbrl_node.learning import Learner
from mbrl_node.models import WorldModel, save_checkpoint
from mbrl_node.models.checkpoint import checkpoint_path
from mbrl_node.ros.stamps import to_time
from mbrl_node.spec import RobotSpec, load_spec
from mbrl_node.spec.task import Task

STEP = 0.002  # s of physics
STEPS_A_READING = 5
JOINTS = ("slider_to_cart", "cart_to_pole")

Spoil = Callable[[JointState], Iterable[JointState]]


def launched_robot(folder: Path) -> RobotSpec:
    """The cart-pole of PyBullet, with every kind of limit to its command."""
    path = load_spec("cartpole").path
    assert path is not None
    robot = yaml.safe_load(path.read_text())
    robot["action"]["fields"][0] |= {"max_rate": 50.0, "max_jerk": 1250.0}  # 2 N and 2 N a tick
    robot["episode"]["length"] = 1e5
    return _written(robot, folder / "cartpole.yaml")


def scripted_robot(folder: Path) -> RobotSpec:
    """A cart-pole with every kind of limit, no resets, and a task that keeps it in the middle of
    its rail."""
    path = launched_robot(folder).path
    assert path is not None
    robot = yaml.safe_load(path.read_text())
    robot["envelope"] = [
        {"of": "x", "soft_min": -3.0, "soft_max": 3.0, "min": -4.0, "max": 4.0},
        {"of": "x_dot", "min": -15.0, "max": 15.0},
    ]
    robot["reward"] = [{"term": "square", "of": "x", "weight": -1.0}]
    robot["episode"] = {"length": 1e5}
    for key in ("termination", "constraints", "goal"):
        del robot[key]
    return _written(robot, folder / "cartpole_with_envelope.yaml")


def _written(robot: dict[str, object], path: Path) -> RobotSpec:
    path.write_text(yaml.safe_dump(robot))
    return load_spec(str(path))


class CartPole:
    """A pole, all of its mass at its end, on a cart with friction. State: x, theta (0: upright),
    x_dot, theta_dot."""

    CART, POLE, LENGTH, FRICTION, GRAVITY = 5.0, 0.5, 0.7, 2.0, 9.81

    def __init__(self) -> None:
        self.place()

    def place(self, x: float = 0.0, x_dot: float = 0.0) -> None:
        """At x in m with this speed in m/s, the pole hanging down."""
        self.state = np.array([x, math.pi, x_dot, 0.0])

    def step(self, force: float) -> None:
        """Goes on by `STEP`."""
        _, theta, speed, turning = self.state
        sin, cos = math.sin(theta), math.cos(theta)
        force += self.POLE * sin * (self.LENGTH * turning**2 - self.GRAVITY * cos)
        acceleration = (force - self.FRICTION * speed) / (self.CART + self.POLE * sin**2)
        swing = (self.GRAVITY * sin - acceleration * cos) / self.LENGTH - 0.1 * turning
        self.state[2:] += STEP * np.array([acceleration, swing])
        self.state[:2] += STEP * self.state[2:]


def train_models(folder: Path, spec: RobotSpec, versions: int = 2) -> None:
    """Versions of a model that was learned from random actions, in a run's folder."""
    learner, robot = Learner(spec, Task.of(spec), folder), CartPole()
    rng, period = np.random.default_rng(0), round(spec.dt * 1e9)
    transitions = []
    for i in range(400):
        if i % 100 == 0:
            robot.place()
        if i % 5 == 0:
            action = rng.uniform(-4, 4, 1)
        state = robot.state.copy()
        for _ in range(round(spec.dt / STEP)):
            robot.step(action[0])
        transitions.append(
            Transition(
                *(1, i, 1 + i // 100, i % 100, i * period, (i + 1) * period, state, action, action),
                *(robot.state.copy(), 0.0, False, i % 100 == 99, "random", 0),
            )
        )
    learner.add(records_of(transitions, spec.state_dim, spec.action_dim))
    for _ in range(versions):
        learner.update()
    learner.store.close()


def spoil_models(run_dir: Path, spec: RobotSpec, folder: Path, first: int) -> list[Path]:
    """Bad copies of a run's first model as versions from `first` on: corrupted, truncated, of
    another robot, of NaNs."""
    good = checkpoint_path(run_dir / "models", 1).read_bytes()
    paths = [checkpoint_path(folder, version) for version in range(first, first + 4)]
    folder.mkdir(exist_ok=True)
    paths[0].write_bytes(bytes(b ^ 0x5A for b in good[:400]) + good[400:])
    paths[1].write_bytes(good[: len(good) // 2])
    fill_model(paths[2], spec.with_overrides(rate=50.0), 0.0)
    fill_model(paths[3], spec, math.nan)
    return paths


def fill_model(path: Path, spec: RobotSpec, weight: float) -> None:
    """Writes a model whose weights are all the same."""
    world = WorldModel.for_task(spec, Task.of(spec))
    for weights in world.parameters():
        weights.data.fill_(weight)
    save_checkpoint(world, path, {"version": 1, "held_out_error": 0.1})


class ScriptedRobot:
    """Steps a cart-pole in a thread of its own and publishes its state 100 times a second. As the
    drivers of a real robot it takes the safe command where none comes for half a second.

    Args:
        simulated: its time is one that it publishes on /clock and that begins at 0; else the
            system's.

    Attributes:
        spoil: what is published instead of each reading; may be set at any time.
        paused: neither time nor robot goes on.
        longest_gap: between two readings, s; the measure of how disturbed this process was.
    """

    COMMAND_TIMEOUT = 0.5  # s

    def __init__(self, node: Node, spec: RobotSpec, simulated: bool) -> None:
        self._body, self._lock = CartPole(), threading.Lock()
        self._states = node.create_publisher(JointState, spec.state[0].topic, 10)
        self._clock = node.create_publisher(Clock, "/clock", 10) if simulated else None
        node.create_subscription(Float64MultiArray, spec.action.topic, self._on_command, 10)
        self.spoil: Spoil = lambda reading: [reading]
        self.paused, self.longest_gap = False, 0.0
        self._force, self._commanded_at = 0.0, -math.inf
        self._time = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def place(self, x: float = 0.0, x_dot: float = 0.0) -> None:
        """Puts the cart there at this speed, the pole hanging down."""
        with self._lock:
            self._body.place(x, x_dot)

    @property
    def position(self) -> float:
        """Of the cart, m."""
        return float(self._body.state[0])

    def shift_clock(self, by: float) -> None:
        """Sets the clock that it publishes, by s."""
        with self._lock:
            self._time = round(max(0.0, self._time + by * 1e9))

    def _on_command(self, msg: Float64MultiArray) -> None:
        self._force, self._commanded_at = msg.data[0], time.monotonic()

    def _run(self) -> None:
        period, last = STEP * STEPS_A_READING, time.monotonic()
        deadline = last
        while not self._closing.is_set():
            deadline = max(deadline + period, time.monotonic() - 0.1)
            time.sleep(max(0.0, deadline - time.monotonic()))
            if not self.paused:
                self._advance()
            now = time.monotonic()
            self.longest_gap, last = max(self.longest_gap, now - last), now

    def _advance(self) -> None:
        if time.monotonic() - self._commanded_at > self.COMMAND_TIMEOUT:
            self._force = 0.0
        with self._lock:
            for _ in range(STEPS_A_READING):
                self._body.step(self._force)
            self._time += round(STEP * STEPS_A_READING * 1e9)
            state, now = self._body.state.tolist(), self._time
        reading = JointState(name=JOINTS, position=state[:2], velocity=state[2:])
        reading.effort = [self._force, 0.0]
        reading.header.stamp = to_time(time.time_ns() if self._clock is None else now)
        for msg in self.spoil(reading):
            self._states.publish(msg)
        if self._clock is not None:
            self._clock.publish(Clock(clock=to_time(now)))

    def close(self) -> None:
        """Ends the thread."""
        self._closing.set()
        self._thread.join()


def changed(reading: JointState, **fields: object) -> JointState:
    """A copy of a reading with other fields."""
    result = copy.deepcopy(reading)
    for name, value in fields.items():
        setattr(result, name, value)
    return result
