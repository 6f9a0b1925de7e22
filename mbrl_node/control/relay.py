"""Commands that somebody else decides on: a person with a stick, or any node."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from mbrl_node.control.controller import Array, Controller, ControllerConfig, Observation
from mbrl_node.spec.system import System


class RelayConfig(ControllerConfig):
    """How long a command counts."""

    timeout: float = Field(
        0.5,
        gt=0,
        allow_inf_nan=False,
        description="time since its receipt after which a command no longer counts, s",
    )


class Relay(Controller):
    """Passes on the newest command that was received, as long as it is young enough.

    Args:
        required: an absent command is a failure, so that another controller takes over (any node's
            commands). False: it is the safe command (the stick was let go).
        clock: the time now in s, on the clock of `receive`.
    """

    Config = RelayConfig

    def __init__(
        self,
        name: str,
        spec: System,
        config: RelayConfig | None = None,
        required: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name)
        self._safe, self._required, self._clock = spec.action_safe, required, clock
        self.set_config(config or RelayConfig())
        self._newest: tuple[Array, float] | None = None
        self._done_with: tuple[Array, float] | None = None

    def set_config(self, config: RelayConfig) -> None:
        """Commands count for so long from now on. May be called from any thread."""
        self._timeout = config.timeout

    def receive(self, values: ArrayLike, now: float) -> None:
        """Takes a command in. May be called from any thread.

        Args:
            values: [m].
            now: when it was received, s.

        Raises:
            ValueError: it has another size or is not finite; the one before stays.
        """
        command = np.array(values, dtype=np.float64)
        if command.shape != self._safe.shape:
            raise ValueError(
                f"a command of {len(self._safe)} values was expected, got {command.size}"
            )
        if not np.isfinite(command).all():
            raise ValueError(f"the command {command} is not finite")
        self._newest = command, now

    @property
    def not_ready(self) -> str:
        return "waits for a command" if self._required and self._newest is None else ""

    def deactivate(self) -> None:
        self._done_with = self._newest  # must not move the robot when this acts again

    def update(self, observation: Observation, last_action: Array) -> Array:
        """The newest command, [m].

        Raises:
            RuntimeError: it is required, and there is none that is young enough.
        """
        newest = self._newest  # once: it may be another one any time
        age = math.inf if newest is None else self._clock() - newest[1]
        if newest is not None and newest is not self._done_with and age < self._timeout:
            return newest[0]
        if self._required:
            raise RuntimeError(f"no command for {age:.2f} s" if newest else "no command came yet")
        return self._safe
