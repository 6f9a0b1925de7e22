"""What is allowed in a robot's file and yet mostly a mistake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mbrl_node.spec.errors import Location, path, show
from mbrl_node.spec.robot import RobotSpec
from mbrl_node.spec.topics import JointStateField, PathField

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """On one thing: how it is, where in the robot's file it stands, and what to change there."""

    level: Level
    at: str
    text: str
    change: str = ""


def finding(level: Level, at: Location, text: str, change: str = "") -> Finding:
    """A finding on what stands at a location of the file."""
    return Finding(level, path(at), text, change)


def warning(at: Location, text: str, change: str = "") -> Finding:
    """Something that is mostly a mistake."""
    return finding("warning", at, text, change)


def advice(spec: RobotSpec) -> Iterator[Finding]:
    """What to think about before it runs."""
    yield from _on_bounds(spec)
    yield from _on_times(spec)
    for i, field in enumerate(spec.action.fields):
        if field.safe != 0:
            unit = field.unit
            yield warning(
                ("action", "fields", i, "safe"),
                f"a stop commands {show(field.safe)} {unit}, not 0, and so does the start: is that "
                "safe wherever the robot is?",
            )
    named = {name for term in spec.reward_terms for name in term.targets}
    for i, topic in enumerate(spec.targets):
        for k, target in enumerate(topic.fields):
            if target.name not in named:
                yield warning(
                    ("targets", i, "fields", k),
                    f"no term of the reward names {target.name}: it changes nothing",
                )


def _on_bounds(spec: RobotSpec) -> Iterator[Finding]:
    if not spec.envelope:
        yield warning(
            ("envelope",),
            "is missing: wherever the robot goes, it is stopped by an operator only",
            "give each position, and each speed, the range that it must not leave",
        )
    if spec.trust is None:
        yield warning(
            ("trust",),
            "is missing: the first commands, which are random, use all of min to max",
            "trust: {initial: 0.2}, for the first runs on a real robot",
        )
    bounded = {
        *(limits.of for limits in spec.envelope),
        *(limits.of for limits in spec.termination),
        *(limits.of for limits in spec.constraints),
        *(name for term in spec.reward_terms for name in term.of),
    }
    for i, topic in enumerate(spec.state):
        for k, field in enumerate(topic.fields):
            if _is_place(field) and field.name not in bounded:
                yield warning(
                    ("state", i, "fields", k),
                    f"nothing keeps {field.name} where it should be: no term of the reward, "
                    "envelope, constraint or termination is of it",
                )


def _is_place(field: object) -> bool:
    """Whether it can drift away."""
    if isinstance(field, JointStateField):
        return field.value == "position" and not field.angle
    return isinstance(field, PathField) and field.unit == "m"


def _on_times(spec: RobotSpec) -> Iterator[Finding]:
    state_rate = spec.sim.state_rate if spec.sim else spec.rate
    if spec.sim is not None and state_rate < 2 * spec.rate:
        yield warning(
            ("sim", "state_rate"),
            f"{show(state_rate)} is less than twice the control rate: states are old when used",
        )
    for i, topic in enumerate(spec.state):
        if topic.timeout * state_rate < 2:
            yield warning(
                ("state", i, "timeout"),
                f"{show(topic.timeout)} s is shorter than 2 periods of the state, "
                f"{show(round(2 / state_rate, 4))} s: one message that is late stops the robot",
            )
