"""What other distributions add, found by its entry point's name; docs/extend.md shows how.

Groups: `mbrl.reward_terms`, `mbrl.models`, `mbrl.planners` and `mbrl.controllers`.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import TypeVar

from mbrl_node.spec.errors import did_you_mean, show

T = TypeVar("T")


class PluginError(ValueError):
    """A name stands for nothing, or for what cannot be used; one line says which and why."""


def plugins(group: str, built_in: Collection[str] = ()) -> Mapping[str, EntryPoint]:
    """What is registered in a group, by name; nothing of it is imported.

    Args:
        built_in: names that are taken.

    Raises:
        PluginError: a name is built in, or registered by two distributions.
    """
    found: dict[str, EntryPoint] = {}
    for entry in _registered(group, tuple(sys.path)):
        if entry.name in built_in:
            raise PluginError(f"{_shown(entry)}: the name is built in; choose another")
        if entry.name in found:
            raise PluginError(f"{_shown(entry)}: {_shown(found[entry.name])} has the same name")
        found[entry.name] = entry
    return found


def find(group: str, name: str, built_in: Mapping[str, T], base: type | None = None) -> T:
    """What a name stands for: one of the built-in things, or a plugin, which is imported now.

    Args:
        base: what a plugin must be a subclass of; None: it need only be callable.

    Raises:
        PluginError: there is no such name, its import fails, or it is something else.
    """
    registered = plugins(group, built_in)
    if name in built_in:
        return built_in[name]
    if name not in registered:
        known = [*built_in, *registered]
        listed = f"one of {', '.join(known)}{did_you_mean(name, known)}"
        raise PluginError(f"{_noun(group)} {show(name)} is not {listed}")
    entry = registered[name]
    try:
        loaded: T = entry.load()
    except Exception as error:
        raise PluginError(
            f"{_shown(entry)}: cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if base is not None and not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise PluginError(f"{_shown(entry)}: is not a subclass of {base.__name__}")
    if not callable(loaded):
        raise PluginError(f"{_shown(entry)}: is not callable")
    return loaded


@lru_cache(maxsize=8)
def _registered(group: str, path: tuple[str, ...]) -> EntryPoints:
    """The entry points on a search path; looking for them takes about 20 ms."""
    return entry_points(group=group)


def _noun(group: str) -> str:
    return group.removeprefix("mbrl.").removesuffix("s").replace("_", " ")


def _shown(entry: EntryPoint) -> str:
    origin = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
    return f"{_noun(entry.group)} '{entry.name}' ({entry.value}){origin}"
