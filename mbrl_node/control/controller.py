"""What a controller is, and the two that need no model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mbrl_node.data.transition import no_targets
from mbrl_node.spec.system import System

Array = NDArray[np.float64]


def no_limits() -> Array:
    """Commands may be any within the limits of the robot."""
    return np.zeros((2, 0))


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of the robot at a tick."""

    time: int  # robot time of the tick, ns
    stamp: int  # robot time of the measurement, ns
    state: Array  # [n]
    in_flight: tuple[Array, ...] = ()  # commands sent whose effect the state does not show yet,
    # oldest first, [m] each: the first is in effect now
    targets: Array = field(default_factory=no_targets)  # what the task aims at, [t]
    limits: Array = field(default_factory=no_limits)  # the lowest and the highest command that are
    # sent now, [2, m], where these are not the robot's own; else [2, 0]

    def in_effect(self, action: Array) -> Array:
        """The command that is in effect at the measurement when `action` is sent, [m]."""
        return self.in_flight[0] if self.in_flight else action


class ControllerConfig(BaseModel):
    """What can be set of a controller: nothing, but in subclasses."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Controller(ABC):
    """Asks for one action a tick. Only the control thread calls it, and never waits long for it."""

    Config: ClassVar[type[BaseModel]] = ControllerConfig  # a node declares its fields as parameters
    kind = ""  # what it is called in parameters and lists; empty: by its class
    learned = False  # acts by a model, and until there is one another may explore
    model_version = 0  # of the model behind the last action; 0: none

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def not_ready(self) -> str:
        """Why it could not act now; empty when it could."""
        return ""

    def activate(self) -> None:
        """Called before the first update, and after a break such as a reset: nothing old may
        remain."""

    def deactivate(self) -> None:
        """Called when another takes over, and when the node is deactivated."""

    def close(self) -> None:
        """Called once, at the end."""

    @abstractmethod
    def update(self, observation: Observation, last_action: Array) -> Array:
        """The action asked for, [m].

        Args:
            last_action: what the robot was sent at the tick before, [m].
        """

    def commanded(self, observation: Observation, action: Array) -> None:
        """Tells what was really sent after `update`, [m]."""


class Hold(Controller):
    """Always the robot's safe command."""

    def __init__(self, name: str, spec: System) -> None:
        super().__init__(name)
        self._safe = spec.action_safe

    def update(self, observation: Observation, last_action: Array) -> Array:
        return self._safe


class RandomConfig(ControllerConfig):
    """How an exploring robot is moved."""

    hold: float = Field(
        0.24, ge=0, allow_inf_nan=False, description="for how long each action is held, s"
    )


class RandomActions(Controller):
    """Explores: actions from U(a), each held for a while so that the robot moves."""

    Config = RandomConfig

    def __init__(
        self, name: str, spec: System, config: RandomConfig | None = None, seed: int = 0
    ) -> None:
        super().__init__(name)
        self._low, self._high = spec.action_min, spec.action_max
        self._dt, self._rng = spec.dt, np.random.default_rng(seed)
        self._left, self._action = 0, spec.action_safe
        self.set_config(config or RandomConfig())

    def set_config(self, config: RandomConfig) -> None:
        """The next action that is drawn is held so. May be called from any thread."""
        self._hold = max(1, round(config.hold / self._dt))

    def activate(self) -> None:
        self._left = 0

    def update(self, observation: Observation, last_action: Array) -> Array:
        if self._left == 0:
            low, high = observation.limits if observation.limits.size else (self._low, self._high)
            self._left, self._action = self._hold, self._rng.uniform(low, high)
        self._left -= 1
        return self._action
