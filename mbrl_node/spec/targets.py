"""What a task is to aim at, told on topics while it runs: goals and references."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from mbrl_node.spec.errors import Problem, show
from mbrl_node.spec.parts import FrameName, NonEmptyListOf, Number, range_problem
from mbrl_node.spec.topics import FieldAtPath, TopicOfPaths


class TargetField(FieldAtPath):
    """One number of a target."""

    min: Number = Field(description="the lowest value that is taken")
    max: Number = Field(description="the highest value that is taken")
    initial: Number | None = Field(
        None, description="the value until another comes; null: one within min and max by chance"
    )

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        if self.min >= self.max:
            yield range_problem(self.min, self.max)
        elif self.initial is not None and not self.min <= self.initial <= self.max:
            limits = f"{show(self.min)} and {show(self.max)}"
            yield Problem(
                ("initial",), f"{show(self.initial)} must be between min and max, {limits}"
            )


class TargetTopic(TopicOfPaths):
    """A topic on which targets come; a message with a value out of its range is refused."""

    frame: FrameName | None = Field(
        None, description="the frame_id that its messages must have; null: any"
    )
    fields: NonEmptyListOf[TargetField] = Field(description="the targets it gives")
