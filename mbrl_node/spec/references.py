"""Do the names in a robot's file fit together? Answered also for a file that is wrong elsewhere.

This works on the parsed YAML, not on the validated models, so that a misspelt name is reported
together with all other mistakes and not only after they are mended. What does not have the expected
form is skipped here: the models report it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mbrl_node.spec.display import PLACES
from mbrl_node.spec.errors import Location, Problem, did_you_mean, path, show

_Item = tuple[Location, Mapping[str, object]]


def reference_problems(document: object) -> Iterator[Problem]:
    """Names that are given twice, and names of fields that do not exist."""
    topics = _items(document, ("state",))
    fields = [_items(document, (*at, "fields")) for at, _ in topics]
    state = [field for of_topic in fields for field in of_topic]
    action = _items(document, ("action", "fields"))
    yield from _twice(topics, ("topic",), "is already read by {}; put its fields there")
    target_topics = _items(document, ("targets",))
    targets = [f for at, _ in target_topics for f in _items(document, (*at, "fields"))]
    yield from _twice(target_topics, ("topic",), "is already read by {}; put its fields there")
    for at, _ in target_topics:
        yield from _twice(
            _items(document, (*at, "fields")), ("path",), "is already {}; each is read once"
        )
    yield from _twice(
        [*state, *action, *targets], ("name",), "is already the name of {}; names are unique"
    )
    for of_topic in fields:
        for source in (("joint", "value"), ("path",)):
            yield from _twice(of_topic, source, "is already {}; each is read once")
    yield from _twice(action, ("joint",), "is already driven by {}; a joint has one command")
    yield from _twice(action, ("path",), "is already {}; each is written once")

    state_names, action_names, target_names = _names(state), _names(action), _names(targets)
    known = [*state_names, *action_names]
    everything = len(state) + len(action) + len(targets)
    if not (state_names and action_names) or len({*known, *target_names}) < everything:
        return  # a name itself is wrong: whatever refers to it is not to blame
    for item in _items(document, ("reward",)):
        yield from _unknown(item, known, "the state or action")
        yield from _mixed(item, state_names, action_names)
    for at in (("reward",), ("goal", "conditions")):
        for item in _items(document, at):
            yield from _unknown(item, target_names, "the targets", "target")
    recovery = ("episode", "recovery")
    named: tuple[Location, ...] = (("sim", "noise"), (*recovery, "reference"))
    for at in named:
        for name in _mapping(document, at):
            yield from _unknown((at, {str(name): name}), state_names, "the state", name)
    of_state = (("envelope",), ("termination",), ("constraints",), ("goal", "conditions"))
    for at in (*of_state, (*recovery, "until")):
        for item in _items(document, at):
            yield from _unknown(item, state_names, "the state")
    display = document.get("display") if isinstance(document, Mapping) else None
    if isinstance(display, Mapping):
        for place in PLACES:
            yield from _unknown((("display",), display), state_names, "the state", place)


def _items(document: object, at: Location) -> list[_Item]:
    """The items of the list at a location, each with its own; what is no mapping counts as {}."""
    found = document
    for part in at:
        if isinstance(part, str):
            found = found.get(part) if isinstance(found, Mapping) else None
        else:
            found = found[part] if isinstance(found, list | tuple) else None
    items = found if isinstance(found, list | tuple) else []
    return [
        ((*at, index), item if isinstance(item, Mapping) else {})
        for index, item in enumerate(items)
    ]


def _names(fields: list[_Item]) -> list[str]:
    return [name for _, field in fields if isinstance(name := field.get("name"), str)]


def _twice(items: list[_Item], keys: tuple[str, ...], complaint: str) -> Iterator[Problem]:
    """Items that agree in all the keys with one before them."""
    seen: dict[tuple[object, ...], Location] = {}
    for at, item in items:
        values = tuple(item.get(key) for key in keys)
        if not all(isinstance(value, str) for value in values):
            continue
        if values in seen:
            shown = " ".join(show(value) for value in values)
            yield Problem((*at, keys[0]), f"{shown} {complaint.format(path(seen[values]))}")
        else:
            seen[values] = at


def _mapping(document: object, at: Location) -> Mapping[str, object]:
    found = document
    for part in at:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _mixed(item: _Item, state: list[str], action: list[str]) -> Iterator[Problem]:
    """Fields of the state and of the action in one term."""
    at, mapping = item
    fields = mapping.get("of")
    names = {n for n in fields if isinstance(n, str)} if isinstance(fields, list | tuple) else set()
    if names & {*state} and names & {*action}:
        yield Problem((*at, "of"), "fields of the state and of the action cannot be in one term")


def _unknown(item: _Item, known: list[str], where: str, key: str = "of") -> Iterator[Problem]:
    at, mapping = item
    value = mapping.get(key)
    for name in value if isinstance(value, list | tuple) else (value,):
        if isinstance(name, str) and name not in known:
            hint = did_you_mean(name, known)
            listed = f" ({', '.join(known)})" if known else ""
            yield Problem((*at, key), f"{show(name)} is not a field of {where}{hint}{listed}")
