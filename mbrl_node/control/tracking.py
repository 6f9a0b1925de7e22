"""Control without planning at every tick: tracking by the inverse model, and control laws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mbrl_node.control.controller import Array, Controller, Observation
from mbrl_node.models import InverseModel
from mbrl_node.planning import ControlLaw
from mbrl_node.spec.system import System

Reference = Callable[[float], Array]  # time since the start, s -> state [n]


class TrackingController(Controller):
    """Follows a trajectory of states: the action is the one that the inverse model gives for
    reaching, `inverse.steps` periods on, the state that the reference has then.

    It starts anew with each `activate`, at the first update after it. What no action can do (a
    position reference whose velocity says something else, more force than there is) it does as far
    as the inverse model has seen something like it.

    Args:
        reference: states at every control period, [T, n], the last of which is held; or a function
            of the time since the start in s.

    Raises:
        ValueError: the reference has another shape than [T, n] or is not finite.
    """

    def __init__(
        self, name: str, system: System, inverse: InverseModel, reference: Array | Reference
    ) -> None:
        super().__init__(name)
        self._inverse, self._dt = inverse, system.dt
        self._low, self._high = system.action_min, system.action_max
        self._reference = (
            reference if callable(reference) else _sampled(np.asarray(reference), system)
        )
        self._start: int | None = None

    def activate(self) -> None:
        self._start = None

    def update(self, observation: Observation, last_action: Array) -> Array:
        """The action of the inverse model, within the limits.

        Raises:
            FloatingPointError: that action is not finite.
        """
        if self._start is None:
            self._start = observation.time
        elapsed = (observation.time - self._start) * 1e-9
        wanted = self._reference(elapsed + self._inverse.steps * self._dt)
        states = torch.as_tensor(np.stack((observation.state, wanted)), dtype=torch.float32)
        action = _finite(self._inverse.predict(*states)[0], observation)
        return np.clip(action, self._low, self._high)


class ParametricController(Controller):
    """Acts by a control law: to gather episodes for a trajectory-based model, and with the
    parameters that were planned with it.

    Args:
        parameters: of the law, [p].
    """

    def __init__(self, name: str, law: ControlLaw, parameters: Tensor) -> None:
        super().__init__(name)
        self._law, self._parameters = law, parameters

    def update(self, observation: Observation, last_action: Array) -> Array:
        """The action of the law.

        Raises:
            FloatingPointError: that action is not finite.
        """
        state = torch.as_tensor(observation.state, dtype=torch.float32)
        return _finite(self._law.actions(self._parameters, state), observation)


def _finite(action: Tensor, observation: Observation) -> Array:
    """The action as an array."""
    values = action.cpu().numpy().astype(np.float64)
    if not np.isfinite(values).all():
        raise FloatingPointError(f"the action in state {observation.state} is {values}")
    return values


def _sampled(states: Array, system: System) -> Reference:
    """A reference from states at the control period."""
    if states.ndim != 2 or len(states) == 0 or states.shape[1] != system.state_dim:
        raise ValueError(f"the reference has shape {states.shape}, not [T, {system.state_dim}]")
    if not np.isfinite(states).all():
        raise ValueError("the reference has a value that is not finite")
    return lambda time: states[min(round(time / system.dt), len(states) - 1)]
