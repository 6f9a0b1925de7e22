"""The trajectory-based model: where a robot under a given control law is after any time, predicted
at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mbrl_node.models.ensemble import Ensemble
from mbrl_node.models.geometry import StateGeometry
from mbrl_node.models.normalizer import Normalizer
from mbrl_node.spec.system import System

TrajectoryRows = tuple[Tensor, Tensor, Tensor, Tensor]


class TrajectoryModel(nn.Module):
    """An ensemble that gives s_t from s_0, t and the parameters of the control law that acts
    (Lambert et al., arXiv 2012.09156).

    No prediction is made from a prediction, so that errors do not add up, and all times are
    predicted in one pass. It knows of no other law, and an angle that turns by more than half a
    turn within the horizon cannot be told from one that turns the other way.

    Shapes: E members, n state fields, p parameters.

    Args:
        low, high: the box of the parameters, [p].
        horizon: the longest time, in control periods.
    """

    _low: Tensor
    _high: Tensor

    def __init__(
        self,
        system: System,
        low: Tensor,
        high: Tensor,
        horizon: int,
        members: int = 5,
        hidden: tuple[int, ...] = (96, 96),
    ) -> None:
        super().__init__()
        if horizon < 1 or not bool((low < high).all()):
            raise ValueError("the horizon must be 1 or more, and each low below its high")
        # All fields: a law may look at one that the robot's own dynamics do not depend on.
        self.horizon, self._geometry = horizon, StateGeometry(system, system.state_names)
        features, outputs = self._geometry.feature_dim, self._geometry.difference_dim
        self.net = Ensemble(members, features + 1 + len(low), outputs, hidden)
        self._features = Normalizer(features, self._geometry.bounded_features)
        self._differences = Normalizer(outputs)
        self.register_buffer("_low", low.float())
        self.register_buffer("_high", high.float())

    @property
    def device(self) -> torch.device:
        return self._low.device

    def fit_normalizer(self, start: Tensor, steps: Tensor, parameters: Tensor, end: Tensor) -> None:
        """Takes means and standard deviations from rows [B, ...], see `trajectory_rows`."""
        self._features.fit(self._geometry.features(start))
        self._differences.fit(self._geometry.difference(start, end))

    def _inputs(self, start: Tensor, steps: Tensor, parameters: Tensor) -> Tensor:
        time = 2 * steps[..., None] / self.horizon - 1
        scaled = 2 * (parameters - self._low) / (self._high - self._low) - 1
        return torch.cat((self._features(self._geometry.features(start)), time, scaled), -1)

    def loss(
        self, start: Tensor, steps: Tensor, parameters: Tensor, end: Tensor, beta: float = 0.0
    ) -> Tensor:
        """What training minimises, of each member and row, [E, B], for rows [E, B, ...]."""
        target = self._differences(self._geometry.difference(start, end))
        return self.net.loss(self._inputs(start, steps, parameters), target, beta)

    @torch.no_grad()
    def predict(self, start: Tensor, steps: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Each member's mean state, [E, B, n], and the standard deviation of its difference (see
        `StateGeometry`), [E, B, d].

        Args:
            start: [B, n].
            steps: how many periods later, [B].
            parameters: [B, p].
        """
        x = self._inputs(start, steps, parameters)
        mean, log_variance = self.net(x.expand(self.net.members, -1, -1))
        state = self._geometry.integrate(
            start.expand(len(mean), -1, -1), self._differences.inverse(mean)
        )
        return state, torch.exp(0.5 * log_variance) * self._differences.std

    def trajectories(self, start: Tensor, parameters: Tensor) -> Tensor:
        """Each member's states from `start` [n] on under each of N parameters [N, p],
        [E, N, horizon + 1, n]; the first is `start`."""
        count, steps = len(parameters), torch.arange(1.0, self.horizon + 1, device=start.device)
        states, _ = self.predict(
            start.expand(count * self.horizon, -1),
            steps.repeat(count),
            parameters.repeat_interleave(self.horizon, 0),
        )
        states = states.view(len(states), count, self.horizon, -1)
        return torch.cat((start.expand(*states.shape[:2], 1, -1), states), 2)


def trajectory_rows(
    episodes: Sequence[tuple[Tensor, Tensor]], horizon: int, count: int, seed: int = 0
) -> tuple[TrajectoryRows, Tensor]:
    """Pairs of states of the same episode, at any start and any time up to the horizon later.

    All times are equally frequent, the longest too. Every other pair starts where the episode did,
    because a plan does: a law that works is soon where little happens, and nearly all other starts
    are there.

    Args:
        episodes: states [T + 1, n], T at least 1, and the parameters of the law that acted, [p].
        count: of pairs an episode.

    Returns:
        What `learning.fit` learns from: start states [B, n], times in periods [B], parameters
        [B, p] and end states [B, n]; and for each row the row at which its episode began, [B].
    """
    generator = torch.Generator().manual_seed(seed)
    parts: list[TrajectoryRows] = []
    for states, parameters in episodes:
        longest = min(horizon, len(states) - 1)
        steps = torch.randint(1, longest + 1, (count,), generator=generator)
        room = len(states) - steps
        start = (torch.rand(count, generator=generator) * room).long().minimum(room - 1)
        start[::2] = 0
        parts.append(
            (states[start], steps.float(), parameters.expand(count, -1), states[start + steps])
        )
    start, time, given, end = (torch.cat(column) for column in zip(*parts, strict=True))
    first = torch.arange(len(episodes)).repeat_interleave(count) * count
    return (start, time, given, end), first
