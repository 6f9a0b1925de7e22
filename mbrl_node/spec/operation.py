"""How a robot is operated: its episodes, who resets it, how it recovers, how far it is trusted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from mbrl_node.spec.errors import Problem
from mbrl_node.spec.parts import (
    Name,
    NonEmptyListOf,
    NotNegative,
    Number,
    Positive,
    RosName,
    SpecModel,
    StateRange,
)

Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class Recovery(SpecModel):
    """What brings the robot back to where an episode can begin, after a hard limit of the envelope
    was passed and after each episode. What resets the robot comes after it."""

    controller: Name = Field(description="who acts: a controller by its name, such as pd or hold")
    reference: dict[str, Number] = Field(
        {}, description="the state that it is to hold, where it follows one; other fields 0"
    )
    until: NonEmptyListOf[StateRange] = Field(description="the ranges that it has to come into")
    hold_time: NotNegative = Field(0.5, description="s for which all of them must hold")
    timeout: Positive = Field(10.0, description="s, then the robot is stopped for an operator")
    share: Share = Field(0.5, description="of the action's range around safe, that it may use")


class Episode(SpecModel):
    """How an attempt ends and the next one starts."""

    length: Positive = Field(description="seconds until the episode is cut off")
    reset_service: RosName | None = Field(None, description="a std_srvs/srv/Trigger, or null")
    reset_by_hand: bool = Field(
        False, description="true: the robot is held safe until an operator calls ~/go"
    )
    recovery: Recovery | None = Field(None, description="how the robot comes back by itself")

    def check(self) -> Iterator[Problem]:
        if self.reset_by_hand and self.reset_service is not None:
            text = "must be false where there is a reset_service: one of the two resets the robot"
            yield Problem(("reset_by_hand",), text)

    @property
    def resets(self) -> bool:
        """Whether an episode begins anew, or the robot goes on where it is."""
        return self.reset_by_hand or self.reset_service is not None or self.recovery is not None


class Trust(SpecModel):
    """How far commands may go at first, and when they may go farther."""

    initial: Share = Field(
        description="the share of the action's range around safe that is allowed at first"
    )
    error: Positive = Field(0.3, description="held-out error of a model that is trusted more")
    widen_time: Positive = Field(
        10.0, description="s of acting with such models until the whole range is allowed"
    )
