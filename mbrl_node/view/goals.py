"""The targets of a task as an operator sets them: numbers, or a place in the picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mbrl_node.spec import RobotSpec
from mbrl_node.spec.targets import TargetField


@dataclass(frozen=True)
class Goal:
    """What comes on one topic.

    Attributes:
        index: of the topic among those of the robot's targets.
        first: index of its first number among all targets.
        fields: its numbers.
        columns: the targets that are x, y and z of a place in the frame of the robot's picture.
    """

    index: int
    first: int
    fields: Sequence[TargetField]
    columns: dict[str, int]


def goals_of(spec: RobotSpec) -> Iterator[Goal]:
    """Those of a robot's task, a topic each."""
    first = 0
    for index, topic in enumerate(spec.targets):
        columns = {}
        if spec.display is not None and topic.frame in (None, spec.display.frame):
            for k, field in enumerate(topic.fields, first):
                *_, parent, last = ["", *field.path.split(".")]
                if parent in ("position", "point") and last in ("x", "y", "z"):
                    columns[last] = k
        yield Goal(index, first, topic.fields, columns)
        first += len(topic.fields)
