"""A whole plan on a GPU as one graph: its thousand small kernels are started by one call."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_node.planning.budget import Effort
from mbrl_node.planning.planner import NO_RETURN, Planner, Returns
from mbrl_node.planning.rollout import PlanningError, Rollout

# Runs a function once, and gives another that runs the same operations on the same memory again.
Record = Callable[[Callable[[], None], Sequence[torch.Generator]], Callable[[], None]]


def record(
    function: Callable[[], None], generators: Sequence[torch.Generator]
) -> Callable[[], None]:
    """As a CUDA graph (`torch.cuda.graph`)."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        function()  # what is made at the first call, such as workspaces, is no part of the graph
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        function()
    replay: Callable[[], None] = graph.replay
    return replay


def graphed(planner: Planner) -> Planner:
    """The planner as it is fastest where it lives: on a GPU in one graph."""
    return GraphedPlanner(planner) if planner.device.type == "cuda" else planner


@dataclass
class _Graph:
    """The memory that a recorded plan reads and writes."""

    rollout: Rollout  # a copy, whose weights are written over
    state: Tensor
    last_action: Tensor | None
    proposals: Tensor | None
    before: list[Tensor | None]  # what the planner remembers, in the order of its `remembers`
    plan: Tensor
    after: list[Tensor | None]
    top: Tensor  # the highest return of the worst iteration
    replay: Callable[[], None]
    loaded: Rollout  # whose weights are in `rollout`


class GraphedPlanner(Planner):
    """Plans as another planner does, in one graph.

    A graph is recorded for each kind of call (with and without a last action, so many proposals, so
    many samples); a newer model of the same shape needs no new one. With a time budget, samples are
    powers of two, so that there are few kinds. While actions are limited, which changes from plan
    to plan, there is no graph.

    Args:
        planner: on a GPU.
        recorder: stands for `record` in tests.
    """

    def __init__(self, planner: Planner, recorder: Record = record) -> None:
        self._planner, self._record = planner, recorder
        self.space, self.horizon, self.used = planner.space, planner.horizon, planner.effort
        self._graphs: dict[object, _Graph] = {}
        # A recorded plan may not look at the clock: its effort is chosen here.
        self._budget, planner.budget = planner.budget, None

    def reset(self) -> None:
        self._planner.reset()

    def resume(self, other: Planner) -> None:
        if isinstance(other, GraphedPlanner):
            self._planner.resume(other._planner)

    def shift(self, steps: int) -> None:
        self._planner.shift(steps)

    def limit(self, limits: Tensor | None) -> None:
        self._planner.limit(limits)

    @property
    def limited(self) -> bool:
        return self._planner.limited

    @torch.no_grad()
    def plan(
        self,
        rollout: Returns,
        state: Tensor,
        last_action: Tensor | None = None,
        proposals: Tensor | None = None,
    ) -> Tensor:
        assert isinstance(rollout, Rollout)
        planner = self._planner
        if self._budget:
            effort = self._budget.choose()
            samples = 2 ** int(math.log2(effort.samples))
            planner.effort = Effort(samples, effort.iterations)
        if self.limited:
            plan = planner.plan(rollout, state, last_action, proposals)
            self._note_effort()
            return plan
        before = [getattr(planner, name) for name in planner.remembers]
        shapes = [None if x is None else x.shape for x in (state, last_action, proposals, *before)]
        key = (planner.effort, *shapes)
        if key not in self._graphs:
            self._graphs[key] = self._recorded(rollout, state, last_action, proposals, before)
        graph = self._graphs[key]
        if graph.loaded is not rollout:
            graph.rollout.take(rollout)
            graph.loaded = rollout
        pairs = zip(
            (graph.state, graph.last_action, graph.proposals, *graph.before),
            (state, last_action, proposals, *before),
            strict=True,
        )
        for mine, given in pairs:
            if mine is not None and given is not None:
                mine.copy_(given)
        graph.replay()
        if float(graph.top) == -math.inf:
            raise PlanningError(NO_RETURN)
        for name, value in zip(planner.remembers, graph.after, strict=True):
            setattr(planner, name, None if value is None else value.clone())
        self._note_effort()
        return graph.plan.clone()

    def _note_effort(self) -> None:
        self.used = self._planner.effort
        if self._budget:
            self._budget.spent(self.used)

    def _recorded(
        self,
        rollout: Rollout,
        state: Tensor,
        last_action: Tensor | None,
        proposals: Tensor | None,
        before: list[Tensor | None],
    ) -> _Graph:
        planner = self._planner
        given = [None if x is None else x.clone() for x in (state, last_action, proposals, *before)]
        own, (now, last, extra, *memory) = rollout.copy(), given
        assert now is not None
        found: list[Tensor] = []

        def plan() -> None:
            for name, value in zip(planner.remembers, memory, strict=True):
                setattr(planner, name, value)
            planner.tops = []
            actions = planner.plan(own, now, last, extra)
            found[:] = [actions, torch.stack(planner.tops).min()]

        try:
            replay = self._record(plan, [planner.generator, own.generator])
            after = [getattr(planner, name) for name in planner.remembers]
        finally:
            planner.tops = None
            for name, value in zip(planner.remembers, before, strict=True):
                setattr(planner, name, value)
        return _Graph(own, now, last, extra, memory, found[0], after, found[1], replay, rollout)
