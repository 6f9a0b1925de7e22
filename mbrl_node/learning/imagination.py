"""Training an actor and a critic on rollouts imagined by a learned model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_node.data import ReplayBuffer
from mbrl_node.models import DynamicsModel, WorldModel
from mbrl_node.models.policy import Policy
from mbrl_node.spec.task import Task

LAMBDA = 0.95  # weight of longer sums of rewards against shorter ones and a value
MAX_NORM = 1.0  # of the gradient of each network


@dataclass(frozen=True)
class PolicyReport:
    """What came of training a policy."""

    gradient_steps: int
    skipped: int  # of them, because a gradient was not finite
    seconds: float
    value: float  # mean of the imagined returns; NaN: no step was taken


class PolicyTrainer:
    """Improves a policy by the gradient of imagined returns (Dreamer, arXiv 1912.01603, on states).

    From states that the robot was in, the actor acts in the model for the policy's horizon; each
    rollout stays with one member of the ensemble, and ends where the episode would. The critic
    learns the discounted sums of rewards, the actor follows their gradient through the model. What
    the model has learned does not change. Limits to how fast an action may change are not imagined.

    Args:
        seed: of the states to start from, and of the noise.
    """

    def __init__(self, policy: Policy, seed: int = 0) -> None:
        self.policy = policy
        self._generator = torch.Generator().manual_seed(seed)
        self._actor, self._critic = (
            list(policy.actor.parameters()),
            list(policy.critic.parameters()),
        )
        self._optimizer = torch.optim.Adam(
            [*self._actor, *self._critic], lr=policy.config.learning_rate, fused=True
        )

    def train(
        self,
        world: WorldModel,
        task: Task,
        buffer: ReplayBuffer,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> PolicyReport:
        """Takes the configured number of gradient steps.

        Args:
            task: its gradient is used as far as it has one.
            cancelled: asked before every step; when it says yes, there are no more steps.

        Raises:
            ValueError: the reward is neither given nor learned, or there is no data.
        """
        begin, policy, model = time.monotonic(), self.policy, world.dynamics.elite()
        task = world.completed(task)
        data = buffer.batch(model.config.history).to(model.device)
        policy.fit_normalizer(data.state)
        with torch.no_grad():
            start = self._starts(data.state, model.members)
            policy.rescale(imagine(policy, model, task, start, self._generator)[1])
        values: list[float] = []
        done = 0
        while done < policy.config.gradient_steps and not cancelled():
            value = self._step(model, task, self._starts(data.state, model.members))
            values += [] if value is None else [value]
            done += 1
        mean = sum(values) / len(values) if values else math.nan
        return PolicyReport(done, done - len(values), time.monotonic() - begin, mean)

    def _starts(self, states: Tensor, members: int) -> Tensor:
        """States to start from, drawn for each member, [E, B, x] of [N, x]."""
        rows = -(-self.policy.config.batch_size // members)
        return states[torch.randint(len(states), (members, rows), generator=self._generator)]

    def _step(self, model: DynamicsModel, task: Task, start: Tensor) -> float | None:
        """A gradient step from states [E, B, x]; the mean return, or None where the step was not
        finite and so not taken."""
        policy = self.policy
        states, returns, lives = imagine(policy, model, task, start, self._generator)
        weights = lives / lives.sum()
        gain = (weights * returns).sum() / policy.value_std
        error = (policy.value(states.detach()) - returns.detach()) / policy.value_std
        losses = (-gain, self._actor), ((weights * error.square()).sum(), self._critic)
        for loss, parameters in losses:
            # Of these parameters alone: the model's get no gradient.
            gradients = torch.autograd.grad(loss, parameters)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
        norms = [torch.nn.utils.clip_grad_norm_(p, MAX_NORM) for _, p in losses]
        finite = bool(torch.isfinite(torch.stack(norms)).all())
        if finite:
            self._optimizer.step()
        # The policy is a part of the world model, whose optimiser acts on every gradient it finds.
        self._optimizer.zero_grad(set_to_none=True)
        return float(gain.detach() * policy.value_std) if finite else None


def imagine(
    policy: Policy, model: DynamicsModel, task: Task, start: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Rollouts of H steps under the policy: their states [H, E, B, x] and the discounted return
    from each on, [H, E, B], of which gradients lead back through the model; and where the episode
    is not over yet, 1.0 or 0.0, [H, E, B].

    The returns are λ-returns (equation 6 of arXiv 1912.01603).

    Args:
        start: model states, [E, B, x], for each of the model's members.
        generator: of the noise that is added to actions.

    Raises:
        ValueError: the task has no reward.
    """
    if task.reward is None:
        raise ValueError("the reward is neither given nor learned")
    horizon, n = policy.horizon, policy.state_dim
    noise = torch.randn(horizon, *start.shape[:-1], policy.action_dim, generator=generator)
    states, actions = [start], []
    for each in noise.to(start.device):
        actions.append(policy.act(states[-1], each))
        states.append(model.predict(states[-1], actions[-1]))
    path = torch.stack(states)
    before, after = path[:-1, ..., :n], path[1:, ..., :n]
    rewards = task.reward(before, torch.stack(actions), after)
    if task.constraint is not None:
        rewards = rewards - task.constraint(after)
    values = policy.value(path[1:])
    lives = torch.ones_like(rewards)
    if task.termination is not None:
        goes_on = ~task.termination(after)
        values = torch.where(goes_on, values, 0.0)
        lives[1:] = goes_on[:-1].cumprod(0)
    else:
        goes_on = torch.ones_like(rewards, dtype=torch.bool)
    returns, later = [], values[-1]
    for t in reversed(range(horizon)):
        mixed = torch.lerp(values[t], later, LAMBDA) * goes_on[t]
        later = rewards[t] + policy.discount * mixed
        returns.append(later)
    return path[:-1], torch.stack(returns[::-1]), lives
