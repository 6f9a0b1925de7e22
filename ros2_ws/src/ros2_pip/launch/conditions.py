"""Conditions: whether an action is carried out."""

from __future__ import annotations

from typing import Any

from .condition import Condition
from .launch_context import LaunchContext
from .substitution import Substitution
from .utilities import normalize_to_list_of_substitutions, perform_substitutions

__all__ = [
    "IfCondition",
    "InvalidConditionExpressionError",
    "LaunchConfigurationEquals",
    "LaunchConfigurationNotEquals",
    "UnlessCondition",
    "evaluate_condition_expression",
]

_WORDS = {"true": True, "1": True, "false": False, "0": False}


class InvalidConditionExpressionError(RuntimeError):
    """Text that is neither true nor false."""


def evaluate_condition_expression(context: LaunchContext, expression: list[Substitution]) -> bool:
    """Whether the text says true or 1; false or 0 is false.

    Raises:
        InvalidConditionExpressionError: It says something else.
    """
    text = perform_substitutions(context, expression)
    try:
        return _WORDS[text.strip().lower()]
    except KeyError:
        described = " + ".join(sub.describe() for sub in expression)
        raise InvalidConditionExpressionError(
            f"invalid condition expression {described}: expected true, false, 1 or 0, got '{text}'"
        ) from None


class IfCondition(Condition):
    """Holds where the expression is true."""

    def __init__(self, predicate_expression: Any) -> None:
        expression = normalize_to_list_of_substitutions(predicate_expression)
        super().__init__(predicate=lambda c: evaluate_condition_expression(c, expression))


class UnlessCondition(Condition):
    """Holds where the expression is false."""

    def __init__(self, predicate_expression: Any) -> None:
        expression = normalize_to_list_of_substitutions(predicate_expression)
        super().__init__(predicate=lambda c: not evaluate_condition_expression(c, expression))


class LaunchConfigurationEquals(Condition):
    """Holds where a launch configuration has this value (None: where it is not set)."""

    def __init__(self, launch_configuration_name: str, expected_value: Any) -> None:
        expected = (
            None if expected_value is None else normalize_to_list_of_substitutions(expected_value)
        )

        def equal(context: LaunchContext) -> bool:
            value = context.launch_configurations.get(launch_configuration_name)
            if value is None or expected is None:
                return value is None and expected is None
            return bool(value == perform_substitutions(context, expected))

        super().__init__(predicate=equal)


class LaunchConfigurationNotEquals(Condition):
    """Holds where a launch configuration does not have this value."""

    def __init__(self, launch_configuration_name: str, expected_value: Any) -> None:
        equals = LaunchConfigurationEquals(launch_configuration_name, expected_value)
        super().__init__(predicate=lambda context: not equals.evaluate(context))
