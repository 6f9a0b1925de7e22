"""Proportional-derivative control of the joints that the actions drive."""

from __future__ import annotations

import copy
import math
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from mbrl_node.control.controller import Array, Controller, ControllerConfig, Observation
from mbrl_node.control.reference import Follower, Reference
from mbrl_node.spec import RobotSpec

Gain = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PDConfig(ControllerConfig):
    """The gains, one an action, or one for all."""

    kp: tuple[Gain, ...] = Field(
        (2.0,),
        min_length=1,
        description="command per unit of position error; one, or one an action",
    )
    kd: tuple[Gain, ...] = Field(
        (3.0,),
        min_length=1,
        description="command per unit of velocity error; one, or one an action",
    )


class PDController(Controller):
    """Each action pulls its joint to where the reference has it, and brakes it to its speed there:
    safe command + kp (position error) + kd (velocity error). An angle turns the short way.

    The reference is a state of zeros until another is set. Joints that no action drives are left
    alone.

    Raises:
        ValueError: the state has no position of a joint that an action drives, or no velocity where
            kd is not 0; or the gains are neither one nor one an action.
    """

    Config = PDConfig

    def __init__(self, name: str, spec: RobotSpec, config: PDConfig | None = None) -> None:
        super().__init__(name)
        self._spec, self._safe = spec, spec.action_safe
        self._position = self._columns("position")
        self.set_config(config or PDConfig())
        self._angle = spec.angle_mask[self._position]
        self._follower = Follower(Reference.of(np.zeros(spec.state_dim), spec))

    def set_config(self, config: PDConfig) -> None:
        """The next action has these gains; the reference stays. May be called from any thread.

        Raises:
            ValueError: the gains are neither one nor one an action, or the state has no velocities
                for kd; those before stay.
        """
        actions = self._spec.action_dim
        for key, gains in (("kp", config.kp), ("kd", config.kd)):
            if len(gains) not in (1, actions):
                raise ValueError(
                    f"{self.name}.{key}: there are {len(gains)} gains; right is 1 for all actions, "
                    f"or {actions}, one for each"
                )
        velocity = self._columns("velocity") if any(config.kd) else []
        self._gains = np.array(config.kp), np.array(config.kd), velocity

    def _columns(self, value: str) -> list[int]:
        """The state columns of the joints that the actions drive, [m]."""
        # A field from another message than a JointState is of no joint.
        found = {
            getattr(field, "joint", None): column
            for column, field in enumerate(self._spec.state_fields)
            if getattr(field, "value", None) == value
        }
        columns = []
        for action in self._spec.action.fields:
            if action.destination not in found:
                raise ValueError(
                    f"{self.name}: the state has no {value} of '{action.destination}', the joint "
                    f"that action '{action.name}' drives"
                )
            columns.append(found[action.destination])
        return columns

    def set_reference(self, states: ArrayLike) -> None:
        """What to follow from the next tick on; see `Reference`. May be called from any thread.

        Args:
            states: one that is held, [n], or one a control period, [T, n].

        Raises:
            ValueError: they have another shape or are not finite; the reference stays as it was.
        """
        self._follower.reference = Reference.of(states, self._spec)

    def following(self, states: ArrayLike) -> PDController:
        """Another one, with the settings of now, that follows this reference whatever this one is
        told; see `set_reference`."""
        other = copy.copy(self)
        other._follower = Follower(Reference.of(states, self._spec))
        return other

    def activate(self) -> None:
        self._follower.restart()

    def update(self, observation: Observation, last_action: Array) -> Array:
        """The command of each action, [m].

        Raises:
            FloatingPointError: one is not finite.
        """
        kp, kd, velocity = self._gains
        error = self._follower.look(observation.time) - observation.state
        off = error[self._position]
        off = np.where(self._angle, np.remainder(off + math.pi, 2 * math.pi) - math.pi, off)
        with np.errstate(over="ignore", invalid="ignore"):  # said below, in one line
            action: Array = self._safe + kp * off
            if velocity:
                action += kd * error[velocity]
        if not np.isfinite(action).all():
            raise FloatingPointError(f"the gains give {action} in the state {observation.state}")
        return action
