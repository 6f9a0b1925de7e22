"""Reward, termination, goal and constraints of a spec as functions of state and action.

All are defined once, on torch tensors: for a planner's batches and for the one state that
the robot is in. A state with a NaN or an infinity in any field, read or not, is never hidden: its
reward and its cost are NaN, it terminates, and it reaches no goal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mbrl_node.spec.parts import TERM_GROUP, Term
from mbrl_node.spec.plugins import find
from mbrl_node.spec.robot import RobotSpec
from mbrl_node.spec.system import FloatArray

# (state [..., n], action [..., m], next state [..., n]) -> [...]
RewardFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
# next state [..., n] -> bool [...]
TerminationFunction = Callable[[Tensor], Tensor]
# next state [..., n] -> what it costs a plan, 0 or more, [...]
ConstraintFunction = Callable[[Tensor], Tensor]


class GoalFunction(Protocol):
    """Do all conditions of the goal hold in a state [n], with targets [t]?"""

    def __call__(self, state: FloatArray, targets: FloatArray = ...) -> bool: ...


class Targets:
    """What a task aims at now, [t]: the values that its terms read, until others are set.

    Attributes:
        values: changed in place, so that whoever holds it sees the newest.
    """

    def __init__(self, spec: RobotSpec, device: torch.device | None = None) -> None:
        middle = [
            0.5 * (f.min + f.max) if f.initial is None else f.initial for f in spec.target_fields
        ]
        self.values = torch.tensor(middle, dtype=torch.float64, device=device)

    def set(self, values: FloatArray) -> None:
        """From now on these, [t]."""
        self.values.copy_(torch.as_tensor(values))


def wrap(angle: Tensor) -> Tensor:
    """The angle within (-pi, pi]."""
    return math.pi - torch.remainder(math.pi - angle, 2.0 * math.pi)


def _beyond(value: Tensor, limit: float) -> Tensor:
    return value.abs().sub_(limit).relu_()


TERMS: Mapping[str, Callable[[Tensor, float], Tensor]] = {  # (value - target, limit) -> term
    "cos": lambda value, _: torch.cos(value),
    "sin": lambda value, _: torch.sin(value),
    "linear": lambda value, _: value,
    "abs": lambda value, _: torch.abs(value),
    "square": lambda value, _: torch.square(value),
    "beyond": _beyond,
    "distance": lambda value, _: torch.abs(value),  # of one field; of several it is their norm
}
NOTHING = np.zeros(0)
_PERIODIC = ("cos", "sin")


@dataclass(frozen=True)
class TermPart:
    """value - target of one column of the state or the action; wrapped, if that is wanted."""

    column: int
    wrapped: bool
    target: float
    target_column: int | None  # of the targets, whose value then counts

    def of(self, values: Tensor, targets: Targets) -> Tensor:
        """[...] of values [..., n]; no operation is done that changes nothing."""
        value = values[..., self.column]
        if self.target_column is not None:
            value = value - targets.values[self.target_column].to(value.dtype)
        elif self.target != 0.0:
            value = value - self.target
        return wrap(value) if self.wrapped else value


@dataclass(frozen=True)
class WeightedTerm:
    """weight * term(value - target, limit) of columns of the state or of the action."""

    name: str
    of_action: bool
    weight: float
    limit: float
    parts: tuple[TermPart, ...]
    function: Callable[[Tensor, float], Tensor]

    def value(self, values: Tensor, targets: Targets) -> Tensor:
        """The term, without its weight, [...] of states or actions [..., n]."""
        parts = [part.of(values, targets) for part in self.parts]
        if self.name == "distance":
            distance: Tensor = torch.linalg.vector_norm(torch.stack(parts, -1), dim=-1)
            return distance
        return self.function(parts[0], self.limit)


class TermReward:
    """A spec's reward: (state [..., n], action [..., m], next_state [..., n]) -> [...].

    The sum of weight * term of the state reached and the action that led there; the state before
    does not count. The result has the leading shape of next_state, to which action's must
    broadcast; NaN where next_state is not finite.

    Attributes:
        targets: what it aims at now.
        aims: whether they count.
    """

    def __init__(self, spec: RobotSpec, targets: Targets | None = None) -> None:
        self.targets = Targets(spec) if targets is None else targets
        self.terms = tuple(weighted(spec, term, term.weight) for term in spec.reward_terms)
        self.aims = any(p.target_column is not None for term in self.terms for p in term.parts)

    def __call__(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        total = _zero_or_nan(next_state)
        for term in self.terms:
            value = term.value(action if term.of_action else next_state, self.targets)
            total = total.add_(value, alpha=term.weight)
        return total


@dataclass(frozen=True)
class Range:
    """Where a state field may be; an angle is wrapped."""

    column: int
    angle: bool
    low: float
    high: float


class RangeTermination:
    """Does a state end the episode? (state [..., n]) -> bool [...].

    True where a field is outside its range, and where a state is not finite.
    """

    def __init__(self, spec: RobotSpec) -> None:
        columns = [spec.state_names.index(allowed.of) for allowed in spec.termination]
        self.ranges = tuple(
            Range(
                column,
                bool(spec.angle_mask[column]),
                -math.inf if allowed.min is None else allowed.min,
                math.inf if allowed.max is None else allowed.max,
            )
            for column, allowed in zip(columns, spec.termination, strict=True)
        )

    def __call__(self, state: Tensor) -> Tensor:
        result = _zero_or_nan(state) != 0.0
        for allowed in self.ranges:
            value = state[..., allowed.column]
            value = wrap(value) if allowed.angle else value
            result |= (value < allowed.low) | (value > allowed.high)
        return result


@dataclass(frozen=True)
class Barrier:
    """Costs weight * max(0, (limit - value) * scale + 1)^2; the sign of scale points inwards."""

    column: int
    angle: bool
    limit: float
    scale: float
    weight: float


class BarrierConstraint:
    """What it costs a plan to be near or beyond a limit: (state [..., n]) -> [...].

    The sum of weight * max(0, (margin - d) / margin)^2 over all limits, d being the distance to the
    limit, negative beyond it: a relaxed barrier, finite everywhere, so that a robot that is beyond
    finds its way back.
    """

    def __init__(self, spec: RobotSpec) -> None:
        names, angles = spec.state_names, spec.angle_mask
        self.barriers = tuple(
            Barrier(
                names.index(c.of),
                bool(angles[names.index(c.of)]),
                limit,
                inward / c.margin,
                c.weight,
            )
            for c in spec.constraints
            for limit, inward in ((c.min, 1.0), (c.max, -1.0))
            if limit is not None
        )

    def __call__(self, state: Tensor) -> Tensor:
        total = _zero_or_nan(state)
        for it in self.barriers:
            value = state[..., it.column]
            value = wrap(value) if it.angle else value
            nearness = ((it.limit - value) * it.scale + 1.0).relu()
            total = total.add_(nearness.square(), alpha=it.weight)
        return total


def constraint_function(spec: RobotSpec) -> BarrierConstraint | None:
    """The spec's constraints; None where it has none."""
    return BarrierConstraint(spec) if spec.constraints else None


def goal_function(spec: RobotSpec) -> GoalFunction:
    """The goal's conditions; without targets those count that the file begins with.

    For how long they must is `spec.goal.hold_time`; who counts it is the caller. False for a state
    that is not finite, and always False for a spec without a goal.
    """
    aim = Targets(spec)
    conditions = [
        (
            weighted(spec, condition, 1.0),
            -math.inf if condition.min is None else condition.min,
            math.inf if condition.max is None else condition.max,
        )
        for condition in (spec.goal.conditions if spec.goal else ())
    ]

    def reached(state: FloatArray, targets: FloatArray = NOTHING) -> bool:
        if not conditions or not np.isfinite(state).all():
            return False
        if targets.size:
            aim.set(targets)
        values = torch.from_numpy(np.asarray(state, dtype=np.float64))
        return all(low <= term.value(values, aim).item() <= high for term, low, high in conditions)

    return reached


def _zero_or_nan(state: Tensor) -> Tensor:
    """Zeros of the leading shape, NaN where a field is not finite; cheaper than torch.isfinite."""
    return state.sum(-1).mul_(0.0)


def weighted(spec: RobotSpec, term: Term, weight: float) -> WeightedTerm:
    """A term as it is worked out."""
    of_action = term.of[0] in spec.action_names
    names = spec.action_names if of_action else spec.state_names
    angles = {field.name for field in spec.state_fields if field.angle}
    parts = tuple(
        TermPart(
            names.index(name),
            name in angles and term.term not in _PERIODIC,
            target if isinstance(target, float) else 0.0,
            None if isinstance(target, float) else spec.target_names.index(target),
        )
        for name, target in zip(term.of, term.targets, strict=True)
    )
    function = find(TERM_GROUP, term.term, TERMS)
    return WeightedTerm(term.term, of_action, weight, term.limit or 0.0, parts, function)
