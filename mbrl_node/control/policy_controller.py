"""The learned policy as a controller: an action in microseconds, without planning."""

from __future__ import annotations

import numpy as np

from mbrl_node.control.controller import Array, Controller, Observation
from mbrl_node.models import WorldModel
from mbrl_node.models.policy import Actor
from mbrl_node.planning import Rollout


class PolicyController(Controller):
    """Sends what the actor of the newest model says."""

    learned = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._actor: tuple[Actor, int] | None = None

    def set_model(self, model: Rollout | WorldModel, version: int) -> None:
        """The next action comes from this model; nothing changes where it has no policy. May be
        called from any thread."""
        if model.policy is not None:
            self._actor = (Actor(model.policy), version)

    @property
    def not_ready(self) -> str:
        return "" if self._actor else "waits for a model with a policy (set policy.train)"

    def update(self, observation: Observation, last_action: Array) -> Array:
        """The actor's action, [m].

        Raises:
            FloatingPointError: it is not finite.
        """
        if self._actor is None:
            raise RuntimeError(f"{self.name} {self.not_ready}")
        actor, self.model_version = self._actor
        action = actor(observation.state)
        if not np.isfinite(action).all():
            raise FloatingPointError(f"the policy gives {action} in the state {observation.state}")
        return action
