"""Values typed by YAML rules, as launch configurations and node parameters are."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import yaml

from ..substitution import Substitution
from . import resolve

if TYPE_CHECKING:
    from ..launch_context import LaunchContext

SCALARS = (bool, int, float, str)


def is_text(value: Any) -> bool:
    """Whether the value is a substitution, or a list of text with at least one among it."""
    if isinstance(value, (list, tuple)):
        parts = list(value)
        return any(isinstance(part, Substitution) for part in parts) and all(
            isinstance(part, (Substitution, str)) for part in parts
        )
    return isinstance(value, Substitution)


def type_name(data_type: Any) -> str:
    """`float`, `list[int]`, …: the type as a user writes it."""
    plain = isinstance(data_type, type) and not typing.get_args(data_type)
    return str(data_type.__name__ if plain else data_type).replace("typing.", "")


def coerce(value: Any, data_type: Any) -> Any:
    """Check a value that YAML has typed against the type asked for.

    Args:
        value: The value.
        data_type: bool, int, float, str, or a list of one of these (`List[int]`); None takes any of
            them.

    Returns:
        The value; an int becomes a float where a float is asked for.

    Raises:
        ValueError: The value is not of this type.
    """
    if data_type is None:
        if isinstance(value, SCALARS):
            return value
        if isinstance(value, list) and value and type(value[0]) in SCALARS:
            if all(type(item) is type(value[0]) for item in value):
                return value
            if all(type(item) in (int, float) for item in value):
                return [float(item) for item in value]
        raise ValueError(
            f"{value!r} is neither a bool, int, float or str nor a list of one of these"
        )
    if typing.get_origin(data_type) is list:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{value!r} is not a {type_name(data_type)}")
        return [coerce(item, typing.get_args(data_type)[0]) for item in value]
    if data_type is float and type(value) is int:
        return float(value)
    if type(value) is not data_type:
        raise ValueError(f"{value!r} is not of type {type_name(data_type)}")
    return value


def parse_text(text: str, data_type: Any = None) -> Any:
    """Give text its type by YAML rules and check it.

    Raises:
        ValueError: The text is not of this type.
    """
    if data_type is str:
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if value is None and data_type is None:
        value = text
    return coerce(value, data_type)


def perform_typed_substitution(context: LaunchContext, value: Any, data_type: Any = None) -> Any:
    """What text and substitutions stand for, typed by YAML; other values are only checked."""
    if is_text(value):
        return parse_text(resolve(context, value), data_type)
    if isinstance(value, str):
        return value if data_type in (None, str) else parse_text(value, data_type)
    if isinstance(value, Iterable) and not isinstance(value, (bytes, list)):
        value = list(value)
    if isinstance(value, list):
        item_type = typing.get_args(data_type)[0] if typing.get_origin(data_type) is list else None
        value = [perform_typed_substitution(context, item, item_type) for item in value]
    return coerce(value, data_type)
