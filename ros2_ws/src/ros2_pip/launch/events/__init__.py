"""Events that are not about one process."""

from __future__ import annotations

from ..event import Event
from . import process
from .matchers import matches_action

__all__ = ["IncludeLaunchDescription", "Shutdown", "TimerEvent", "matches_action", "process"]


class Shutdown(Event):
    """The launch is to end.

    Args:
        reason: Why, in words.
        due_to_sigint: The user pressed Ctrl-C.
    """

    name = "launch.events.Shutdown"

    def __init__(self, *, reason: str = "reason not given", due_to_sigint: bool = False) -> None:
        self.reason = reason
        self.due_to_sigint = due_to_sigint


class IncludeLaunchDescription(Event):
    """A launch description is to be visited."""

    name = "launch.events.IncludeLaunchDescription"

    def __init__(self, launch_description: object) -> None:
        self.launch_description = launch_description


class TimerEvent(Event):
    """The period of a `TimerAction` is over."""

    name = "launch.events.TimerEvent"

    def __init__(self, *, timer_action: object) -> None:
        self.timer_action = timer_action
