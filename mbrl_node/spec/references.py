"""Do the names in a robot's file fit together? Answered for any document, also one that is wrong elsewhere.

This works on the parsed YAML, not on the validated models, so that a misspelt name is reported together with all other
mistakes and not only after they are mended. What does not have the expected form is skipped: the models report it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mbrl_node.spec.errors import Location, Problem, did_you_mean, path, show

_Item = tuple[Location, Mapping[str, object]]


def reference_problems(data: object) -> Iterator[Problem]:
    """Names that are given twice, and names of fields that do not exist."""
    topics = list(_items(data, "state"))
    state = [item for at, topic in topics for item in _items(topic, "fields", at)]
    action = list(_items(data, "action", "fields"))
    yield from _taken_twice(topics, ("topic",), "is already read", "put its fields there")
    yield from _taken_twice([*state, *action], ("name",), "is already the name", "names are unique")
    for at, topic in topics:
        same_topic = list(_items(topic, "fields", at))
        yield from _taken_twice(same_topic, ("joint", "value"), "is already read", "read it once")
    yield from _taken_twice(action, ("joint",), "is already driven", "drive it once")

    state_names, action_names = _names(state), _names(action)
    if state_names is None or action_names is None:
        return  # a name itself is wrong: whatever refers to it is not to blame
    for item in _items(data, "reward"):
        yield from _unknown(item, [*state_names, *action_names], "the state or action")
    for item in (*_items(data, "termination"), *_items(data, "goal", "conditions")):
        yield from _unknown(item, state_names, "the state")


def _items(data: object, *keys: str | Location) -> Iterator[_Item]:
    """The mappings in the list under the keys, each with its location; a tuple is the location of `data`."""
    at: Location = ()
    for key in keys:
        if isinstance(key, tuple):
            at = (*key, *at)
            continue
        data = data.get(key) if isinstance(data, Mapping) else None
        at = (*at, key)
    if isinstance(data, list | tuple):
        for index, item in enumerate(data):
            if isinstance(item, Mapping):
                yield (*at, index), item


def _names(fields: list[_Item]) -> list[str] | None:
    names = [field.get("name") for _, field in fields]
    texts = [name for name in names if isinstance(name, str)]
    return texts if texts and len(texts) == len(names) else None


def _taken_twice(
    items: list[_Item], keys: tuple[str, ...], what: str, remedy: str
) -> Iterator[Problem]:
    seen: dict[tuple[object, ...], Location] = {}
    for at, item in items:
        values = tuple(item.get(key) for key in keys)
        if not all(isinstance(value, str) for value in values):
            continue
        if values in seen:
            shown = " ".join(show(value) for value in values)
            where = path(seen[values])
            yield Problem((*at, keys[0]), f"{shown} {what} by {where}; {remedy}")
        else:
            seen[values] = at


def _unknown(item: _Item, known: list[str], where: str) -> Iterator[Problem]:
    at, mapping = item
    name = mapping.get("of")
    if isinstance(name, str) and name not in known:
        hint = did_you_mean(name, known)
        yield Problem(
            (*at, "of"), f"{show(name)} is not a field of {where}{hint} ({', '.join(known)})"
        )
