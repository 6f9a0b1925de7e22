"""Planning the parameters of a control law instead of actions."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mbrl_node.models.geometry import StateGeometry
from mbrl_node.models.trajectory import TrajectoryModel
from mbrl_node.planning.cem import CEM, CEMConfig
from mbrl_node.planning.planner import ActionSpace
from mbrl_node.planning.rollout import given_reward, sum_of_rewards
from mbrl_node.spec.system import System
from mbrl_node.spec.task import Task


class ControlLaw(ABC):
    """Actions as a function of the state, with p parameters within a box.

    Args:
        low, high: the box, [p].
    """

    def __init__(self, low: Tensor, high: Tensor) -> None:
        self.low, self.high = low.float(), high.float()

    @abstractmethod
    def actions(self, parameters: Tensor, state: Tensor) -> Tensor:
        """[..., m], within the action limits, for parameters [..., p] and states [..., n]."""


class LinearFeedback(ControlLaw):
    """u = K (target - s), clipped to the action limits; angles the short way round.

    Its parameters are the gains K [m, d], row by row; d as in `StateGeometry`.

    Args:
        target: the state to go to, [n].
        low, high: limits of each gain, [m, d].

    Raises:
        ValueError: the limits have another shape.
    """

    def __init__(self, system: System, target: Tensor, low: Tensor, high: Tensor) -> None:
        self._geometry, self._target = StateGeometry(system), target.float()
        self._limits = ActionSpace.of(system)
        self._shape = (system.action_dim, self._geometry.difference_dim)
        if low.shape != self._shape or high.shape != self._shape:
            raise ValueError(f"the limits of the gains must be {self._shape}, not {low.shape}")
        super().__init__(low.flatten(), high.flatten())

    def actions(self, parameters: Tensor, state: Tensor) -> Tensor:
        gains = parameters.unflatten(-1, self._shape)
        error = self._geometry.difference(state, self._target.expand_as(state))
        return self._limits.clip((gains @ error[..., None])[..., 0])


class ParameterReturns:
    """What a law with some parameters is worth from a state on, by the trajectory model.

    Args:
        task: with a reward.
        deviation: standard deviations over the members taken off a return.

    Raises:
        ValueError: the task gives no reward.
    """

    def __init__(
        self, model: TrajectoryModel, law: ControlLaw, task: Task, deviation: float = 0.3
    ) -> None:
        given_reward(task)
        self.law, self._model, self._task, self._deviation = law, model, task, deviation

    @torch.no_grad()
    def returns(self, state: Tensor, actions: Tensor) -> Tensor:
        """The return of each of N laws, [N]; -inf where it is not finite.

        Args:
            state: [n].
            actions: the parameters, as sequences of one action, [N, 1, p].
        """
        states = self._model.trajectories(state, actions[:, 0]).movedim(2, 0)
        before, after = states[:-1], states[1:]
        total, _ = sum_of_rewards(
            self._task, before, self.law.actions(actions[:, 0], before), after
        )
        result = total.mean(0) - self._deviation * total.std(0, correction=0)
        return torch.where(torch.isfinite(result), result, -torch.inf)


class ParameterPlanner:
    """Chooses the parameters of a law by the cross-entropy method: to CEM they are one action.

    Each plan starts anew, so that it depends on nothing but the seed, the state and the model.
    """

    def __init__(
        self,
        returns: ParameterReturns,
        samples: int = 64,
        iterations: int = 8,
        seed: int = 0,
    ) -> None:
        self._returns = returns
        # Less noise in the end than in a plan that the next tick replaces.
        config = CEMConfig(horizon=1.0, samples=samples, iterations=iterations, min_noise=0.01)
        box = ActionSpace(returns.law.low, returns.law.high)
        self._cem = CEM(config, box, dt=1.0, seed=seed)

    def plan(self, state: Tensor) -> tuple[Tensor, float]:
        """The best parameters found from `state` [n], [p], and their predicted return.

        They are the mean of the best samples, not the single best, which owes its place to the
        model's errors too.

        Raises:
            PlanningError: the model gives no finite return.
        """
        self._cem.reset()
        best = self._cem.plan(self._returns, state)
        value = float(self._returns.returns(state, best[None]))
        return best[0], value
