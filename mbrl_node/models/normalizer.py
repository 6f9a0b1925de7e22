"""Scaling of data to zero mean and unit variance, as a part of a model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mbrl_node.spec.system import System


def moments(data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and standard deviation of each column of rows [B, size], and the deviation up to which
    a column is constant: float rounding of a large number is no variation."""
    mean = data.mean(0)
    return mean, data.std(0, correction=0), 1e-6 * mean.abs().clamp(min=1.0)


def action_range(system: System) -> tuple[Tensor, Tensor]:
    """Centre and half of the range of each action, float32 [m] each."""
    low, high = torch.tensor(system.action_min), torch.tensor(system.action_max)
    return ((low + high) / 2).float(), ((high - low) / 2).float()


class Normalizer(nn.Module):
    """Means and standard deviations of `size` columns; saved with the model that has it.

    Args:
        known: columns that lie within -1 and 1 whatever the data, and are left as they are: early
            data covers a small part of that range, and its standard deviation would put the rest
            of it far outside of what the network has seen.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: int, known: slice | None = None) -> None:
        super().__init__()
        self._known = known or slice(0, 0)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def fit(self, data: Tensor) -> None:
        """Takes them from rows [B, size]. A column that hardly varies gets a standard deviation of
        1, so that the noise in it is not blown up."""
        mean, spread, least = moments(data)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(spread > least, spread, torch.ones_like(spread)))
        self.mean[self._known], self.std[self._known] = 0.0, 1.0

    def forward(self, data: Tensor) -> Tensor:
        """Normalised, [..., size]."""
        return (data - self.mean) / self.std

    def inverse(self, normalized: Tensor) -> Tensor:
        """In units of the data again, [..., size]."""
        return normalized * self.std + self.mean
