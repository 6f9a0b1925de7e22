"""What every sampling planner is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from mbrl_node.planning.budget import Budget, Effort
from mbrl_node.planning.rollout import PlanningError
from mbrl_node.spec.system import System

NO_RETURN = "the model predicts no finite return for any action sequence"
LONGEST_HORIZON = 1000  # control periods; there are matrices of that size squared
MOST_NUMBERS = 100_000_000  # in the samples of one iteration; a copy of these takes 400 MB


@dataclass(frozen=True)
class ActionSpace:
    """A box of actions, and how fast they may change.

    Args:
        low, high: the limits of each action, [m].
        max_step: the largest change from one control period to the next, [m]; inf: no limit.
    """

    low: Tensor
    high: Tensor
    max_step: Tensor = field(default_factory=lambda: torch.tensor(math.inf))

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_step", self.max_step.to(self.low).expand_as(self.low))

    @classmethod
    def of(cls, spec: System) -> ActionSpace:
        """The limits of a robot's actions."""
        limits = (spec.action_min, spec.action_max, spec.action_max_rate * spec.dt)
        return cls(*(torch.as_tensor(x, dtype=torch.float32) for x in limits))

    def to(self, device: torch.device) -> ActionSpace:
        """The same space on another device."""
        if self.low.device == device:
            return self
        return ActionSpace(*(x.to(device) for x in (self.low, self.high, self.max_step)))

    @cached_property
    def centre(self) -> Tensor:
        """[m]."""
        return (self.low + self.high) / 2

    @cached_property
    def half_range(self) -> Tensor:
        """[m]."""
        return (self.high - self.low) / 2

    @cached_property
    def rate_limited(self) -> bool:
        """Whether any action has a limit to its change."""
        return bool(torch.isfinite(self.max_step).any())

    @cached_property
    def _bounds(self) -> tuple[Tensor, Tensor] | tuple[float, float]:
        """Numbers where they are the same for all actions: several times as fast as tensors."""
        if (self.low == self.low[0]).all() and (self.high == self.high[0]).all():
            return float(self.low[0]), float(self.high[0])
        return self.low, self.high

    def clip(self, actions: Tensor) -> Tensor:
        """Actions [..., m] moved into the box."""
        return torch.clamp(actions, *self._bounds)

    def project(self, actions: Tensor, last_action: Tensor | None = None) -> Tensor:
        """Sequences [..., H, m] moved into the box and within the rate limits, as the safety filter
        would move them: one control period after the other, the box before the rate.

        Args:
            last_action: what was sent just before, [m]; None: the first action may be any.
        """
        return self.project_(actions.clone(), last_action)

    def project_(self, actions: Tensor, last_action: Tensor | None = None) -> Tensor:
        """As `project`, in place."""
        torch.clamp(actions, *self._bounds, out=actions)
        if not self.rate_limited:
            return actions
        rows = actions.movedim(-2, 0).unbind(0)
        step = self.max_step.expand_as(rows[0]).contiguous()
        if last_action is not None:
            low, high = last_action - self.max_step, last_action + self.max_step
            rows[0].copy_(self.clip(torch.clamp(rows[0], low, high)))
        for before, row in pairwise(rows):
            torch.clamp(row, before - step, before + step, out=row)
        return actions


class PlannerConfig(BaseModel):
    """Parameters that all planners have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon: float = Field(1.2, gt=0, allow_inf_nan=False, description="how far ahead it plans, s")
    samples: int = Field(120, ge=1, le=1_000_000, description="action sequences an iteration")
    budget: float = Field(
        0.0,
        ge=0,
        le=10_000,
        description="time a plan may take, ms: samples and iterations are chosen to fill it; 0: "
        "they are as configured",
    )


class Returns(Protocol):
    """What a planner needs of a `Rollout`."""

    def returns(self, state: Tensor, actions: Tensor) -> Tensor:
        """The return [N] of each action sequence [N, H, m] from `state` [n].

        The sequences of the planners here are a view of memory in the order [H, m, N].
        """


class Planner(ABC):
    """Chooses action sequences by sampling, and remembers the last for a warm start.

    It lives where its action space is: on the CPU, or on a GPU, where `GraphedPlanner` makes it
    fast. A plan is deterministic given the seed, the states and the models it has seen since
    `reset`, unless it has a time budget.

    Args:
        space: the actions to choose from.
        dt: the control period, s.

    Raises:
        ValueError: it would plan farther, or more, than there can be memory for.

    Attributes:
        used: what the last plan looked at.
        remembers: names of the tensors, or None, that a plan leaves for the next.
        effort: what a plan looks at without a budget.
        keep: how many of the best sequences that a plan looks at are to be kept, for pictures.
        kept: these, [K, H, m], and their returns, [K], best first, of the last iteration. None as
            long as none were asked for, and always where a GPU repeats recorded plans.
        tops: while a plan is recorded, to be repeated by a GPU: the highest return of each
            iteration. Then no number may be looked at, and no shape depend on one.
    """

    Config: ClassVar[type[PlannerConfig]] = PlannerConfig
    remembers: ClassVar[tuple[str, ...]] = ("_mean",)
    keep: int = 0
    kept: tuple[Tensor, Tensor] | None = None

    def __init__(self, config: PlannerConfig, space: ActionSpace, dt: float, seed: int = 0) -> None:
        self.space = self._whole = space
        self.horizon, self._seed = max(1, round(config.horizon / dt)), seed
        if self.horizon > LONGEST_HORIZON:
            raise ValueError(
                f"horizon: {config.horizon:g} s is {self.horizon} control periods of {dt:g} s; at "
                f"most {LONGEST_HORIZON} are possible"
            )
        if (numbers := config.samples * self.horizon * len(space.low)) > MOST_NUMBERS:
            raise ValueError(
                f"samples: {config.samples} sequences of {self.horizon} actions have {numbers:.3g} "
                f"numbers; at most {MOST_NUMBERS:.0e} are possible"
            )
        self.generator = torch.Generator(self.device)
        self.tops: list[Tensor] | None = None
        iterations: int | None = getattr(config, "iterations", None)
        self.used = self.effort = Effort(config.samples, iterations or 1)
        self.budget = (
            Budget(1e-3 * config.budget, self.effort, iterations is not None)
            if config.budget
            else None
        )
        self.reset()

    def reset(self) -> None:
        """Forgets everything that earlier plans left, the state of the random numbers too."""
        self.generator.manual_seed(self._seed)
        self._mean: Tensor | None = None

    def resume(self, other: Planner) -> None:
        """Takes over what another remembers, so that changed settings do not start from nothing.
        It does not where they plan differently far or differ in kind."""
        if type(other) is type(self) and other.horizon == self.horizon:
            for name in self.remembers:
                setattr(self, name, getattr(other, name))

    def limit(self, limits: Tensor | None) -> None:
        """Plans search between these limits from the next one on.

        Args:
            limits: the lowest and the highest action, [2, m]; None: those of the whole space.
        """
        self.space = self._whole
        if limits is not None:
            low, high = (self._whole.clip(x.to(self._whole.low)) for x in limits)
            self.space = replace(self._whole, low=low, high=high)

    @property
    def limited(self) -> bool:
        """Whether plans search a part of the space only."""
        return self.space is not self._whole

    @property
    def device(self) -> torch.device:
        """Where every tensor of a plan is."""
        return self.space.low.device

    def _iterations(self) -> Iterator[tuple[int, bool]]:
        """For each iteration of a plan: how many samples, and whether it is the last. The first is
        always made; with a budget, those are left out that there is no time for."""
        effort = self.budget.choose() if self.budget else self.effort
        for i in range(effort.iterations):
            last = i == effort.iterations - 1
            if i and self.budget and not self.budget.allows(effort.samples):
                break
            yield effort.samples, last
            self.used = Effort(effort.samples, i + 1)
        if self.budget:
            self.budget.spent(self.used)

    @abstractmethod
    def plan(
        self,
        rollout: Returns,
        state: Tensor,
        last_action: Tensor | None = None,
        proposals: Tensor | None = None,
    ) -> Tensor:
        """The best action sequence found from `state` [n], as [H, m] within the action space.

        Args:
            rollout: gives the return of each sample; one that is not finite is never chosen.
            last_action: sent just before the plan's first action, [m]. With it the first action too
                is within the rate limits.
            proposals: action sequences from elsewhere (a policy's, say), [K, H, m]; they are moved
                into the action space and evaluated beside the first samples.

        Raises:
            PlanningError: the model gives no finite return. What the planner remembers stays as it
                was.
        """

    def shift(self, steps: int) -> None:
        """Moves what is remembered `steps` control periods on, because that time has passed. What
        comes in at the end is the centre of the space. (The last action instead made no difference
        that could be measured on the swing-up of a cart-pole, and the centre forgets.)"""
        if self._mean is not None and steps > 0:
            self._mean = self._later(self._mean, steps, self.space.centre)

    def _later(self, actions: Tensor, steps: int, then: Tensor) -> Tensor:
        """Sequences [..., H, m] from `steps` control periods on, with `then` [m] at the end."""
        keep = actions[..., steps:, :]
        missing = self.horizon - keep.shape[-2]
        fill = then.expand(*actions.shape[:-2], missing, -1)
        return torch.cat((keep, fill), -2)

    def _warm_start(self) -> Tensor:
        """The sequence to search around, [H, m]: the last plan, shifted, or the centre. After a
        shift it may break a rate limit."""
        return self.space.centre.expand(self.horizon, -1) if self._mean is None else self._mean

    def _candidates(
        self,
        space: ActionSpace,
        samples: Tensor,
        last_action: Tensor | None,
        *others: Tensor | None,
    ) -> Tensor:
        """Samples and other sequences, all [..., H, m], together and within the action space. What
        is not a number in the others becomes the centre, as no weight, not even 0, would remove it
        from a mean. The samples' memory may become the result's."""
        more = [x.to(samples) for x in others if x is not None]
        if more:
            more = [torch.where(x == x, x, space.centre) for x in more]
            together = torch.cat([by_time(x) for x in (samples, *more)], -1)
            samples = together.permute(2, 0, 1)
        return space.project_(samples, last_action)

    def _returns(self, rollout: Returns, state: Tensor, actions: Tensor) -> Tensor:
        """The return of each sequence [N, H, m], -inf for each that is not finite, [N].

        Raises:
            PlanningError: none is finite.
        """
        returns = rollout.returns(state, actions).nan_to_num(-math.inf, -math.inf, -math.inf)
        if self.tops is not None:
            self.tops.append(returns.max())
        elif float(returns.max()) == -math.inf:
            raise PlanningError(NO_RETURN)
        elif self.keep:
            count = min(self.keep, int((returns > -math.inf).sum()))
            values, index = returns.topk(count)
            self.kept = actions.index_select(0, index), values
        return returns

    def _uniform(self, samples: int, steps: int, size: int) -> Tensor:
        """From [0, 1), [N, H, m]; a view of memory in the order [H, m, N]."""
        shape, generator = (steps, size, samples), self.generator
        return torch.rand(shape, generator=generator, device=self.device).permute(2, 0, 1)

    def _normal(self, samples: int, steps: int, size: int) -> Tensor:
        """Standard normal, [N, H, m]; a view of memory in the order [H, m, N]."""
        shape, generator = (steps, size, samples), self.generator
        return torch.randn(shape, generator=generator, device=self.device).permute(2, 0, 1)


def by_time(actions: Tensor) -> Tensor:
    """[N, H, m] as [H, m, N], which is the order of memory that is fastest."""
    return actions.permute(1, 2, 0)


def held(blocks: Tensor, hold: int, horizon: int) -> Tensor:
    """Each of [N, blocks, m] for `hold` control periods, [N, H, m]."""
    if hold == 1:
        return blocks
    steps = by_time(blocks).repeat_interleave(min(hold, horizon), dim=0)
    return steps[:horizon].permute(2, 0, 1)


def filtered(matrix: Tensor, noise: Tensor) -> Tensor:
    """Each action's noise [N, H, m] times a matrix [H, H]."""
    steps = by_time(noise)
    return (matrix @ steps.reshape(len(steps), -1)).view(steps.shape).permute(2, 0, 1)


def best(actions: Tensor, returns: Tensor, count: int, fill: bool = False) -> Tensor:
    """The elites: up to `count` of the sequences [N, H, m], those of the highest returns [N], best
    first; none whose return is -inf. A view of memory in the order [H, m, count].

    Args:
        fill: always gives so many: in the place of those that are lost, the others again.
    """
    values, index = returns.topk(min(count, len(returns)))
    if fill:
        known = (values > -math.inf).sum().clamp(min=1)
        index = index[torch.arange(len(index), device=index.device) % known]
    elif float(values[-1]) == -math.inf:
        index = index[values > -math.inf]
    return by_time(actions).index_select(2, index).permute(2, 0, 1)


def towards(
    elite: Tensor, mean: Tensor, std: Tensor, momentum: float, floor: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, [H, m] each, moved to those of the elites [K, H, m], the
    deviation at least `floor` [m]."""
    new_std, new_mean = torch.std_mean(elite, 0, correction=0)
    return new_mean.lerp(mean, momentum), new_std.lerp(std, momentum).maximum(floor)
