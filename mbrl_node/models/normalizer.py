"""Scaling of data to zero mean and unit variance, as a part of a model."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
        mean, spread = data.mean(0), data.std(0, correction=0)
        # Float rounding of a large constant is no variation either.
        varies = spread > 1e-6 * mean.abs().clamp(min=1.0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(varies, spread, torch.ones_like(spread)))
        self.mean[self._known], self.std[self._known] = 0.0, 1.0

    def forward(self, data: Tensor) -> Tensor:
        """Normalised, [..., size]."""
        return (data - self.mean) / self.std

    def inverse(self, normalized: Tensor) -> Tensor:
        """In units of the data again, [..., size]."""
        return normalized * self.std + self.mean
