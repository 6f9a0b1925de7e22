"""Messages as YAML, and YAML as messages."""

from __future__ import annotations

import array
import sys
from typing import Any

import numpy as np
import yaml
from rosidl_parser.definition import AbstractNestedType, Array, NamespacedType

from .cli import Failure
from .graph import load_type


def to_plain(
    value: Any, *, truncate: int | None = None, no_arr: bool = False, no_str: bool = False
) -> Any:
    """A message, or a part of one, as dictionaries, lists and scalars.

    Args:
        value: The message.
        truncate: Cut arrays and strings after this many elements.
        no_arr: Only describe arrays.
        no_str: Only describe strings.
    """
    options: dict[str, Any] = {"truncate": truncate, "no_arr": no_arr, "no_str": no_str}
    if hasattr(value, "get_fields_and_field_types"):
        result = {}
        for name, type_name in value.get_fields_and_field_types().items():
            field = getattr(value, name)
            if no_arr and _is_array(field):
                result[name] = _describe_array(field, type_name)
            else:
                result[name] = to_plain(field, **options)
        return result
    if isinstance(value, (bytes, bytearray)):
        return to_plain("".join(map(chr, value)), **options)
    if isinstance(value, str):
        if no_str:
            return f"<string length: <{len(value)}>>"
        return value if truncate is None or len(value) <= truncate else value[:truncate] + "..."
    if _is_array(value):
        shown = value if truncate is None else value[:truncate]
        items = [to_plain(item, **options) for item in shown]
        return [*items, "..."] if len(shown) < len(value) else items
    return value.item() if isinstance(value, np.generic) else value


def _is_array(value: Any) -> bool:
    return isinstance(value, (list, tuple, array.array, np.ndarray))


def _describe_array(value: Any, type_name: str) -> str:
    if type_name.startswith("sequence<"):
        return f"<sequence type: {type_name[9:-1]}, length: {len(value)}>"
    return f"<array type: {type_name}>"


def to_yaml(value: Any, *, flow_style: bool = False, **options: Any) -> str:
    """A message, or a part of one, as YAML; the options are those of `to_plain`."""
    return yaml.dump(
        to_plain(value, **options),
        allow_unicode=True,
        width=sys.maxsize,
        default_flow_style=flow_style,
        sort_keys=False,
    )


def to_csv(value: Any, **options: Any) -> str:
    """All values of a message, separated by commas; the options are those of `to_plain`."""

    def flatten(part: Any) -> list[str]:
        if isinstance(part, dict):
            return [text for item in part.values() for text in flatten(item)]
        if isinstance(part, list):
            return [text for item in part for text in flatten(item)]
        return [str(part)]

    return ",".join(flatten(to_plain(value, **options)))


def get_field(message: Any, path: str) -> Any:
    """A part of a message by its dotted path (`pose.position.x`, `data[0]`).

    Raises:
        Failure: There is no such field.
    """
    value = message
    for part in path.replace("[", ".").replace("]", "").split("."):
        try:
            value = value[int(part)] if part.isdigit() else getattr(value, part)
        except (AttributeError, IndexError, TypeError):
            raise Failure(
                f"Invalid field '{path}': '{part}' is no field of {type(value).__name__}"
            ) from None
    return value


def parse_yaml(text: str) -> dict[str, Any]:
    """The dictionary that YAML text says; empty text is an empty dictionary.

    Raises:
        Failure: It is not a dictionary.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Failure(
            f"The passed value is not valid YAML: {' '.join(str(error).split())}"
        ) from None
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise Failure("The passed value needs to be a dictionary in YAML format")
    return values


def fill(message: Any, values: Any, now: Any = None, path: str = "") -> None:
    """Set the fields of a message.

    Args:
        message: The message.
        values: A dictionary of field names.
        now: A `Time` message for stamps that are given as `now` and headers that are given as
            `auto`.
        path: Where the message stands, for errors.

    Raises:
        Failure: There is no such field, or it does not take the value.
    """
    if not isinstance(values, dict):
        raise Failure(
            f"Failed to populate field: '{path or type(message).__name__}' needs a "
            f"dictionary, got {values!r}"
        )
    types = dict(zip(message.get_fields_and_field_types(), message.SLOT_TYPES, strict=True))
    for name, value in values.items():
        where = f"{path}.{name}" if path else str(name)
        if name not in types:
            known = ", ".join(types) or "none"
            raise Failure(f"Failed to populate field: '{where}' is not a field (there: {known})")
        try:
            _set(message, name, types[name], value, now, where)
        except Failure:
            raise
        except (AssertionError, TypeError, ValueError, OverflowError) as error:
            raise Failure(f"Failed to populate field '{where}': {error}") from None


def _set(message: Any, name: str, field_type: Any, value: Any, now: Any, where: str) -> None:
    current = getattr(message, name)
    if isinstance(field_type, NamespacedType):
        type_name = "/".join(field_type.namespaced_name())
        if value == "now" and type_name == "builtin_interfaces/msg/Time" and now is not None:
            setattr(message, name, now)
        elif value == "auto" and type_name == "std_msgs/msg/Header" and now is not None:
            current.stamp = now
        else:
            fill(current, value, now, where)
    elif isinstance(field_type, AbstractNestedType):
        if isinstance(field_type.value_type, NamespacedType):
            element = load_type("/".join(field_type.value_type.namespaced_name()), "msg")
            items = [element() for _ in value]
            for index, (item, item_values) in enumerate(zip(items, value, strict=True)):
                fill(item, item_values, now, f"{where}[{index}]")
            setattr(message, name, items)
        elif isinstance(current, np.ndarray):
            if isinstance(field_type, Array) and len(value) != field_type.size:
                raise ValueError(f"needs {field_type.size} values, got {len(value)}")
            setattr(message, name, np.array(value, dtype=current.dtype))
        elif isinstance(current, array.array):
            setattr(message, name, array.array(current.typecode, value))
        else:
            setattr(message, name, value)
    else:
        setattr(message, name, _scalar(current, value))


def _scalar(current: Any, value: Any) -> Any:
    """A value of the type of the current one; YAML's int will do for a float, a number for text."""
    kind = type(current)
    if kind is bytes:
        return bytes([value]) if isinstance(value, int) else str(value).encode()
    if kind is str and isinstance(value, (bool, int, float)):
        return str(value)
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return float(value)  # YAML 1.1 reads 1e-3 as text
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value
