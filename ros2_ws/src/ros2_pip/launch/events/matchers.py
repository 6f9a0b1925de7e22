"""Matchers for events that are meant for one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def matches_action(target_action: Any) -> Callable[[Any], bool]:
    """A matcher for exactly this action."""
    return lambda action: action is target_action


def matches_pid(pid: int) -> Callable[[Any], bool]:
    """A matcher for the process with this pid."""
    return lambda action: (action.process_details or {}).get("pid") == pid


def matches_name(name: str) -> Callable[[Any], bool]:
    """A matcher for the process of this name (`talker-1`)."""
    return lambda action: (action.process_details or {}).get("name") == name


def matches_executable(name: str) -> Callable[[Any], bool]:
    """A matcher for processes of this executable (`talker`)."""

    def matches(action: Any) -> bool:
        command = (action.process_details or {}).get("cmd") or [""]
        return str(command[0]).rsplit("/", 1)[-1] == name

    return matches
