"""The parts of a robot's file, as models that accept only what is right by itself.

Whether the parts fit together is for mbrl_node/spec/robot.py and references.py to say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from mbrl_node.spec.errors import Problem, did_you_mean, show
from mbrl_node.spec.plugins import PluginError, plugins

TERM_GROUP = "mbrl.reward_terms"
BUILT_IN_TERMS = ("cos", "sin", "linear", "abs", "square", "beyond", "distance")
MOST_FIELDS = 6  # of one term
_TERM_RANGE = {"cos": (-1.0, 1.0), "sin": (-1.0, 1.0)} | dict.fromkeys(
    ("abs", "square", "beyond", "distance"), (0.0, math.inf)
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


def _one_or_several(value: object) -> tuple[object, ...]:
    items = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not 1 <= len(items) <= MOST_FIELDS:
        raise refused(f"a list of {len(items)}: give 1 to {MOST_FIELDS}")
    return items


def _names(value: object) -> tuple[object, ...]:
    items = _one_or_several(value)
    for item in items:
        if not isinstance(item, str):
            raise refused(f"{show(item)} is not the name of a field")
    return items


def _names_or_numbers(value: object) -> tuple[float | str, ...]:
    return tuple(_name_or_number(item) for item in _one_or_several(value))


def _name_or_number(item: object) -> float | str:
    if isinstance(item, bool) or not isinstance(item, int | float | str):
        raise refused(f"{show(item)} is neither a number nor the name of a target")
    if isinstance(item, str):
        return item
    if isinstance(item, int) and abs(item) > 1e300:
        raise refused(f"{show(item)} is too large")
    if not math.isfinite(item):
        raise refused(f"{show(item)} is not a finite number")
    return float(item)


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
FrameName = Annotated[str, _matching(r"[^\s/]\S*", "is not a frame: no space, no / at its start")]
Fields = Annotated[tuple[str, ...], BeforeValidator(_names)]
Targets = Annotated[tuple[Any, ...], BeforeValidator(_names_or_numbers)]  # of float or str
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


class Term(SpecModel):
    """A function of one field, term(value - target), or of several; of an angle the difference is
    wrapped."""

    term: TermName = Field(
        description="cos, sin, linear, abs, square, beyond, or distance of several fields"
    )
    of: Fields = Field(description="the name of the field it looks at; of distance, a list")
    target: Targets = Field(
        (0.0,), description="subtracted from the value first: a number, or the name of a target"
    )
    limit: NotNegative | None = Field(None, description="for beyond: max(0, |value| - limit)")

    @property
    def targets(self) -> tuple[float | str, ...]:
        """What is subtracted from each of its fields."""
        return self.target * len(self.of) if len(self.target) == 1 else self.target

    def check(self) -> Iterator[Problem]:
        if self.term == "beyond" and self.limit is None:
            yield Problem(("limit",), "is missing: 'beyond' is max(0, |value| - limit)")
        elif self.term in BUILT_IN_TERMS and self.term != "beyond" and self.limit is not None:
            yield Problem(("limit",), f"is not a key of '{self.term}', only of 'beyond'")
        if self.term != "distance" and len(self.of) > 1:
            yield Problem(("of",), f"'{self.term}' is of one field, only 'distance' of several")
        elif len(self.target) not in (1, len(self.of)):
            count = f"{len(self.target)} targets of {len(self.of)} fields"
            yield Problem(("target",), f"{count}: give one for each, or one for all")


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
            yield range_problem(self.min, self.max)
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
    """A target is reached when every condition holds for `hold_time` seconds without a break; with
    that the task is solved, or with `in_a_row` targets."""

    hold_time: NotNegative = Field(description="how long, in s, all conditions must hold")
    conditions: NonEmptyListOf[GoalCondition] = Field(description="what must hold")
    patience: Positive | None = Field(
        None, description="s after which the robot gives a target of its own up for the next"
    )
    in_a_row: Annotated[int, Field(ge=1)] = Field(
        1, description="how many targets must be reached in a row for the task to be solved"
    )


def range_problem(low: float, high: float) -> Problem:
    words = "is below" if high < low else "is not above"
    return Problem(("max",), f"{show(high)} {words} min {show(low)}")


def _check_range(low: float | None, high: float | None) -> Iterator[Problem]:
    if low is None and high is None:
        yield Problem(("min",), "is missing: give min, max or both")
    elif low is not None and high is not None and low >= high:
        yield range_problem(low, high)
