"""An ensemble of probabilistic networks whose members are evaluated together, one batched product
a layer."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GaussianEnsemble(nn.Module):
    """E independent networks, each giving the mean and variance of a Gaussian (PETS, arXiv
    1805.12114).

    The log-variance is kept between two learned bounds by softplus, as in appendix A.1 of that
    paper.
    """

    def __init__(self, members: int, inputs: int, outputs: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.members, self.outputs = members, outputs
        sizes = [inputs, *hidden, 2 * outputs]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(sizes):
            weight = torch.empty(members, fan_in, fan_out)
            nn.init.trunc_normal_(weight, std=1.0 / math.sqrt(fan_in), a=-2.0, b=2.0)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(members, 1, fan_out)))
        self.max_log_variance = nn.Parameter(torch.full((outputs,), 0.5))
        self.min_log_variance = nn.Parameter(torch.full((outputs,), -10.0))

    def _features(self, x: Tensor) -> Tensor:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = F.silu(torch.baddbmm(bias, x, weight))
        return x

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each [E, B, outputs], for inputs [E, B, inputs]."""
        out = torch.baddbmm(self.biases[-1], self._features(x), self.weights[-1])
        mean, log_variance = out.split(self.outputs, dim=-1)
        log_variance = self.max_log_variance - F.softplus(self.max_log_variance - log_variance)
        log_variance = self.min_log_variance + F.softplus(log_variance - self.min_log_variance)
        return mean, log_variance

    def mean(self, x: Tensor) -> Tensor:
        """Only the mean, [E, B, outputs]: what a rollout needs, at half the last layer's cost."""
        weight, bias = self.weights[-1], self.biases[-1]
        return torch.baddbmm(
            bias[..., : self.outputs], self._features(x), weight[..., : self.outputs]
        )

    def loss(self, x: Tensor, target: Tensor) -> Tensor:
        """Gaussian negative log-likelihood, summed over members, plus the pull on the variance
        bounds.

        Each value is weighted by the variance predicted for it, held constant (beta-NLL of arXiv
        2203.09168 with beta 1). Without that, what is predicted well already takes nearly all of
        the gradient, and the mean is learned slowly where the robot has just begun to go.

        Args:
            x: [E, B, inputs].
            target: [E, B, outputs].
        """
        mean, log_variance = self(x)
        nll = (mean - target).square() * torch.exp(-log_variance) + log_variance
        nll = (nll * torch.exp(log_variance.detach())).mean((1, 2))
        bounds = self.max_log_variance.sum() - self.min_log_variance.sum()
        loss: Tensor = nll.sum() + 0.01 * bounds
        return loss
