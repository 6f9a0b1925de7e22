"""Imagined futures: action sequences run through a learned model, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from mbrl_node.models import WorldModel
from mbrl_node.spec.task import Task
from mbrl_node.spec.terms import RewardFunction


class PlanningError(RuntimeError):
    """No plan could be made from this state with this model."""


class RolloutConfig(BaseModel):
    """How uncertainty is carried along a plan, and how it counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    propagation: Literal["tsinf", "ts1", "expectation", "moment_matching"] = Field(
        "tsinf",
        description="tsinf: a particle stays with its member; ts1: it changes member at each step; "
        "moment_matching: redrawn at each step from the particles' Gaussian; expectation: one "
        "particle, the members' mean",
    )
    particles: int = Field(0, ge=0, description="a sequence; 0: one a member")
    aleatoric: bool = Field(False, description="particles also draw the noise that was learned")
    tail: float = Field(
        1.0, ge=0, le=1, description="CVaR: mean of this worst part of the particles; 1: of all"
    )
    deviation: float = Field(
        0.3, ge=0, description="standard deviations over the particles taken off a return"
    )
    disagreement: float = Field(
        0.0, ge=0, description="cost of a step for the particles' spread, in changes a period"
    )
    terminal_value: bool = Field(
        False, description="add what a learned policy expects beyond the horizon, if there is one"
    )
    proposals: int = Field(
        0, ge=0, description="action sequences of a learned policy that compete, if there is one"
    )


class Rollout:
    """Rolls N action sequences over H steps and P particles each (PETS, arXiv 1805.12114).

    Args:
        world: what was learned.
        task: what is given; the rest is taken from `world`.
        value: of the state after the last step, [..., n] -> [...]; extends a short horizon. None:
            that of the world's policy, if the configuration says so (LOOP, arXiv 2008.10066; but
            the rewards within the horizon are not discounted here).
        seed: of the random numbers of particles and proposals.
    """

    def __init__(
        self,
        world: WorldModel,
        task: Task,
        config: RolloutConfig | None = None,
        value: Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
    ) -> None:
        self.model = world.dynamics.elite()
        self._config = config or RolloutConfig()
        self._task, self.policy = world.completed(task), world.policy
        self._reward = given_reward(self._task)
        if value is None and self.policy is not None and self._config.terminal_value:
            value = self.policy.value
        self._value = value
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def device(self) -> torch.device:
        """Where the model is, and so every tensor of a plan."""
        return self.model.device

    @property
    def history(self) -> int:
        """How many states, the present one with them, the model looks at."""
        return self.model.config.history

    def model_state(self, states: Tensor, actions: Tensor) -> Tensor:
        """Where a rollout starts, [x], from the newest states [T, n] and the actions between them
        [T - 1, m]; see `DynamicsModel.model_state`."""
        return self.model.model_state(states, actions)

    @torch.no_grad()
    def returns(self, state: Tensor, actions: Tensor) -> Tensor:
        """The return of each action sequence, [N]; one that is not finite counts as -inf.

        Args:
            state: the model state to start from, [x].
            actions: [N, H, m].

        Raises:
            PlanningError: not one of the returns is finite.
        """
        result = self._risk(self.particle_returns(state, actions))
        finite = torch.isfinite(result)
        if not finite.any():
            raise PlanningError("the model predicts no finite return for any action sequence")
        return torch.where(finite, result, -torch.inf)

    @torch.no_grad()
    def particle_returns(self, state: Tensor, actions: Tensor) -> Tensor:
        """The return of each particle of each action sequence, [P, N]."""
        samples = len(actions)
        states, by_time = self._states(state, actions)
        before, after = states[:-1], states[1:]
        cost = None
        if self._config.disagreement:
            cost = self._config.disagreement * self._spread(after, samples)
        total, lives = sum_of_rewards(self._task, before, by_time, after, cost)
        if self._value is not None:
            value = self._value(after[-1])
            total = total + (value if lives is None else torch.where(lives, value, 0.0))
        return self._by_particle(total, samples)

    def _states(self, state: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """States [H + 1, E, C N, n] and actions [H, E, C N, m]: C particles a member and sequence,
        or [H + 1, 1, N, n] where there is one particle."""
        (samples, horizon, _), members = actions.shape, self.model.members
        mean = self._config.propagation == "expectation"
        copies = 1 if mean else -(-(self._config.particles or members) // members)
        by_time = actions.transpose(0, 1).repeat(1, copies, 1)[:, None]
        by_time = by_time.expand(-1, 1 if mean else members, -1, -1)
        now = state.expand(members, copies * samples, -1)
        n = self.model.state_dim
        states = state.new_empty(horizon + 1, 1 if mean else members, copies * samples, n)
        states[0] = state[:n]
        for t in range(horizon):
            now = self._step(now, by_time[t].expand(members, -1, -1), samples)
            states[t + 1] = now[: len(states[t]), :, :n]
        return states, by_time

    def _step(self, now: Tensor, action: Tensor, samples: int) -> Tensor:
        propagation = self._config.propagation
        if propagation == "ts1":
            # Each sequence's particles are dealt out to the members anew, and come back to their
            # places, so that a place is one particle all the time.
            shape = (now.shape[0] * now.shape[1] // samples, samples)
            order = torch.rand(shape, generator=self._generator).argsort(0).to(now.device)
            dealt = self._next(_reordered(now, order), action)
            return _reordered(dealt, order.argsort(0))
        now = self._next(now, action)
        if propagation == "expectation":
            return now.mean(0, keepdim=True).expand_as(now)
        if propagation == "moment_matching":
            return self._redrawn(now, samples)
        return now

    def _next(self, now: Tensor, action: Tensor) -> Tensor:
        config = self._config
        noisy = config.aleatoric and config.propagation != "expectation"
        if noisy and self.model.net.probabilistic:
            return self.model.sample(now, action, self._generator)
        return self.model.predict(now, action)

    def _redrawn(self, now: Tensor, samples: int) -> Tensor:
        """Each sequence's particles drawn from the Gaussian that has their mean and variance, and
        scaled to have just those: of few particles the variance would otherwise die out in some
        steps, and the mean walk away."""
        particles = now.reshape(-1, samples, now.shape[-1])
        if len(particles) == 1:
            return now
        noise = torch.randn(particles.shape, generator=self._generator)
        noise = ((noise - noise.mean(0)) / noise.std(0)).to(now.device)
        return (particles.mean(0) + particles.std(0) * noise).view(now.shape)

    def _by_particle(self, values: Tensor, samples: int) -> Tensor:
        """[..., E, C N] -> [..., P, N]; particle p is of member p mod E."""
        lead, members = values.shape[:-2], values.shape[-2]
        split = values.reshape(*lead, members, -1, samples).transpose(-3, -2)
        return split.reshape(*lead, -1, samples)[..., : self._config.particles or None, :]

    def _spread(self, states: Tensor, samples: int) -> Tensor:
        """How far apart the particles of a sequence are, [H, 1, C N]."""
        columns = self._by_particle(states.movedim(-1, 0), samples)  # [n, H, P, N]
        if columns.shape[-2] == 1:
            return torch.zeros((), device=states.device)
        # Of a quaternion the four numbers are compared: its spread is about half a rotation's.
        scale = states.new_ones(states.shape[-1])
        if not self.model.geometry.difference_dim < self.model.state_dim:
            scale = self.model.delta_std
        spread = (columns.std(-2) / scale[:, None, None]).mean(0)
        return spread.repeat(1, states.shape[-2] // samples)[:, None]

    def _risk(self, total: Tensor) -> Tensor:
        """What the returns [P, N] of a sequence's particles count, [N]."""
        particles, config = len(total), self._config
        if particles == 1:
            return total[0]
        if config.tail < 1:
            worst = max(1, round(config.tail * particles))
            # NaN sorts last, where it would go unseen: 0 times the sum brings it back.
            result = total.sort(0).values[:worst].mean(0) + 0.0 * total.sum(0)
        else:
            result = total.mean(0)
        return result - config.deviation * total.std(0) if config.deviation else result

    @torch.no_grad()
    def proposals(self, state: Tensor, horizon: int) -> Tensor | None:
        """What the policy would do from a model state [x], with the members' mean: [K, H, m], the
        first without noise. None: there is no policy, or nothing is wanted of it."""
        count, policy, members = self._config.proposals, self.policy, self.model.members
        if policy is None or count == 0:
            return None
        noise = torch.randn(horizon, count, policy.action_dim, generator=self._generator)
        noise[:, 0] = 0.0
        now, actions = state.expand(count, -1), []
        for each in noise.to(state.device):
            actions.append(policy.act(now, each))
            both = now.expand(members, -1, -1), actions[-1].expand(members, -1, -1)
            now = self.model.predict(*both).mean(0)
        return torch.stack(actions, 1)

    @torch.no_grad()
    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """The model state [x] one period after `state` [x], with `action` [m]; mean over
        members."""
        members = self.model.members
        next_states = self.model.predict(
            state.expand(members, 1, -1), action.expand(members, 1, -1)
        )
        return next_states.mean((0, 1))

    @torch.no_grad()
    def trajectory(self, state: Tensor, actions: Tensor) -> tuple[Tensor, float]:
        """The states along one action sequence, [H + 1, n], and its return, means over members.

        Args:
            state: model state, [x].
            actions: [H, m].
        """
        n = self.model.state_dim
        states = state.expand(self.model.members, 1, -1)
        result, total = [state[:n]], 0.0
        for action in actions:
            action = action.expand(len(states), 1, -1)
            before, states = states, self.model.predict(states, action)
            result.append(states.mean((0, 1))[:n])
            total += float(self._reward(before[..., :n], action, states[..., :n]).mean())
        return torch.stack(result), total


def given_reward(task: Task) -> RewardFunction:
    """The reward of a task.

    Raises:
        ValueError: it has none.
    """
    if task.reward is None:
        raise ValueError("the reward is neither given nor learned")
    return task.reward


def sum_of_rewards(
    task: Task, before: Tensor, actions: Tensor, after: Tensor, cost: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Rewards less costs of imagined steps up to the end of the episode, added up, [...], and
    whether it has not ended with the last step, bool [...]; None: it cannot end.

    Of all steps at once: few large operations instead of many small.

    Args:
        before, after: states, [H, ..., n].
        actions: [H, ..., m].
        cost: of each step besides that of the task's constraints, [H, ...].
    """
    rewards = given_reward(task)(before, actions, after)
    if task.constraint is not None:
        rewards = rewards - task.constraint(after)
    if cost is not None:
        rewards = rewards - cost
    if task.termination is None:
        return rewards.sum(0), None
    lives = task.termination(after).cumsum(0) == 0
    # Not a product: what a model makes of an ended episode may be infinite.
    rewards = torch.cat((rewards[:1], torch.where(lives[:-1], rewards[1:], 0.0)))
    return rewards.sum(0), lives[-1]


def _reordered(now: Tensor, order: Tensor) -> Tensor:
    """Each sequence's particles [E, C N, x] put in another order, [E C, N]."""
    particles = now.reshape(*order.shape, now.shape[-1])
    return particles.gather(0, order[..., None].expand_as(particles)).view(now.shape)
