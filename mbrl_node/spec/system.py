"""What the numbers of a state and an action are: all that a model or a planner needs to know of a
robot.

A `RobotSpec` is a `System`; so is a `BoxSystem`, for what has no file, such as a Gymnasium
environment.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Quaternion = tuple[int, int, int, int]  # state columns of x, y, z, w


class System(Protocol):
    """Names, ranges and kinds of n state and m action fields, and the control period."""

    @property
    def name(self) -> str: ...
    @property
    def hash(self) -> int:
        """Transitions and models can be shared where it is the same; 1 to 2^63 - 1."""

    @property
    def dt(self) -> float:
        """The control period in s."""

    @property
    def state_names(self) -> tuple[str, ...]: ...
    @property
    def action_names(self) -> tuple[str, ...]: ...
    @property
    def state_dim(self) -> int: ...
    @property
    def action_dim(self) -> int: ...
    @property
    def angle_mask(self) -> npt.NDArray[np.bool_]:
        """Which state fields are angles, [n]."""

    @property
    def quaternions(self) -> tuple[Quaternion, ...]:
        """Columns of state fields that together are an orientation."""

    @property
    def model_inputs(self) -> tuple[str, ...]:
        """The state fields that a dynamics model looks at."""

    @property
    def action_min(self) -> FloatArray: ...
    @property
    def action_max(self) -> FloatArray: ...
    @property
    def action_safe(self) -> FloatArray: ...
    @property
    def action_max_rate(self) -> FloatArray:
        """The fastest change of the action per s, inf where it has no limit, [m]."""


@dataclass(frozen=True)
class BoxSystem:
    """A `System` from plain numbers.

    Args:
        angles: names of the state fields that are angles, in rad.

    Raises:
        ValueError: names, limits or columns do not fit together.
    """

    name: str
    dt: float
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    action_min: FloatArray
    action_max: FloatArray
    angles: tuple[str, ...] = ()
    quaternions: tuple[Quaternion, ...] = ()
    action_max_rate: FloatArray = field(default_factory=lambda: np.array(math.inf))

    def __post_init__(self) -> None:
        for key in ("action_min", "action_max", "action_max_rate"):
            value = np.asarray(getattr(self, key), np.float64)
            if value.shape not in ((), (1,), (self.action_dim,)):
                raise ValueError(
                    f"{self.name}: {key} has the shape {value.shape}, not ({self.action_dim},)"
                )
            object.__setattr__(self, key, np.broadcast_to(value, self.action_dim).copy())
        if not 0 < self.dt < math.inf:
            raise ValueError(f"{self.name}: dt: {self.dt} is not a time above 0")
        if not (self.action_max_rate > 0).all():
            raise ValueError(f"{self.name}: action_max_rate must be above 0")
        for key in ("state_names", "action_names"):
            names = getattr(self, key)
            if not names or len(set(names)) < len(names):
                raise ValueError(f"{self.name}: {key}: {names} must be one or more distinct names")
        if not (self.action_min < self.action_max).all():
            raise ValueError(f"{self.name}: action_min must be below action_max")
        if not (np.isfinite(self.action_min) & np.isfinite(self.action_max)).all():
            raise ValueError(f"{self.name}: the action has a limit that is not finite")
        if unknown := set(self.angles) - set(self.state_names):
            known = ", ".join(self.state_names)
            raise ValueError(
                f"{self.name}: angles: {sorted(unknown)} are not of the state ({known})"
            )
        columns = [c for q in self.quaternions for c in q]
        fit = set(columns) <= set(range(self.state_dim)) and len(set(columns)) == len(columns)
        if not fit or any(len(q) != 4 for q in self.quaternions):
            raise ValueError(
                f"{self.name}: quaternions: {self.quaternions} must be four distinct columns each, "
                f"from 0 to {self.state_dim - 1}"
            )
        if turned := {self.state_names[c] for c in columns} & set(self.angles):
            raise ValueError(f"{self.name}: angles: {sorted(turned)} are of a quaternion")

    @property
    def state_dim(self) -> int:
        return len(self.state_names)

    @property
    def action_dim(self) -> int:
        return len(self.action_names)

    @property
    def angle_mask(self) -> npt.NDArray[np.bool_]:
        return np.array([name in self.angles for name in self.state_names])

    @property
    def model_inputs(self) -> tuple[str, ...]:
        return self.state_names

    @property
    def action_safe(self) -> FloatArray:
        """Zero, or the limit nearest to it."""
        return np.clip(np.zeros(self.action_dim), self.action_min, self.action_max)

    @property
    def hash(self) -> int:
        facts = [self.name, self.dt, self.state_names, self.action_names, self.angles]
        return hash_of([*facts, self.quaternions])


def hash_of(facts: list[object]) -> int:
    """A number from 1 to 2^63 - 1 that is the same for the same facts, on any machine."""
    canonical = json.dumps(facts, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1 or 1
