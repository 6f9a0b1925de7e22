"""Substitutions that yield `true` or `false`, or choose by it."""

from __future__ import annotations

from typing import Any

from ..launch_context import LaunchContext
from ..substitution import Substitution
from ..utilities import normalize_to_list_of_substitutions, perform_substitutions
from ..utilities.type_utils import parse_text
from .text import SubstitutionFailure


def _truth(context: LaunchContext, subs: list[Substitution]) -> bool:
    text = perform_substitutions(context, subs)
    if text.lower() in ("1", "0"):
        return text == "1"
    try:
        return bool(parse_text(text, bool))
    except ValueError:
        raise SubstitutionFailure(f"expected true or false, got '{text}'") from None


def _word(value: bool) -> str:
    return "true" if value else "false"


class _Many(Substitution):
    """True where `_combine` of all the values is."""

    _combine: Any

    def __init__(self, *args: Any) -> None:
        self._args = [normalize_to_list_of_substitutions(arg) for arg in args]

    def describe(self) -> str:
        inner = ", ".join(" + ".join(sub.describe() for sub in subs) for subs in self._args)
        return f"{type(self).__name__}({inner})"

    def perform(self, context: LaunchContext) -> str:
        return _word(type(self)._combine([_truth(context, subs) for subs in self._args]))


class AllSubstitution(_Many):
    """True where all are."""

    _combine = staticmethod(all)


class AnySubstitution(_Many):
    """True where at least one is."""

    _combine = staticmethod(any)


class AndSubstitution(AllSubstitution):
    """True where both are."""

    def __init__(self, left: Any, right: Any) -> None:
        super().__init__(left, right)


class OrSubstitution(AnySubstitution):
    """True where one of the two is."""

    def __init__(self, left: Any, right: Any) -> None:
        super().__init__(left, right)


class NotSubstitution(_Many):
    """True where the value is false."""

    _combine = staticmethod(lambda values: not values[0])

    def __init__(self, value: Any) -> None:
        super().__init__(value)


class EqualsSubstitution(Substitution):
    """True where both sides are equal: as numbers or booleans where both are, else as text."""

    def __init__(self, left: Any, right: Any) -> None:
        self._sides = [
            normalize_to_list_of_substitutions(
                side if isinstance(side, (str, Substitution, list, tuple)) else str(side)
            )
            for side in (left, right)
        ]

    def describe(self) -> str:
        inner = ", ".join(" + ".join(sub.describe() for sub in side) for side in self._sides)
        return f"{type(self).__name__}({inner})"

    def _equal(self, context: LaunchContext) -> bool:
        left, right = (perform_substitutions(context, side) for side in self._sides)
        if left == right:
            return True
        if {left.lower(), right.lower()} in ({"true", "1"}, {"false", "0"}):
            return True
        try:
            values = parse_text(left), parse_text(right)
        except ValueError:
            return False
        if all(isinstance(value, bool) for value in values):
            return bool(values[0] == values[1])
        if all(type(value) in (int, float) for value in values):
            return bool(values[0] == values[1])
        return False

    def perform(self, context: LaunchContext) -> str:
        return _word(self._equal(context))


class NotEqualsSubstitution(EqualsSubstitution):
    """True where the sides are not equal."""

    def perform(self, context: LaunchContext) -> str:
        return _word(not self._equal(context))


class IfElseSubstitution(Substitution):
    """One of two texts, chosen by a condition."""

    def __init__(self, condition: Any, if_value: Any = "", else_value: Any = "") -> None:
        self._condition = normalize_to_list_of_substitutions(condition)
        self._if = normalize_to_list_of_substitutions(if_value)
        self._else = normalize_to_list_of_substitutions(else_value)

    def describe(self) -> str:
        parts = (self._condition, self._if, self._else)
        inner = ", ".join(" + ".join(sub.describe() for sub in subs) for subs in parts)
        return f"IfElseSubstitution({inner})"

    def perform(self, context: LaunchContext) -> str:
        chosen = self._if if _truth(context, self._condition) else self._else
        return perform_substitutions(context, chosen)
