"""The state fields of messages that ROS has the types of."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from mbrl_node.spec import extract
from mbrl_node.spec.errors import did_you_mean, show
from mbrl_node.spec.extract import Extract, TopicError
from mbrl_node.spec.topics import JointStateTopic, TopicOfPaths


def message_class(kind: str) -> Any:
    """The class of a message type, `package/msg/Name`.

    Raises:
        TopicError: there is no such type in this environment.
    """
    package, _, name = kind.split("/")
    try:
        module = importlib.import_module(f"{package}.msg")
    except Exception as error:  # whatever a package raises that is half built
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise TopicError(
                ("type",), f"{show(kind)}: no package '{package}' is here; is it sourced?"
            ) from None
        raise TopicError(("type",), f"{show(kind)} cannot be imported: {error}") from None
    found = getattr(module, name, None)
    if not hasattr(found, "get_fields_and_field_types"):
        known = [n for n in vars(module) if hasattr(getattr(module, n), "SLOT_TYPES")]
        hint = did_you_mean(name, known)
        raise TopicError(("type",), f"{show(kind)} is not a message of {package}{hint}")
    return found


def compile_fields(topic: JointStateTopic | TopicOfPaths) -> Extract:
    """A function from a message of the topic to its fields, see `mbrl_node.spec.extract`.

    Raises:
        TopicError: the message type is not known or has no number at a field's path.
    """
    return extract.compile_fields(topic, field_types)


def field_types(kind: str) -> Mapping[str, str]:
    """The fields of a message type and their types; see `mbrl_node.spec.extract`."""
    found: Mapping[str, str] = message_class(kind).get_fields_and_field_types()
    return found
