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
        members, (samples, horizon, _) = self.model.config.members, actions.shape
        by_time = actions.transpose(0, 1).contiguous()[:, None].expand(-1, members, -1, -1)
        states = state.new_empty(horizon, members, samples, len(state))
        now = state.expand(members, samples, -1)
        for t in range(horizon):
            now = self.model.predict(now, by_time[t])
            states[t] = now
        # Reward and termination of all steps at once: few large operations instead of many small.
        rewards = self._reward(states, by_time)
        if self._termination is not None:
            ended = self._termination(states)
            rewards[1:] *= ended.cumsum(0)[:-1] == 0
        total = rewards.sum(0)
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
