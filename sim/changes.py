"""Changes of a simulated robot while it runs: which there are, and how they are planned in a line.

Nothing here needs PyBullet, so the launch file can read such a line, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

EVERYTHING = ("", "all")  # names that mean all of a robot's
EXAMPLE = "30 mass pole 3, 60 gain all 0.5"

# Of what there is to change, in words, which values it may have.
_ALLOWED = {
    "mass": "above 0",
    "payload": "at least 0",
    "gain": "finite",
    "delay": "at least 0",
}


@dataclass(frozen=True)
class PlannedChange:
    """One that comes by itself; `what`, `of` and `value` as `BulletRobot.change` has them."""

    time: float  # simulated, s
    what: str
    of: str
    value: float


def check_value(what: str, value: float) -> None:
    """Raises ValueError: there is no such thing to change, or it cannot have this value."""
    if what not in _ALLOWED:
        raise ValueError(f"'{what}' is none of {', '.join(_ALLOWED)}")
    allowed = _ALLOWED[what]
    wrong = {"above 0": value <= 0, "at least 0": value < 0}.get(allowed, False)
    if wrong or not math.isfinite(value):
        raise ValueError(f"{what}: {value:g} must be {allowed}")


def parse_changes(text: str) -> list[PlannedChange]:
    """What a line of `TIME WHAT OF VALUE`, separated by commas, plans, in the order of time.

    Raises:
        ValueError: it is no such line.
    """
    changes = [_parse(part) for part in text.split(",")] if text.strip() else []
    return sorted(changes, key=lambda change: change.time)


def _parse(part: str) -> PlannedChange:
    words = part.split()
    if len(words) != 4:
        raise ValueError(f"'{part.strip()}' is not TIME WHAT OF VALUE, such as {EXAMPLE}")
    time, what, of, value = words
    try:
        change = PlannedChange(float(time), what, of, float(value))
    except ValueError:
        raise ValueError(
            f"'{part.strip()}': TIME and VALUE are numbers, such as in {EXAMPLE}"
        ) from None
    if not 0 <= change.time < math.inf:
        raise ValueError(f"'{part.strip()}': a time of {time} s must be finite and at least 0")
    try:
        check_value(what, change.value)
    except ValueError as error:
        raise ValueError(f"'{part.strip()}': {error}") from None
    return change
