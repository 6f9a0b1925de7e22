"""How particles are carried through a learned model: the reference, in torch.

Every faster way (`native`, `cuda`) is tested against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mbrl_node.models import DynamicsModel

Propagation = Literal["tsinf", "ts1", "expectation", "moment_matching"]


@dataclass(frozen=True)
class Draws:
    """All that is random in a rollout of H steps and P particles.

    It is the same for every action sequence: what sets two of them apart is then the actions, not
    the luck of their particles (common random numbers; PEGASUS, Ng and Jordan 2000).
    """

    members: Tensor  # which one moves a particle at a step, int32 [H, P]
    random: bool  # False: there was nothing to draw
    noise: Tensor | None = None  # of the model, standard normal, [H, P, d]
    redraw: Tensor | None = None  # of moment matching: mean 0 and variance 1 over P, [H, P, n]

    @property
    def particles(self) -> int:
        return self.members.shape[1]


def draw(
    model: DynamicsModel,
    propagation: Propagation,
    horizon: int,
    particles: int,
    aleatoric: bool,
    generator: torch.Generator,
) -> Draws:
    """The random numbers of a rollout, where the generator is.

    At each step every member has as many particles as any other, or one more or less where the
    particles do not divide among them.
    """
    members, copies = model.members, -(-particles // model.members)
    here: dict[str, Any] = {"device": generator.device, "generator": generator}
    if propagation == "ts1":
        order = torch.rand(horizon, copies, members, **here).argsort(2)
    else:
        order = torch.arange(members, device=generator.device).expand(horizon, copies, -1)
    table = order.flatten(1)[:, :particles].int().contiguous()
    noise = redraw = None
    if aleatoric and propagation != "expectation" and model.net.probabilistic:
        size = model.geometry.difference_dim
        noise = torch.randn(horizon, particles, size, **here)
    if propagation == "moment_matching" and particles > 1:
        # Of few particles the variance would otherwise die out in some steps, and the mean walk
        # away.
        redraw = torch.randn(horizon, particles, model.state_dim, **here)
        redraw = (redraw - redraw.mean(1, keepdim=True)) / redraw.std(1, keepdim=True)
    random = propagation == "ts1" or noise is not None or redraw is not None
    return Draws(table, random, noise, redraw)


class TorchPropagation:
    """The reference.

    Shapes: E members, N action sequences, H steps, P particles; n numbers of a state and m of an
    action; x of a model state, d of a difference.
    """

    def __init__(self, model: DynamicsModel, propagation: Propagation) -> None:
        self.model, self._propagation = model, propagation

    def states(self, state: Tensor, actions: Tensor, draws: Draws) -> Tensor:
        """The states of all particles, [H + 1, P, N, n]; one particle, the members' mean, under
        "expectation".

        Args:
            state: the model state to start from, [x].
            actions: [N, H, m].
        """
        (samples, horizon, _), n = actions.shape, self.model.state_dim
        routes = Routes.of(draws.members, self.model.members)
        now = state.expand(draws.particles, samples, -1)
        shown = 1 if self._propagation == "expectation" else draws.particles
        states = state.new_empty(horizon + 1, shown, samples, n)
        states[0] = state[:n]
        for t in range(horizon):
            now = self._moved(now, actions[:, t], routes, draws, t)
            if self._propagation == "expectation":
                now = now.mean(0, keepdim=True).expand_as(now)
            elif draws.redraw is not None:
                present, noise = now[..., :n], draws.redraw[t, :, None]
                present = present.mean(0) + present.std(0) * noise
                now = torch.cat((present, now[..., n:]), -1)
            states[t + 1] = now[:shown, :, :n]
        return states

    def _moved(self, now: Tensor, action: Tensor, routes: Routes, draws: Draws, t: int) -> Tensor:
        """Every particle moved by its member, [P, N, x] -> [P, N, x]."""
        model, samples = self.model, now.shape[1]
        rows = routes.rows[t].flatten()
        batch = now[rows].view(model.members, -1, now.shape[-1])  # [E, C N, x]
        actions = action.repeat(len(rows), 1).view(model.members, -1, action.shape[-1])
        if draws.noise is None:
            moved = model.predict(batch, actions)
        else:
            noise = draws.noise[t][rows].repeat_interleave(samples, 0)
            moved = model.sample(batch, actions, noise.view(*batch.shape[:2], -1))
        return moved.view(len(rows), samples, -1)[routes.places[t]]


@dataclass(frozen=True)
class Routes:
    """How particles come to their members and back: particle `rows[t, e, c]` is number c of those
    of member e, and `places[t, p]` is where particle p stands in the flat [E C]."""

    rows: Tensor  # [H, E, C]
    places: Tensor  # [H, P]

    @classmethod
    def of(cls, members: Tensor, count: int) -> Routes:
        """From each particle's member at each step, [H, P], of `count` members. Where a member has
        fewer particles than another, particle 0 fills the row, and nobody looks at what becomes of
        it."""
        members = members.long()
        number = (members[..., None] == torch.arange(count, device=members.device)).cumsum(1)
        number = number.gather(2, members[..., None])[..., 0] - 1  # [H, P]
        horizon, particles = members.shape
        most = -(-particles // count)
        rows = members.new_zeros(horizon, count, most)
        steps = torch.arange(horizon, device=members.device)[:, None]
        rows[steps, members, number] = torch.arange(particles, device=members.device)
        return cls(rows, members * most + number)
