"""What `mbrl --help` prints: every command in one line, by what it is for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

GROUPS: dict[str, tuple[str, ...]] = {
    "Learn without ROS": ("train", "eval", "play"),
    "Look at a run": ("runs", "models", "diagnose", "report"),
    "Change a run": ("promote", "rollback", "import", "export"),
    "A robot": ("init-robot", "check", "switch"),
    "This machine": ("doctor", "bench", "completion"),
}


def overview(commands: Mapping[str, Callable[..., None]]) -> str:
    """The text, for commands by name."""
    width = max(map(len, commands))
    lines = ["usage: mbrl COMMAND [OPTIONS]     mbrl COMMAND --help tells its options"]
    for title, names in GROUPS.items():
        lines += ["", title]
        lines += [f"  {name.ljust(width)}  {summary(commands[name])}" for name in names]
    learn = "ros2 launch mbrl bringup.launch.py"
    return "\n".join([*lines, "", f"The nodes are started with ROS's own tool:  {learn}"])


def summary(command: Callable[..., None]) -> str:
    """What a command does, in a line."""
    return inspect.cleandoc(command.__doc__ or "").partition("\n")[0].rstrip(".")
