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

    The actor acts in the model for the policy's horizon; each rollout stays with one member of the
    ensemble, and ends where the episode would. Rollouts start in states that the robot was in, or
    where the one before ended. The critic learns the discounted sums of rewards, the actor follows
    their gradient through the model. What the model has learned does not change. Limits to how fast
    an action may change are not imagined.

    Args:
        seed: of the states to start from, and of the noise.
    """

    def __init__(self, policy: Policy, seed: int = 0) -> None:
        self.policy = policy
        self._generator = torch.Generator().manual_seed(seed)
        self._actor = list(policy.actor.parameters())
        self._critic = list(policy.critic.parameters())
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
            ValueError: the reward is neither given nor learned.
        """
        begin, policy, model = time.monotonic(), self.policy, world.dynamics.elite()
        task = world.completed(task)
        data = buffer.batch(model.config.history).to(model.device)
        policy.fit_normalizer(data.state)
        with torch.no_grad():
            start = self._starts(data.state, model.members, None)
            imagined = imagine(policy, model, task, start, self._generator)
        policy.rescale(imagined.returns)
        values: list[float] = []
        done = 0
        while done < policy.config.gradient_steps and not cancelled():
            start = self._starts(data.state, model.members, imagined)
            imagined = imagine(policy, model, task, start, self._generator)
            value = self._step(imagined)
            values += [] if value is None else [value]
            done += 1
        mean = sum(values) / len(values) if values else math.nan
        return PolicyReport(done, done - len(values), time.monotonic() - begin, mean)

    def _starts(self, states: Tensor, members: int, before: Imagined | None) -> Tensor:
        """Model states to start from, [E, B, x]: drawn from those given, [N, x], and about every
        second time, where a rollout before can go on, its end."""
        shape = members, -(-self.policy.config.batch_size // members)
        start = states[torch.randint(len(states), shape, generator=self._generator)]
        if before is None:
            return start
        end = before.states[-1].detach()
        goes_on = (before.lives[-1] > 0) & torch.isfinite(end).all(-1)
        goes_on &= (torch.rand(shape, generator=self._generator) < 0.5).to(goes_on.device)
        return torch.where(goes_on[..., None], end, start)

    def _step(self, imagined: Imagined) -> float | None:
        """A gradient step; the mean return, or None where it was not finite and so not taken."""
        policy, returns = self.policy, imagined.returns
        weights = imagined.lives[:-1] / imagined.lives[:-1].sum()
        gain = (weights * returns).sum() / policy.value_std
        error = policy.value(imagined.states[:-1].detach()) - returns.detach()
        miss = (weights * (error / policy.value_std).square()).sum()
        losses = (-gain, self._actor), (miss, self._critic)
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


@dataclass(frozen=True)
class Imagined:
    """Rollouts of H steps, B with each of E members."""

    states: Tensor  # model states, [H + 1, E, B, x]
    returns: Tensor  # discounted sum of rewards from a state on, [H, E, B]
    lives: Tensor  # 1 where the episode is not over in a state, else 0, [H + 1, E, B]


def imagine(
    policy: Policy, model: DynamicsModel, task: Task, start: Tensor, generator: torch.Generator
) -> Imagined:
    """Acts as the policy says. Gradients lead back through the model to the policy.

    The returns are λ-returns (equation 6 of arXiv 1912.01603).

    Args:
        start: model states, [E, B, x], for each of the model's members.
        generator: of the noise that is added to actions.

    Raises:
        ValueError: the task has no reward.
    """
    if task.reward is None:
        raise ValueError("the reward is neither given nor learned")
    if task.aims:
        raise ValueError("a policy does not see the task's targets: set policy.train to false")
    horizon, n = policy.horizon, policy.state_dim
    noise = torch.randn(horizon, *start.shape[:-1], policy.action_dim, generator=generator)
    path, actions = [start], []
    for each in noise.to(start.device):
        actions.append(policy.act(path[-1], each))
        path.append(model.predict(path[-1], actions[-1]))
    states = torch.stack(path)
    after = states[1:, ..., :n]
    rewards = task.reward(states[:-1, ..., :n], torch.stack(actions), after)
    if task.constraint is not None:
        rewards = rewards - task.constraint(after)
    ended = torch.zeros_like(rewards, dtype=torch.bool)
    if task.termination is not None:
        ended = task.termination(after)
    values = torch.where(ended, 0.0, policy.value(states[1:]))
    returns, later = [], values[-1]
    for t in reversed(range(horizon)):
        later = torch.where(ended[t], 0.0, torch.lerp(values[t], later, LAMBDA))
        later = rewards[t] + policy.discount * later
        returns.append(later)
    lives = torch.cat((torch.ones_like(rewards[:1]), (~ended).cumprod(0).to(rewards)))
    return Imagined(states, torch.stack(returns[::-1]), lives)
