"""Message types: as bags define them, and those of ROS 2 itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.serde import SerdeError
from rosbags.typesys import (
    Stores,
    TypesysError,
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
)
from rosbags.typesys.store import Typestore

from mbrl_node.data.bags.storage import Topic
from mbrl_node.spec.errors import one_line, show
from mbrl_node.spec.extract import TopicError

TRANSITION = "mbrl_msgs/msg/Transition"
# As in ros2_ws/src/mbrl_msgs/msg, which a bag is to be readable without.
_TRANSITION_DEFINITION = """\
uint64 session
uint64 sequence
uint32 episode
uint32 step
builtin_interfaces/Time stamp
builtin_interfaces/Time next_stamp
float64[] state
float64[] action
float64[] action_requested
float64[] next_state
float64 reward
bool terminated
bool truncated
string controller
uint32 model_version
float64[] targets
uint64 spec_hash
uint64 oldest
"""
_RULE = "=" * 80 + "\n"  # between definitions of a bag
_ROSIDL = {"float64": "double", "float32": "float", "bool": "boolean", "byte": "octet"}
_ROSIDL |= {"char": "uint8"}


def own_types() -> Typestore:
    """The types of ROS 2 Jazzy, and `TRANSITION`."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(_TRANSITION_DEFINITION, TRANSITION))
    return store


class Reader:
    """Reads the messages of one topic of a bag.

    Raises:
        TopicError: they cannot be read: the type is not defined, or they are no CDR.
    """

    def __init__(self, topic: Topic) -> None:
        if topic.encoding != "cdr":
            raise TopicError((), f"its messages are written as {show(topic.encoding)}, not as CDR")
        self._type = topic.type
        try:
            self._store = _defined(topic) if topic.definition else own_types()
            self._store.get_msgdef(topic.type)
        except LookupError as error:
            text = f"the bag has no definition of {error.args[0]}; bags in MCAP have them"
            raise TopicError(("type",), text) from None
        except (TypesysError, ValueError) as error:
            text = f"the bag's definition of {topic.type} cannot be read: {one_line(error)}"
            raise TopicError(("type",), text) from error
        self.has_header = self.fields(topic.type).get("header") == "std_msgs/Header"

    def fields(self, kind: str) -> Mapping[str, str]:
        """See `mbrl_node.spec.extract.FieldTypes`."""
        return field_types(self._store, kind)

    def __call__(self, data: bytes) -> Any:
        """The message.

        Raises:
            ValueError: it is none.
        """
        try:
            return self._store.deserialize_cdr(data, self._type)
        except (SerdeError, LookupError) as error:
            raise ValueError(f"it is damaged: {one_line(error)}") from error


def field_types(store: Typestore, kind: str) -> Mapping[str, str]:
    """The fields of a type that is in the store, see `mbrl_node.spec.extract.FieldTypes`."""
    return {name: _rosidl(of) for name, of in store.fielddefs[kind][1]}


def _defined(topic: Topic) -> Typestore:
    """What a bag defines for a topic."""
    store = get_typestore(Stores.EMPTY)
    if topic.language == "ros2msg":
        store.register(get_types_from_msg(topic.definition, topic.type))
        return store
    # Each part begins with a line that names it, but where there is only one.
    parts = (
        topic.definition.split(_RULE) if _RULE in topic.definition else ["\n" + topic.definition]
    )
    for part in filter(None, parts):
        store.register(get_types_from_idl(part.partition("\n")[2]))
    return store


def _rosidl(of: Any) -> str:
    """A field's type as `get_fields_and_field_types` of rosidl writes it."""
    kind, what = of
    if kind == Nodetype.BASE:
        return str(_ROSIDL.get(what[0], what[0]))
    if kind == Nodetype.NAME:
        return str(what).replace("/msg/", "/")
    item, size = what
    if kind == Nodetype.ARRAY:
        return f"{_rosidl(item)}[{size}]"
    return f"sequence<{_rosidl(item)}, {size}>" if size else f"sequence<{_rosidl(item)}>"
