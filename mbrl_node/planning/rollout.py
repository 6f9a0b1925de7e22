"""Imagined futures: action sequences run through a learned model, and what they are worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from mbrl_node.models import WorldModel
from mbrl_node.planning.engine import EngineName, Precision, choose
from mbrl_node.planning.native import NativePropagation, NativeTask
from mbrl_node.planning.propagation import Draws, Propagation, draw
from mbrl_node.spec.task import Task
from mbrl_node.spec.terms import RewardFunction, TermReward

MOST_STEPS = 200_000_000  # of all particles of all sequences; their states take some GB


class PlanningError(RuntimeError):
    """No plan could be made from this state with this model."""


class RolloutConfig(BaseModel):
    """How uncertainty is carried along a plan, and how it counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    propagation: Propagation = Field(
        "tsinf",
        description="tsinf: a particle stays with its member; ts1: it changes member at each step; "
        "moment_matching: redrawn at each step from the particles' Gaussian; expectation: one "
        "particle, the members' mean",
    )
    particles: int = Field(0, ge=0, le=100_000, description="a sequence; 0: one a member")
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
        0,
        ge=0,
        le=100_000,
        description="action sequences of a learned policy that compete, if there is one",
    )
    precision: Precision = Field(
        "auto",
        description="of the hidden layers: fp32, bf16, or auto: bf16 where it is faster here and "
        "predicts the same",
    )
    engine: EngineName = Field(
        "auto", description="auto: the compiled rollout where it can be used; torch: the reference"
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

    Attributes:
        engine: what carries the particles, and why, in words.
    """

    def __init__(
        self,
        world: WorldModel,
        task: Task,
        config: RolloutConfig | None = None,
        value: Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
    ) -> None:
        self._config = config = config or RolloutConfig()
        self._arguments = world, task, config, value, seed
        self._task = world.completed(task)
        self.policy, self.inverse = world.policy, world.inverse
        self._reward = given_reward(self._task)
        if value is None and self.policy is not None and config.terminal_value:
            value = self.policy.value
        self._value = value
        self._propagation, self.engine = choose(
            world.dynamics.elite(), config.propagation, config.precision, config.engine
        )
        self.model = self._propagation.model
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self._drawn: dict[int, Draws] = {}  # where there is nothing to draw, it is always the same
        # What adds up the returns by itself, and of what; None: the states are needed here.
        self._adder: tuple[NativePropagation, NativeTask] | None = None
        tables = NativeTask.of(self._task)
        states_wanted = value is not None or config.disagreement
        if isinstance(self._propagation, NativePropagation) and tables and not states_wanted:
            self._adder = self._propagation, tables

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

    def aim(self, targets: NDArray[np.float64]) -> None:
        """From now on rewards are for these targets of the task, [t]."""
        if isinstance(self._task.reward, TermReward):
            self._task.reward.targets.set(targets)

    def copy(self) -> Rollout:
        """Another that shares no weights with this one."""
        world, task, config, value, seed = self._arguments
        return Rollout(deepcopy(world), task, config, value, seed)

    def take(self, other: Rollout) -> None:
        """Takes over the weights of another of the same kind, into the memory of its own."""
        for mine, theirs in zip(self._weights(), other._weights(), strict=True):
            mine.copy_(theirs)

    def _weights(self) -> Iterator[Tensor]:
        parts = (self.model, self._task.reward, self._task.termination, self.policy)
        for part in parts:
            if isinstance(part, nn.Module):
                yield from part.parameters()
                yield from part.buffers()

    @torch.no_grad()
    def returns(self, state: Tensor, actions: Tensor) -> Tensor:
        """The return of each action sequence, [N]; one that is not finite counts as -inf.

        Args:
            state: the model state to start from, [x].
            actions: [N, H, m]; fastest where a transpose of memory [H, m, N].

        Raises:
            PlanningError: that is more than there can be memory for.
        """
        result = self._risk(self.particle_returns(state, actions))
        return result.nan_to_num(-math.inf, -math.inf, -math.inf)

    @torch.no_grad()
    def particle_returns(self, state: Tensor, actions: Tensor) -> Tensor:
        """The return of each particle of each action sequence, [P, N].

        Raises:
            PlanningError: that is more than there can be memory for.
        """
        draws = self._draw(actions.shape[1])
        samples, horizon, _ = actions.shape
        if samples * horizon * draws.particles > MOST_STEPS:
            raise PlanningError(
                f"{draws.particles} particles of {samples} sequences of {horizon} actions are more "
                f"than {MOST_STEPS:.0e} steps"
            )
        if self._adder is not None:
            native, tables = self._adder
            return native.returns(state, actions, draws, tables)
        states = self._propagation.states(state, actions, draws)
        before, after = states[:-1], states[1:]
        by_time = actions.transpose(0, 1)[:, None].expand(*after.shape[:3], -1)
        cost = None
        if self._config.disagreement:
            cost = self._config.disagreement * self._spread(after)
        total, lives = sum_of_rewards(self._task, before, by_time, after, cost)
        if self._value is not None:
            value = self._value(after[-1])
            total = total + (value if lives is None else torch.where(lives, value, 0.0))
        return total

    def _draw(self, horizon: int) -> Draws:
        config, model = self._config, self.model
        if horizon in self._drawn:
            return self._drawn[horizon]
        expectation = config.propagation == "expectation"
        particles = model.members if expectation else config.particles or model.members
        drawn = draw(
            model, config.propagation, horizon, particles, config.aleatoric, self.generator
        )
        if not drawn.random:
            self._drawn[horizon] = drawn
        return drawn

    def _spread(self, states: Tensor) -> Tensor:
        """How far apart the particles [H, P, N, n] of a sequence are, [H, 1, N]."""
        if states.shape[1] == 1:
            return states.new_zeros(())
        # Of a quaternion the four numbers are compared: its spread is about half a rotation's.
        scale = states.new_ones(states.shape[-1])
        if not self.model.geometry.difference_dim < self.model.state_dim:
            scale = self.model.delta_std
        return (states.std(1, keepdim=True) / scale).mean(-1)

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

    def profile(self, state: Tensor, actions: Tensor) -> dict[str, float]:
        """The part of `returns` that each phase takes in the library; they add up to 1.

        Raises:
            ValueError: no library adds up the returns of this rollout.
        """
        if self._adder is None:
            raise ValueError(f"there is no profile of {self.engine}")
        native, tables = self._adder
        return native.profile(state, actions, self._draw(actions.shape[1]), tables)

    @torch.no_grad()
    def proposals(self, state: Tensor, horizon: int) -> Tensor | None:
        """What the policy would do from a model state [x], with the members' mean: [K, H, m], the
        first without noise. None: there is no policy, or nothing is wanted of it."""
        count, policy, members = self._config.proposals, self.policy, self.model.members
        if policy is None or count == 0:
            return None
        shape, generator = (horizon, count, policy.action_dim), self.generator
        noise = torch.randn(shape, generator=generator, device=self.device)
        noise[:, 0] = 0.0
        now, actions = state.expand(count, -1), []
        for each in noise:
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
        states, returns = self.trajectories(state, actions[None])
        return states[0], float(returns[0])

    @torch.no_grad()
    def trajectories(self, state: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """The states along each of K action sequences, [K, H + 1, n], and their returns, [K], means
        over members.

        Args:
            state: model state, [x].
            actions: [K, H, m].
        """
        n, members, count = self.model.state_dim, self.model.members, len(actions)
        states = state.expand(members, count, -1)
        result, total = [state[:n].expand(count, -1)], state.new_zeros(count)
        for action in actions.unbind(1):
            action = action.expand(members, count, -1)
            before, states = states, self.model.predict(states, action)
            result.append(states.mean(0)[:, :n])
            total = total + self._reward(before[..., :n], action, states[..., :n]).mean(0)
        return torch.stack(result, 1), total


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
