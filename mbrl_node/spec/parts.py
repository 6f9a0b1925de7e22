"""The parts of a robot's file, as models that accept only what is right by itself.

Whether the parts fit together is for mbrl_node/spec/robot.py and references.py to say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from mbrl_node.spec.errors import Problem, did_you_mean, show
from mbrl_node.spec.plugins import PluginError, plugins

TERM_GROUP = "mbrl.reward_terms"
BUILT_IN_TERMS = ("cos", "sin", "linear", "abs", "square", "beyond")
_TERM_RANGE = {"cos": (-1.0, 1.0), "sin": (-1.0, 1.0)} | dict.fromkeys(
    ("abs", "square", "beyond"), (0.0, math.inf)
)
T = TypeVar("T")


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _matching(pattern: str, complaint: str) -> AfterValidator:
    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise refused(f"{show(value)} {complaint}")
        return value

    return AfterValidator(check)


def _known_term(value: object) -> object:
    try:
        known = [*BUILT_IN_TERMS, *plugins(TERM_GROUP, BUILT_IN_TERMS)]
    except PluginError as error:
        raise refused(str(error)) from None
    if value not in known:
        hint = did_you_mean(value, known)
        raise refused(f"{show(value)} is not one of {', '.join(known)}{hint}")
    return value


def refused(text: str) -> PydanticCustomError:
    """What a validator raises to have the text reported of its value."""
    return PydanticCustomError("problems", "", {"problems": (Problem((), text),)})


_TOKEN = r"[A-Za-z_][A-Za-z0-9_]*"
_NO_NAME = "is not a name: use letters, digits and underscores, no digit first"
_NO_ROS_NAME = "is not a ROS name: use letters, digits, underscores and /, as in /joint_states"
_NO_TYPE = "is not a message type, which is package/msg/Name, as in sensor_msgs/msg/JointState"
_NO_PATH = "is not a path in a message, as in twist.twist.linear.x or data[2]"
_STEP = rf"{_TOKEN}(\[(0|[1-9][0-9]{{0,8}})\])?"

ListOf = Annotated[tuple[T, ...], BeforeValidator(_as_tuple)]
NonEmptyListOf = Annotated[tuple[T, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Text = Annotated[str, _matching(r"\S(.*\S)?", "is blank or has space at its ends")]
Name = Annotated[str, _matching(_TOKEN, _NO_NAME)]
RosName = Annotated[str, _matching(rf"(~?/)?{_TOKEN}(/{_TOKEN})*", _NO_ROS_NAME)]
MessageType = Annotated[str, _matching(rf"{_TOKEN}/msg/[A-Z][A-Za-z0-9]*", _NO_TYPE)]
FieldPath = Annotated[str, _matching(rf"{_STEP}(\.{_STEP})*", _NO_PATH)]
TermName = Annotated[str, BeforeValidator(_known_term)]  # not imported here: that may need torch


class SpecModel(BaseModel):
    """What all parts of a spec share: no unknown keys, no conversions, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def check(self) -> Iterator[Problem]:
        """What is wrong although every value is right by itself."""
        yield from ()

    @model_validator(mode="after")
    def _raise_what_check_finds(self) -> Self:
        if problems := tuple(self.check()):
            raise PydanticCustomError("problems", "", {"problems": problems})
        return self


class ActionField(SpecModel):
    """One number of the action."""

    name: Name = Field(description="the field's name in the action vector")
    joint: Text = Field(description="the joint it drives")
    min: Number = Field(description="the lowest command")
    max: Number = Field(description="the highest command")
    safe: Number = Field(description="the command that is sent when there is nothing better")
    max_rate: Positive | None = Field(None, description="the fastest change, in unit/s")
    max_jerk: Positive | None = Field(
        None, description="the fastest change of the change, in unit/s^2"
    )
    unit: Text = Field(description="the unit, such as N, N m, rad/s")

    def check(self) -> Iterator[Problem]:
        if self.min >= self.max:
            yield _range_problem(self.min, self.max)
        elif not self.min <= self.safe <= self.max:
            limits = f"{show(self.min)} and {show(self.max)}"
            yield Problem(("safe",), f"{show(self.safe)} must be between min and max, {limits}")


class ActionTopic(SpecModel):
    """Where the action is published: its fields in order, as ros2_control's controllers take it."""

    topic: RosName = Field(description="the topic the commands go to")
    type: Literal["std_msgs/msg/Float64MultiArray"] = Field(description="the topic's message type")
    delay: NotNegative = Field(0.0, description="s from a command's being sent to its effect")
    fields: NonEmptyListOf[ActionField] = Field(description="the action fields, in order")


class Term(SpecModel):
    """A function of one field, term(value - target); of an angle the difference is wrapped."""

    term: TermName = Field(description="cos, sin, linear, abs, square or beyond")
    of: str = Field(description="the name of the field it looks at")
    target: Number = Field(0.0, description="subtracted from the value first")
    limit: NotNegative | None = Field(None, description="for beyond: max(0, |value| - limit)")

    def check(self) -> Iterator[Problem]:
        if self.term == "beyond" and self.limit is None:
            yield Problem(("limit",), "is missing: 'beyond' is max(0, |value| - limit)")
        elif self.term in BUILT_IN_TERMS and self.term != "beyond" and self.limit is not None:
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


class EnvelopeRange(SpecModel):
    """Where a robot may be, whoever commands it: outside the soft range it is pushed back, outside
    the hard range (`min`, `max`) it is stopped. An angle is wrapped to (-pi, pi] first."""

    of: str = Field(description="the name of the state field")
    min: Number | None = Field(None, description="below it the robot is stopped")
    max: Number | None = Field(None, description="above it the robot is stopped")
    soft_min: Number | None = Field(None, description="below it the robot is pushed back")
    soft_max: Number | None = Field(None, description="above it the robot is pushed back")

    def check(self) -> Iterator[Problem]:
        if all(b is None for b in (self.min, self.max, self.soft_min, self.soft_max)):
            yield Problem(("min",), "is missing: give min, max, soft_min, soft_max or several")
        elif self.min is not None and self.max is not None and self.min >= self.max:
            yield _range_problem(self.min, self.max)
        else:
            yield from self._check_soft()

    def _check_soft(self) -> Iterator[Problem]:
        for key, soft in (("soft_min", self.soft_min), ("soft_max", self.soft_max)):
            if soft is None:
                continue
            if self.min is not None and soft <= self.min:
                yield Problem((key,), f"{show(soft)} must be above min {show(self.min)}")
            if self.max is not None and soft >= self.max:
                yield Problem((key,), f"{show(soft)} must be below max {show(self.max)}")
        low, high = self.soft_min, self.soft_max
        if low is not None and high is not None and low >= high:
            yield Problem(("soft_max",), f"{show(high)} must be above soft_min {show(low)}")


class Constraint(StateRange):
    """A range that plans keep away from the ends of, before anything terminates.

    What a plan pays for each step is zero while the state is farther than `margin` inside a limit
    and grows with the square from there on: weight * ((margin - distance) / margin)^2.
    """

    margin: Positive = Field(description="the distance inside a limit from which on it costs")
    weight: Positive = Field(description="the cost of a step on the limit, in units of the reward")


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
        rest = math.remainder(self.physics_rate, self.state_rate)
        if abs(rest) > 1e-9 * self.physics_rate or self.physics_rate < 0.5 * self.state_rate:
            yield Problem(
                ("physics_rate",),
                f"{show(self.physics_rate)} must be a whole multiple of state_rate"
                f" {show(self.state_rate)}",
            )


def _range_problem(low: float, high: float) -> Problem:
    words = "is below" if high < low else "is not above"
    return Problem(("max",), f"{show(high)} {words} min {show(low)}")


def _check_range(low: float | None, high: float | None) -> Iterator[Problem]:
    if low is None and high is None:
        yield Problem(("min",), "is missing: give min, max or both")
    elif low is not None and high is not None and low >= high:
        yield _range_problem(low, high)
