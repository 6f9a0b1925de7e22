"""What the learner is told and what it tells: its configuration, new versions, its progress."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class LearnerConfig(BaseModel):
    """When the model is retrained, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_transitions: int = Field(20, ge=1, description="transitions before the first update")
    gradient_steps: int = Field(80, ge=1, description="gradient steps an update")
    period: float = Field(
        0.2, ge=0, description="least time from one update's start to the next, s"
    )
    budget: float = Field(
        1.0, gt=0, le=1, description="largest part of the time that is spent on training"
    )
    refit: float = Field(
        2.0,
        ge=0,
        description="a new model is fitted from scratch, a slice at each update, whenever there "
        "is so many times the data of the last time; 0: never",
    )
    change: float = Field(
        2.0,
        ge=0,
        description="so many times the usual error on new data, while learning from it makes the "
        "error on older data rise, means that the robot has changed: what it did before counts "
        "little from then on; 0: it never does",
    )


@dataclass(frozen=True)
class Update:
    """A new version of the model, on disk. The fields are those of mbrl_msgs/ModelUpdate."""

    version: int
    path: Path
    transitions: int
    gradient_steps: int
    train_time: float
    held_out_error: float
    held_out_loss: float
    horizon_error: float = math.nan

    @classmethod
    def of(cls, path: Path, info: dict[str, Any]) -> Update:
        """From what a checkpoint says of itself."""
        names = {f.name for f in fields(cls)} - {"path"}
        nothing = {"transitions": 0, "gradient_steps": 0}
        known = {name: info.get(name, nothing.get(name, math.nan)) for name in names}
        return cls(path=path, **known)


@dataclass
class LearnerProgress:
    """What has come of learning since the start; see mbrl_msgs/LearnerStatus."""

    accepted: int = 0
    refused: int = 0
    rolled_back: int = 0
    reason: str = ""  # of the newest refusal
    old_error: float = math.nan
    surprise: float = math.nan
    gradient_steps_per_s: float = math.nan
    refitting: bool = False
    training_time: float = 0.0  # s in all
