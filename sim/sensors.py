"""What is measured of a simulated robot: with noise, later than it was, and not always."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mbrl_node.spec import RobotSpec, SpecError
from mbrl_node.spec.errors import Problem, line
from mbrl_node.spec.extract import TopicError, compile_fields
from mbrl_node.spec.topics import EULER_ANGLES, JointStateField, StateField
from sim.messages import Message, field_types

Array = NDArray[np.float64]


class Measured(Protocol):
    """A robot with sensors."""

    dt: float
    steps: int  # of the physics, since the start

    def message(self, kind: str) -> Message:
        """What a sensor of this message type gives now."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A message of one of the state's topics."""

    topic: int  # index in the robot's file
    message: Message
    step: int  # of the physics, at which it was measured


class Sensors:
    """Measures a robot on each of its state topics.

    Args:
        rng: of noise, and of what is lost.

    Raises:
        SpecError: a topic's type is none that a sensor gives, or has no number at a field's path.
    """

    def __init__(self, spec: RobotSpec, robot: Measured, rng: np.random.Generator) -> None:
        assert spec.sim is not None
        self._spec, self._robot, self._rng, self._sim = spec, robot, rng, spec.sim
        self._extract = []
        for i, topic in enumerate(spec.state):
            try:
                self._extract.append(compile_fields(topic, field_types))
            except TopicError as error:
                problem = Problem(("state", i, *error.at), error.text)
                raise SpecError([line(spec.name, problem)]) from None
        self._noise = [
            [
                _noise(field, spec.sim.noise[field.name])
                for field in topic.fields
                if field.name in spec.sim.noise
            ]
            for topic in spec.state
        ]
        self._latency = round(spec.sim.latency / robot.dt)
        self._every = round(spec.sim.physics_rate / spec.sim.state_rate)
        self._coming: deque[tuple[int, Measurement]] = (
            deque()
        )  # and the step at which each is there
        self._newest: list[Measurement] = []  # of each topic
        self._sampled = -1
        self.restart()

    def restart(self) -> None:
        """The robot was put somewhere else: what was measured before does not count, and where it
        is now is known at once."""
        self._coming.clear()
        self._newest = [self._measure(i) for i in range(len(self._spec.state))]
        self._sampled = self._robot.steps

    def look(self, now: bool = False) -> list[Measurement]:
        """Called after each step of the physics, measures when it is time to; what is there since
        the call before.

        Args:
            now: measures in any case.
        """
        steps = self._robot.steps
        if (steps % self._every == 0 or now) and steps != self._sampled:
            self._sampled = steps
            for i in range(len(self._spec.state)):
                measurement = self._measure(i)
                if not (self._sim.dropped and self._rng.random() < self._sim.dropped):
                    self._coming.append((steps + self._latency, measurement))
        arrived = []
        while self._coming and self._coming[0][0] <= steps:
            measurement = self._coming.popleft()[1]
            self._newest[measurement.topic] = measurement
            arrived.append(measurement)
        return arrived

    @property
    def newest(self) -> list[Measurement]:
        """The last that arrived of each topic."""
        return list(self._newest)

    @property
    def state(self) -> Array:
        """Of the last that arrived, [n]."""
        values = (self._extract[m.topic](m.message) for m in self._newest)
        return np.array([value for of_topic in values for value in of_topic])

    @property
    def age(self) -> float:
        """s since the oldest of those was measured."""
        return (self._robot.steps - min(m.step for m in self._newest)) * self._robot.dt

    def _measure(self, topic: int) -> Measurement:
        message = self._robot.message(self._spec.state[topic].type)
        for add in self._noise[topic]:
            add(message, self._rng)
        return Measurement(topic, message, self._robot.steps)


Noise = Callable[[Message, np.random.Generator], None]


def _noise(field: StateField, deviation: float) -> Noise:
    """What adds noise to a field in a message."""
    if isinstance(field, JointStateField):
        joint, value = field.joint, field.value

        def on_joint(message: Message, rng: np.random.Generator) -> None:
            getattr(message, value)[message.name.index(joint)] += rng.normal(0.0, deviation)

        return on_joint
    *parents, last = field.path.split(".")

    def on_path(message: Message, rng: np.random.Generator) -> None:
        at: Any = message
        for parent in parents:
            at = getattr(at, parent)
        noise = float(rng.normal(0.0, deviation))
        if last in EULER_ANGLES:
            _turn(at, EULER_ANGLES.index(last), noise)
        else:
            setattr(at, last, getattr(at, last) + noise)

    return on_path


def _turn(q: Message, axis: int, angle: float) -> None:
    """Turns an orientation about an axis of the world: of a level robot that is its yaw."""
    half = [0.0, 0.0, 0.0]
    half[axis] = math.sin(angle / 2)
    w, (x, y, z) = math.cos(angle / 2), half
    q.x, q.y, q.z, q.w = (
        w * q.x + x * q.w + y * q.z - z * q.y,
        w * q.y - x * q.z + y * q.w + z * q.x,
        w * q.z + x * q.y - y * q.x + z * q.w,
        w * q.w - x * q.x - y * q.y - z * q.z,
    )
