"""RobotSpec: the contract between a robot and everything that learns from it or drives it.

A robot is a YAML file; config/robots/cartpole.yaml explains every key. The models here say what may stand in it. They are
immutable, and whatever they accept is consistent: names are unique and references resolve.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mbrl_node.spec.errors import Problem, SpecError, from_pydantic, line, show
from mbrl_node.spec.references import reference_problems

FloatArray = npt.NDArray[np.float64]
TermName = Literal["cos", "sin", "linear", "abs", "square", "beyond"]
_TERM_RANGE = {"cos": (-1.0, 1.0), "sin": (-1.0, 1.0)} | dict.fromkeys(
    ("abs", "square", "beyond"), (0.0, math.inf)
)
T = TypeVar("T")


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _matching(pattern: str, what: str) -> AfterValidator:
    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise PydanticCustomError(
                "problems", "", {"problems": (Problem((), f"{show(value)} is not {what}"),)}
            )
        return value

    return AfterValidator(check)


_TOKEN = r"[A-Za-z_][A-Za-z0-9_]*"
ListOf = Annotated[tuple[T, ...], BeforeValidator(_as_tuple)]
NonEmptyListOf = Annotated[tuple[T, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[
    str, _matching(_TOKEN, "a name: use letters, digits and underscores, no digit first")
]
RosName = Annotated[
    str,
    _matching(
        rf"(~?/)?{_TOKEN}(/{_TOKEN})*",
        "a ROS name: use letters, digits and underscores between slashes, as in /joint_states",
    ),
]
Text = Annotated[str, _matching(r".*\S.*", "text with something in it")]


class SpecModel(BaseModel):
    """What all parts of a spec share: no unknown keys, no conversions, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def check(self) -> Iterator[Problem]:
        """What is wrong although every value is right by itself."""
        yield from ()

    @model_validator(mode="after")
    def _raise_what_check_finds(self) -> SpecModel:
        if problems := tuple(self.check()):
            raise PydanticCustomError("problems", "", {"problems": problems})
        return self


class JointStateField(SpecModel):
    """One number of the state, taken from a sensor_msgs/msg/JointState."""

    name: Name = Field(description="the field's name in the state vector")
    joint: Text = Field(description="the joint's name in the message")
    value: Literal["position", "velocity", "effort"] = Field(
        description="position, velocity or effort"
    )
    unit: Text = Field(description="the unit, such as m, rad, m/s, rad/s")
    angle: bool = Field(False, description="true where the value and the value + 2 pi are the same")

    def check(self) -> Iterator[Problem]:
        if self.angle and self.value != "position":
            yield Problem(("angle",), f"true is for a position; {self.name} is a {self.value}")
        if self.angle and self.unit != "rad":
            yield Problem(("unit",), f"{show(self.unit)} must be 'rad', {self.name} is an angle")


class JointStateTopic(SpecModel):
    """A topic that state fields are read from.

    Other message types join as models of their own, told apart by `type`.
    """

    topic: RosName = Field(description="the topic the state arrives on")
    type: Literal["sensor_msgs/msg/JointState"] = Field(description="the topic's message type")
    timeout: Positive = Field(description="age in s from which a state is stale")
    fields: NonEmptyListOf[JointStateField] = Field(description="the state fields it gives")


class ActionField(SpecModel):
    """One number of the action."""

    name: Name = Field(description="the field's name in the action vector")
    joint: Text = Field(description="the joint it drives")
    min: Number = Field(description="the lowest command")
    max: Number = Field(description="the highest command")
    safe: Number = Field(description="the command that is sent when there is nothing better")
    max_rate: Positive | None = Field(None, description="the fastest change, in unit/s")
    unit: Text = Field(description="the unit, such as N, N m, rad/s")

    def check(self) -> Iterator[Problem]:
        if self.min >= self.max:
            yield _range_problem(self.min, self.max)
        elif not self.min <= self.safe <= self.max:
            limits = f"{show(self.min)} and {show(self.max)}"
            yield Problem(("safe",), f"{show(self.safe)} must be between min and max, {limits}")


class ActionTopic(SpecModel):
    """Where the action is published: the fields in order, as ros2_control's forward controllers take them."""

    topic: RosName = Field(description="the topic the commands go to")
    type: Literal["std_msgs/msg/Float64MultiArray"] = Field(description="the topic's message type")
    fields: NonEmptyListOf[ActionField] = Field(description="the action fields, in order")


class Term(SpecModel):
    """A function of one field: term(value - target). An angle's difference is wrapped to (-pi, pi]."""

    term: TermName = Field(description="cos, sin, linear, abs, square or beyond")
    of: str = Field(description="the name of the field it looks at")
    target: Number = Field(0.0, description="subtracted from the value first")
    limit: NotNegative | None = Field(None, description="for beyond: max(0, |value| - limit)")

    def check(self) -> Iterator[Problem]:
        if self.term == "beyond" and self.limit is None:
            yield Problem(("limit",), "is missing: 'beyond' is max(0, |value| - limit)")
        if self.term != "beyond" and self.limit is not None:
            yield Problem(("limit",), f"is not a key of '{self.term}', only of 'beyond'")


class RewardTerm(Term):
    """One summand of the reward: weight * term."""

    weight: Number = Field(description="what the term is multiplied by")


class GoalCondition(Term):
    """Holds while the term's value is within its range."""

    min: Number | None = Field(None, description="the lowest value that will do")
    max: Number | None = Field(None, description="the highest value that will do")

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from _check_range(self.min, self.max)
        low, high = _TERM_RANGE.get(self.term, (-math.inf, math.inf))
        if self.min is not None and self.min > high:
            yield Problem(
                ("min",), f"{show(self.min)} is never reached: {self.term} is at most {show(high)}"
            )
        if self.max is not None and self.max < low:
            yield Problem(
                ("max",), f"{show(self.max)} is never reached: {self.term} is at least {show(low)}"
            )


class StateRange(SpecModel):
    """The range that a state field must not leave. An angle is wrapped to (-pi, pi] first."""

    of: str = Field(description="the name of the state field")
    min: Number | None = Field(None, description="the lowest value allowed")
    max: Number | None = Field(None, description="the highest value allowed")

    def check(self) -> Iterator[Problem]:
        yield from _check_range(self.min, self.max)


class Goal(SpecModel):
    """The task is solved when every condition holds for `hold_time` seconds without a break."""

    hold_time: NotNegative = Field(description="how long, in s, all conditions must hold")
    conditions: NonEmptyListOf[GoalCondition] = Field(description="what must hold")


class Episode(SpecModel):
    """How an attempt ends and the next one starts."""

    length: Positive = Field(description="seconds until the episode is cut off")
    reset_service: RosName | None = Field(None, description="a std_srvs/srv/Trigger, or null")


class Sim(SpecModel):
    """How PyBullet builds the robot."""

    urdf: Text = Field(description="a file of pybullet_data, or relative to the robot's file")
    physics_rate: Positive = Field(description="physics steps per second")
    state_rate: Positive = Field(description="states published per second")
    fixed_base: bool = Field(False, description="true where the base is bolted to the world")
    initial: dict[str, Number] = Field({}, description="joint positions after a reset; others 0")
    initial_noise: NotNegative = Field(0.0, description="uniform +- on each joint at a reset")

    def check(self) -> Iterator[Problem]:
        steps = self.physics_rate / self.state_rate
        if abs(steps - round(steps)) > 1e-9 * steps or steps < 0.5:
            yield Problem(
                ("physics_rate",),
                f"{show(self.physics_rate)} must be a whole multiple of state_rate"
                f" {show(self.state_rate)}",
            )


class RobotSpec(SpecModel):
    """A robot and its task. Made by `load_spec` from a file or by `RobotSpec.from_dict`."""

    name: Name = Field(description="the robot's name")
    rate: Positive = Field(description="control rate in Hz")
    state: NonEmptyListOf[JointStateTopic] = Field(description="the topics the state comes from")
    action: ActionTopic = Field(description="where commands go, and their limits")
    reward_terms: NonEmptyListOf[RewardTerm] = Field(
        alias="reward", description="the terms whose weighted sum is the reward"
    )
    termination: ListOf[StateRange] = Field((), description="the ranges that end an episode")
    goal: Goal | None = Field(None, description="when the task counts as solved")
    episode: Episode = Field(description="how long an episode is, and how to reset")
    sim: Sim | None = Field(None, description="how PyBullet builds the robot")

    _path: Path | None = PrivateAttr(None)
    _source: str = PrivateAttr("robot spec")

    @classmethod
    def from_dict(
        cls, data: Mapping[str, object], source: str = "robot spec", path: Path | None = None
    ) -> RobotSpec:
        """Validates what a YAML file says.

        Args:
            data: the parsed document: mappings, lists, text, numbers.
            source: what the lines of an error begin with; a file's path as the user gave it.
            path: the file it came from.

        Raises:
            SpecError: with one line for every problem.
        """
        try:
            spec = cls.model_validate(data)
        except ValidationError as error:
            problems = (*from_pydantic(error, cls), *reference_problems(data))
            raise SpecError(line(source, problem) for problem in dict.fromkeys(problems)) from None
        spec._path, spec._source = path, source
        return spec

    def with_overrides(self, **overrides: object) -> RobotSpec:
        """The same robot with some keys changed; a mapping changes only the keys it names.

        `spec.with_overrides(rate=50.0, episode={"length": 10.0})`

        Raises:
            SpecError: the result is not valid.
        """
        if not overrides:
            return self
        data = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        spec = RobotSpec.from_dict(
            _merged(data, overrides), f"{self._source} with overrides", self._path
        )
        spec._source = self._source
        return spec

    def check(self) -> Iterator[Problem]:
        yield from reference_problems(self.model_dump(mode="json", by_alias=True))
        yield from self._check_times()
        yield from self._check_angles()

    def _check_times(self) -> Iterator[Problem]:
        length = self.episode.length
        if length < self.dt:
            yield Problem(
                ("episode", "length"),
                f"{show(length)} is shorter than one control period, {show(self.dt)} s",
            )
        if self.goal is not None and self.goal.hold_time > length:
            yield Problem(
                ("goal", "hold_time"),
                f"{show(self.goal.hold_time)} is longer than episode.length {show(length)}",
            )
        if self.sim is not None and self.sim.state_rate < self.rate:
            yield Problem(
                ("sim", "state_rate"),
                f"{show(self.sim.state_rate)} is below the control rate {show(self.rate)}",
            )

    def _check_angles(self) -> Iterator[Problem]:
        angles = {field.name for field in self.state_fields if field.angle}
        bounds: list[tuple[tuple[str | int, ...], str, float | None]] = []
        for i, term in enumerate(self.reward_terms):
            bounds.append((("reward", i, "limit"), term.of, term.limit))
        for i, allowed in enumerate(self.termination):
            bounds.append((("termination", i, "min"), allowed.of, allowed.min))
            bounds.append((("termination", i, "max"), allowed.of, allowed.max))
        for at, name, bound in bounds:
            if name in angles and bound is not None and abs(bound) >= math.pi:
                yield Problem(
                    at, f"{show(bound)} is never passed: {name} is an angle, within (-pi, pi]"
                )

    @property
    def path(self) -> Path | None:
        """The file the spec was loaded from, if any."""
        return self._path

    @property
    def dt(self) -> float:
        """The control period in s."""
        return 1.0 / self.rate

    @property
    def state_fields(self) -> tuple[JointStateField, ...]:
        """The fields of the state vector, in order, whichever topic they come from."""
        return tuple(field for topic in self.state for field in topic.fields)

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.state_fields)

    @property
    def action_names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.action.fields)

    @property
    def state_dim(self) -> int:
        return len(self.state_fields)

    @property
    def action_dim(self) -> int:
        return len(self.action.fields)

    @property
    def angle_mask(self) -> npt.NDArray[np.bool_]:
        """Which state fields are angles, [state_dim]."""
        return np.array([field.angle for field in self.state_fields])

    @property
    def action_min(self) -> FloatArray:
        """The lowest action, [action_dim]."""
        return np.array([field.min for field in self.action.fields])

    @property
    def action_max(self) -> FloatArray:
        """The highest action, [action_dim]."""
        return np.array([field.max for field in self.action.fields])

    @property
    def action_safe(self) -> FloatArray:
        """The action to send when there is nothing better, [action_dim]."""
        return np.array([field.safe for field in self.action.fields])

    @property
    def action_max_rate(self) -> FloatArray:
        """The fastest change of the action, in its unit per s, inf where there is no limit, [action_dim]."""
        rates = (field.max_rate for field in self.action.fields)
        return np.array([math.inf if rate is None else rate for rate in rates])

    @property
    def hash(self) -> int:
        """A number from 1 to 2^63 - 1 that says what the numbers of a transition mean.

        Two specs with the same hash can share transitions and dynamics models. It covers what state, action and one step
        are: the rate, and for each field in order its name, source or destination (topic, type, joint, value), unit and
        angle flag. It leaves out what can change without making old data wrong: the action's limits (3 N is 3 N whether 5
        or 10 are allowed), the timeout, and the task (reward, termination, goal, episode) because models learn the
        dynamics alone. A topic counts because it decides what a number does: the same array drives an effort controller
        or a velocity controller.
        """
        meaning = {
            "rate": self.rate,
            "state": [
                [topic.topic, topic.type, field.name, field.joint, field.value, field.unit, field.angle]
                for topic in self.state
                for field in topic.fields
            ],
            "action": [
                [self.action.topic, self.action.type, field.name, field.joint, field.unit]
                for field in self.action.fields
            ],
        }
        canonical = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(canonical.encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1 or 1


def _range_problem(low: float, high: float) -> Problem:
    words = "is below" if high < low else "is not above"
    return Problem(("max",), f"{show(high)} {words} min {show(low)}")


def _check_range(low: float | None, high: float | None) -> Iterator[Problem]:
    if low is None and high is None:
        yield Problem(("min",), "is missing: give min, max or both")
    elif low is not None and high is not None and low >= high:
        yield _range_problem(low, high)


def _merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(data)
    for key, change in changes.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(change, Mapping)
        result[key] = _merged(old, change) if both else change
    return result
