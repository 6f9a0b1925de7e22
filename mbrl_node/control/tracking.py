"""Control without planning at every tick: tracking by the inverse model, and control laws."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mbrl_node.control.controller import Array, Controller, Observation
from mbrl_node.control.reference import Follower, Reference, StateAt
from mbrl_node.models import InverseModel, WorldModel
from mbrl_node.planning import ControlLaw, Rollout
from mbrl_node.spec.system import System


class TrackingController(Controller):
    """Follows a trajectory of states: the action is the one that the inverse model gives for
    reaching, `inverse.steps` periods on, the state that the reference has then.

    It starts anew with each `activate`, at the first update after it. What no action can do (a
    position reference whose velocity says something else, more force than there is) it does as far
    as the inverse model has seen something like it.

    Args:
        inverse: None: waits for one, see `set_model`.
        reference: what `Reference.of` takes; None: waits for one, see `set_reference`.

    Raises:
        ValueError: the reference has another shape or is not finite.
    """

    def __init__(
        self,
        name: str,
        system: System,
        inverse: InverseModel | None = None,
        reference: ArrayLike | StateAt | None = None,
    ) -> None:
        super().__init__(name)
        self._system = system
        self._low, self._high = system.action_min, system.action_max
        self._model: tuple[InverseModel, int] | None = None if inverse is None else (inverse, 0)
        self._follower = Follower(None if reference is None else Reference.of(reference, system))

    def set_model(self, model: Rollout | WorldModel, version: int) -> None:
        """The next action comes from this model; nothing changes where it has no inverse model. May
        be called from any thread."""
        if model.inverse is not None:
            self._model = copy.deepcopy(model.inverse).cpu(), version

    def set_reference(self, states: ArrayLike) -> None:
        """What to follow from the next tick on; see `Reference`. May be called from any thread.

        Args:
            states: one that is held, [n], or one a control period, [T, n].

        Raises:
            ValueError: they have another shape or are not finite; the reference stays as it was.
        """
        self._follower.reference = Reference.of(states, self._system)

    def following(self, states: ArrayLike) -> TrackingController:
        """Another one, with the settings of now, that follows this reference whatever this one is
        told; see `set_reference`."""
        other = copy.copy(self)
        other._follower = Follower(Reference.of(states, self._system))
        return other

    @property
    def not_ready(self) -> str:
        if self._model is None:
            return "waits for a model with an inverse model (set inverse.train)"
        return "" if self._follower.reference else "waits for a reference on ~/reference"

    def activate(self) -> None:
        self._follower.restart()

    def update(self, observation: Observation, last_action: Array) -> Array:
        """The action of the inverse model, within the limits.

        Raises:
            FloatingPointError: that action is not finite.
            RuntimeError: it is not ready.
        """
        if self._model is None:
            raise RuntimeError(f"{self.name} {self.not_ready}")
        inverse, self.model_version = self._model
        wanted = self._follower.look(observation.time, inverse.steps * self._system.dt)
        states = torch.as_tensor(np.stack((observation.state, wanted)), dtype=torch.float32)
        action = _finite(inverse.predict(*states)[0], observation)
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
