"""Which controller is in command, swapped between two ticks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import numpy as np

from mbrl_node.control.controller import Array, Controller, Observation

log = logging.getLogger(__name__)


class SwitchError(Exception):
    """A switch was refused and nothing changed; the message says why."""


class ControllerManager:
    """Holds the controllers by name; exactly one is active at a time.

    While the active one is not ready (it has no model yet) the `standby` acts for it. A controller
    that raises is contained: `resting` acts at that tick. One that cannot even be activated after a
    switch gives way to the one before.

    Args:
        controllers: the first is active at the start.
        standby: name of the controller that acts while the active one waits.
        resting: name of the controller that is always safe.
    """

    def __init__(self, controllers: Sequence[Controller], standby: str, resting: str) -> None:
        self.controllers = {c.name: c for c in controllers}
        self._standby, self._resting = self.controllers[standby], self.controllers[resting]
        self.active = controllers[0]
        self.acting = self._resting
        self._before_switch: Controller | None = None
        self.failure = ""  # why the controller that should act could not, at the last tick
        self._lock = threading.Lock()

    def switch(self, activate: Sequence[str], deactivate: Sequence[str], strict: bool) -> str:
        """Makes another controller the active one before the next tick; tells what was done.

        Deactivating the active one without activating another activates the resting one. Without
        `strict`, names that do not fit are ignored.

        Raises:
            SwitchError: strict, and a name is unknown or not active; or two are to be activated.
        """
        unknown = [n for n in (*activate, *deactivate) if n not in self.controllers]
        if strict and unknown:
            known = ", ".join(self.controllers)
            raise SwitchError(f"no controller '{unknown[0]}'; there are {known}")
        wanted = list(dict.fromkeys(n for n in activate if n in self.controllers))
        if len(wanted) > 1:
            raise SwitchError(f"one controller can be active at a time, not {' and '.join(wanted)}")
        with self._lock:
            before, self._before_switch = self.active.name, self.active
            idle = [n for n in deactivate if n in self.controllers and n != before]
            if strict and idle:
                raise SwitchError(f"'{idle[0]}' is not active; '{before}' is")
            if wanted:
                self.active = self.controllers[wanted[0]]
            elif before in deactivate:
                self.active = self._resting
            else:
                return f"nothing to do: '{before}' stays active"
            if self.active.name == before:
                return f"'{before}' is active already"
        message = f"switched from '{before}' to '{self.active.name}'"
        if self.active.not_ready:
            message += f", which {self.active.not_ready}; '{self._standby.name}' acts until then"
        return message

    def restart(self) -> None:
        """Makes whoever acts next start afresh, after a break such as a reset."""
        with self._lock:
            self.acting.activate()

    def update(self, observation: Observation, last_action: Array) -> Array:
        """The action asked for at this tick by the controller that acts, [m]."""
        with self._lock:
            self.failure = ""
            chosen = self.active if not self.active.not_ready else self._standby
            try:
                if chosen is not self.acting:
                    chosen = self._activated(chosen)
                return np.asarray(chosen.update(observation, last_action), dtype=np.float64)
            except Exception as error:
                self.failure = f"{chosen.name}: {type(error).__name__}: {error}"
                return self._resting.update(observation, last_action)

    def _activated(self, wanted: Controller) -> Controller:
        """Makes `wanted` the one that acts; if that fails after a switch, the one before the
        switch is active again."""
        try:
            wanted.activate()
            self.acting = wanted
        except Exception:
            if wanted is self.active and self._before_switch is not None:
                self.active, self._before_switch = self._before_switch, None
                if self.active is self.acting:
                    log.exception("'%s' cannot act; '%s' goes on", wanted.name, self.active.name)
                    return self.acting
            raise
        return wanted

    def commanded(self, observation: Observation, action: Array) -> None:
        """Tells the acting controller what was sent."""
        try:
            self.acting.commanded(observation, action)
        except Exception as error:
            self.failure = f"{self.acting.name}: {type(error).__name__}: {error}"

    def close(self) -> None:
        """Ends all controllers."""
        for controller in self.controllers.values():
            controller.close()
