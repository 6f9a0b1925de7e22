"""Imagined futures: action sequences run through every member of a learned model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mbrl_node.models import DynamicsModel

RewardFunction = Callable[[Tensor, Tensor], Tensor]
TerminationFunction = Callable[[Tensor], Tensor]


class PlanningError(RuntimeError):
    """No plan could be made from this state with this model."""


class Rollout:
    """Rolls N action sequences over H steps through all E members, each member staying with its own
    prediction from step to step (TS-infinity of PETS without the aleatoric noise).

    Args:
        reward: (next state [..., n], action [..., m]) -> [...].
        termination: next state [..., n] -> bool [...]; a rollout earns nothing after it.
        risk: the return of a sequence is the mean over members less `risk` standard deviations.
    """

    def __init__(
        self,
        model: DynamicsModel,
        reward: RewardFunction,
        termination: TerminationFunction | None = None,
        risk: float = 0.0,
    ) -> None:
        self.model = model
        self._reward, self._termination, self._risk = reward, termination, risk

    @property
    def device(self) -> torch.device:
        """Where the model is, and so every tensor of a plan."""
        return self.model.input_mean.device

    @torch.no_grad()
    def returns(self, state: Tensor, actions: Tensor) -> Tensor:
        """The return of each action sequence, [N]; one that is not finite counts as -inf.

        Args:
            state: the state to start from, [n].
            actions: [N, H, m].

        Raises:
            PlanningError: not one of the returns is finite.
        """
        members, samples = self.model.config.members, len(actions)
        states = state.expand(members, samples, -1)
        total = state.new_zeros(members, samples)
        alive: Tensor | None = None
        by_time = actions.transpose(0, 1).contiguous()
        for action in by_time:
            action = action.expand(members, -1, -1)
            states = self.model.predict(states, action)
            reward = self._reward(states, action)
            if self._termination is not None:
                reward = reward if alive is None else reward * alive
                ended = self._termination(states)
                alive = ~ended if alive is None else alive & ~ended
            total += reward
        result = total.mean(0)
        if self._risk and members > 1:
            result = result - self._risk * total.std(0)
        finite = torch.isfinite(result)
        if not finite.any():
            raise PlanningError("the model predicts no finite return for any action sequence")
        return torch.where(finite, result, -torch.inf)

    @torch.no_grad()
    def trajectory(self, state: Tensor, actions: Tensor) -> tuple[Tensor, float]:
        """The states along one action sequence, [H + 1, n], and its return, means over members.

        Args:
            state: [n].
            actions: [H, m].
        """
        states = state.expand(self.model.config.members, 1, -1)
        result, total = [state], 0.0
        for action in actions:
            action = action.expand(len(states), 1, -1)
            states = self.model.predict(states, action)
            result.append(states.mean((0, 1)))
            total += float(self._reward(states, action).mean())
        return torch.stack(result), total
