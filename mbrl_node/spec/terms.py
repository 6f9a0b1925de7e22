"""Reward, termination, goal and constraints of a spec as functions of state and action.

All are defined once, on torch tensors: for a planner's batches and for the one state that
the robot is in. A state with a NaN or an infinity in any field, read or not, is never hidden: its
reward and its cost are NaN, it terminates, and it reaches no goal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mbrl_node.spec.parts import TERM_GROUP, RewardTerm, Term
from mbrl_node.spec.plugins import find
from mbrl_node.spec.robot import RobotSpec

# (state [..., n], action [..., m], next state [..., n]) -> [...]
RewardFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
# next state [..., n] -> bool [...]
TerminationFunction = Callable[[Tensor], Tensor]
# next state [..., n] -> what it costs a plan, 0 or more, [...]
ConstraintFunction = Callable[[Tensor], Tensor]
GoalFunction = Callable[[npt.NDArray[np.float64]], bool]


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
}
_PERIODIC = ("cos", "sin")


@dataclass(frozen=True)
class WeightedTerm:
    """weight * term(value - target, limit) of one column of the state or the action."""

    name: str
    column: int
    of_action: bool
    angle: bool
    weight: float
    target: float
    limit: float
    value: Callable[[Tensor], Tensor]


class TermReward:
    """A spec's reward: (state [..., n], action [..., m], next_state [..., n]) -> [...].

    The sum of weight * term of the state reached and the action that led there; the state before
    does not count. The result has the leading shape of next_state, to which action's must
    broadcast; NaN where next_state is not finite.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self.terms = tuple(_weighted(spec, term) for term in spec.reward_terms)

    def __call__(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        total = _zero_or_nan(next_state)
        for term in self.terms:
            value = (action if term.of_action else next_state)[..., term.column]
            total = total.add_(term.value(value), alpha=term.weight)
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
    """Do all conditions of the goal hold in a state [state_dim]?

    For how long they must is `spec.goal.hold_time`; who counts it is the caller. False for a state
    that is not finite, and always False for a spec without a goal.
    """
    conditions = [
        (
            _column(spec, condition),
            _term(spec, condition),
            -math.inf if condition.min is None else condition.min,
            math.inf if condition.max is None else condition.max,
        )
        for condition in (spec.goal.conditions if spec.goal else ())
    ]

    def reached(state: npt.NDArray[np.float64]) -> bool:
        if not conditions or not np.isfinite(state).all():
            return False
        values = torch.from_numpy(np.asarray(state, dtype=np.float64))
        return all(
            low <= term(values[column]).item() <= high for column, term, low, high in conditions
        )

    return reached


def _zero_or_nan(state: Tensor) -> Tensor:
    """Zeros of the leading shape, NaN where a field is not finite; cheaper than torch.isfinite."""
    return state.sum(-1).mul_(0.0)


def _column(spec: RobotSpec, term: Term) -> int:
    names = spec.action_names if term.of in spec.action_names else spec.state_names
    return names.index(term.of)


def _weighted(spec: RobotSpec, term: RewardTerm) -> WeightedTerm:
    return WeightedTerm(
        term.term,
        _column(spec, term),
        term.of in spec.action_names,
        _is_angle(spec, term),
        term.weight,
        term.target,
        term.limit or 0.0,
        _term(spec, term),
    )


def _is_angle(spec: RobotSpec, term: Term) -> bool:
    return any(field.name == term.of and field.angle for field in spec.state_fields)


def _term(spec: RobotSpec, term: Term) -> Callable[[Tensor], Tensor]:
    """The term with its target and limit filled in; no operation is done that changes nothing."""
    function = find(TERM_GROUP, term.term, TERMS)
    target, limit = term.target, term.limit or 0.0
    if _is_angle(spec, term) and term.term not in _PERIODIC:
        return lambda value: function(wrap(value - target), limit)
    if target != 0.0:
        return lambda value: function(value - target, limit)
    return lambda value: function(value, limit)
