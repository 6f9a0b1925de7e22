"""How a robot comes back by itself to where an episode can begin."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from mbrl_node.control.controller import Array, Controller, Observation
from mbrl_node.control.trust import around_safe
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.errors import show
from mbrl_node.spec.operation import Recovery
from mbrl_node.spec.parts import StateRange

log = logging.getLogger(__name__)


class RecoveryError(Exception):
    """The robot has not come back, and does not by itself; the message says why."""


@dataclass(frozen=True)
class _Range:
    """Where a field of the state has to be; an angle is wrapped."""

    name: str
    unit: str
    column: int
    angle: bool
    low: float
    high: float

    @classmethod
    def of(cls, spec: RobotSpec, allowed: StateRange) -> _Range:
        column = spec.state_names.index(allowed.of)
        low = -math.inf if allowed.min is None else allowed.min
        high = math.inf if allowed.max is None else allowed.max
        field = spec.state_fields[column]
        return cls(field.name, field.unit, column, field.angle, low, high)

    def missing(self, state: Array) -> str:
        """How a state [n] is outside; empty: it is inside."""
        value = float(state[self.column])
        if self.angle and math.isfinite(value):
            value = math.pi - (math.pi - value) % (2.0 * math.pi)
        if self.low <= value <= self.high:
            return ""
        low, high = show(self.low), show(self.high)
        side = f"below {low}" if value < self.low else f"above {high}"
        return f"{self.name} = {value:.3g} {self.unit} is {side}"


class RecoveryRoutine:
    """Lets one controller act, within a share of the action's range, until the state has been for
    long enough where an episode can begin. For the control thread alone.

    A controller that follows a reference (one that has a method `following`) acts as another one of
    the same settings with the reference of the recovery, so that what an operator told it stays.

    Args:
        controllers: those there are now, by name.

    Attributes:
        controller: who acts for it now; None: nobody does.
    """

    def __init__(
        self,
        spec: RobotSpec,
        recovery: Recovery,
        controllers: Callable[[], Mapping[str, Controller]],
    ) -> None:
        self._recovery, self._controllers = recovery, controllers
        self._until = [_Range.of(spec, allowed) for allowed in recovery.until]
        self._low, self._high = around_safe(spec, recovery.share)
        self._reference = np.array([recovery.reference.get(name, 0.0) for name in spec.state_names])
        self.controller: Controller | None = None
        self._began = 0  # robot time of this attempt's first tick, ns
        self._since: int | None = None  # all ranges hold, ns
        self._failure = ""  # after the last action

    def restart(self) -> None:
        """Whoever acts does so no longer; the next `update` begins another attempt."""
        controller, self.controller, self._failure = self.controller, None, ""
        if controller is None:
            return
        try:
            controller.deactivate()
        except Exception as error:  # it is out of command already
            log.warning("%s as it was deactivated", self._failed(error))

    def update(
        self, observation: Observation, last_action: Array, outside: str = ""
    ) -> Array | None:
        """The action asked for at this tick, finite and within the share, [m]; None: the robot is
        back.

        Args:
            last_action: what the robot was sent at the tick before, [m].
            outside: how the state is beyond a hard limit, so that the robot is not back yet.

        Raises:
            RecoveryError: it takes too long, or the controller failed.
        """
        try:
            controller = self.controller or self._begin(observation.time)
            if self._is_back(observation, outside):
                return None
            action = np.array(controller.update(observation, last_action), dtype=np.float64)
        except RecoveryError:
            raise
        except Exception as error:  # whatever somebody else's code raises
            raise RecoveryError(self._failed(error)) from error
        if self._failure:
            raise RecoveryError(self._failure)
        if action.shape != last_action.shape or not np.isfinite(action).all():
            raise RecoveryError(f"'{controller.name}' asks for {action}")
        return np.clip(action, self._low, self._high)

    def _failed(self, error: Exception) -> str:
        return f"'{self._recovery.controller}' failed: {type(error).__name__}: {error}"

    def _begin(self, now: int) -> Controller:
        name = self._recovery.controller
        controller: Any = self._controllers().get(name)
        if controller is None:
            raise RecoveryError(f"there is no controller '{name}'")
        if hasattr(controller, "following"):
            controller = controller.following(self._reference)
        if waits := controller.not_ready:
            raise RecoveryError(f"'{name}' {waits}")
        controller.activate()
        self.controller, self._began, self._since = controller, now, None
        return cast(Controller, controller)

    def _is_back(self, observation: Observation, outside: str) -> bool:
        now, recovery = observation.time, self._recovery
        found = [outside, *(each.missing(observation.state) for each in self._until)]
        missing = "; ".join(filter(None, found))
        if missing:
            self._since = None
        elif self._since is None:
            self._since = now
        if self._since is not None and now - self._since >= 1e9 * recovery.hold_time:
            return True
        if now - self._began > 1e9 * recovery.timeout:
            not_yet = missing or f"not for {show(recovery.hold_time)} s on end"
            raise RecoveryError(f"it took {show(recovery.timeout)} s: {not_yet}")
        return False

    def commanded(self, observation: Observation, action: Array) -> None:
        """Tells who acts what was sent, [m]. A failure counts at the next update."""
        if self.controller is None:
            return
        try:
            self.controller.commanded(observation, action)
        except Exception as error:  # whatever somebody else's code raises
            self._failure = self._failed(error)
