"""An ensemble of networks whose members are evaluated together, one batched product a layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Literal["silu", "relu", "tanh", "gelu", "leaky_relu", "elu"]
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "relu": F.relu,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
}


class Ensemble(nn.Module):
    """E independent networks, each giving the mean and, if probabilistic, the variance of a
    Gaussian (PETS, arXiv 1805.12114).

    The log-variance is kept between two learned bounds by softplus, as in appendix A.1 of that
    paper.
    """

    def __init__(
        self,
        members: int,
        inputs: int,
        outputs: int,
        hidden: Sequence[int],
        activation: Activation = "silu",
        probabilistic: bool = True,
    ) -> None:
        super().__init__()
        self.members, self.outputs, self.probabilistic = members, outputs, probabilistic
        self.activation, self._activation = activation, ACTIVATIONS[activation]
        sizes = [inputs, *hidden, outputs * (2 if probabilistic else 1)]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(sizes):
            weight = torch.empty(members, fan_in, fan_out)
            nn.init.trunc_normal_(weight, std=1.0 / math.sqrt(fan_in), a=-2.0, b=2.0)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(members, 1, fan_out)))
        if probabilistic:
            self.max_log_variance = nn.Parameter(torch.full((outputs,), 0.5))
            self.min_log_variance = nn.Parameter(torch.full((outputs,), -10.0))

    def round_hidden(self) -> None:
        """Keeps all layers but the first in bf16: half the memory, and fast products on a GPU. The
        inputs are still looked at in full, and the outputs come in fp32."""
        for parameters in (self.weights, self.biases):
            for k in range(1, len(parameters)):
                parameters[k] = nn.Parameter(parameters[k].detach().bfloat16(), False)

    def select(self, members: Tensor) -> None:
        """Keeps only these members, by index [K]."""
        for parameters in (self.weights, self.biases):
            for k, parameter in enumerate(parameters):
                parameters[k] = nn.Parameter(parameter.detach()[members].clone())
        self.members = len(members)

    def _features(self, x: Tensor) -> Tensor:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = self._activation(torch.baddbmm(bias, x.to(weight.dtype), weight))
        return x.to(self.weights[-1].dtype)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each [E, B, outputs], for inputs [E, B, inputs].

        The log-variance of a deterministic ensemble is -inf: it knows of no noise.
        """
        if not self.probabilistic:
            mean = self.mean(x)
            return mean, torch.full_like(mean, -math.inf)
        mean, raw = self._raw(x)
        return mean, self._bounded(raw, self.max_log_variance, self.min_log_variance)

    def _raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance before it is bounded."""
        out = torch.baddbmm(self.biases[-1], self._features(x), self.weights[-1])
        mean, raw = out.float().split(self.outputs, dim=-1)
        return mean, raw

    @staticmethod
    def _bounded(log_variance: Tensor, upper: Tensor, lower: Tensor) -> Tensor:
        log_variance = upper - F.softplus(upper - log_variance)
        return lower + F.softplus(log_variance - lower)

    def mean(self, x: Tensor) -> Tensor:
        """Only the mean, [E, B, outputs]: what most rollouts need, at half the last layer's
        cost."""
        weight, bias = self.weights[-1], self.biases[-1]
        mean = torch.baddbmm(
            bias[..., : self.outputs], self._features(x), weight[..., : self.outputs]
        )
        return mean.float()

    def loss(self, x: Tensor, target: Tensor, beta: float = 0.0) -> Tensor:
        """What training minimises, of each member and row, [E, B]; see also `bound_loss`.

        Gaussian negative log-likelihood (without its constant) of a probabilistic ensemble,
        squared error of a deterministic one; means over the outputs.

        Args:
            x: [E, B, inputs].
            target: [E, B, outputs].
            beta: each value is weighted by its predicted variance to this power, held constant
                (beta-NLL of arXiv 2203.09168). With 0, what is predicted well already takes nearly
                all of the gradient, and the mean is learned slowly where the robot has just begun
                to go; with 1 the mean is learned as by squared error.
        """
        if not self.probabilistic:
            return (self.mean(x) - target).square().mean(-1)
        mean, raw = self._raw(x)
        error = (mean - target).square()
        upper, lower = self.max_log_variance, self.min_log_variance
        log_variance = self._bounded(raw, upper.detach(), lower.detach())
        nll = error * torch.exp(-log_variance) + log_variance
        if beta:
            nll = nll * torch.exp(beta * log_variance.detach())
        # The bounds have the gradient of the plain likelihood whatever beta is: weighted, it would
        # not hold where variances are small against `bound_loss`, which would close them on one
        # constant. Only the gradient is added, the value is none.
        log_variance = self._bounded(raw.detach(), upper, lower)
        plain = error.detach() * torch.exp(-log_variance) + log_variance
        result: Tensor = (nll + plain - plain.detach()).mean(-1)
        return result

    def bound_loss(self) -> Tensor:
        """The pull of the bounds of the log-variance towards each other, a scalar, to be added to
        the sum of the members' losses: a variance at a bound is off by one percent for it."""
        if not self.probabilistic:
            return torch.zeros((), device=self.weights[0].device)
        gap = (self.max_log_variance - self.min_log_variance).mean()
        result: Tensor = 0.01 * self.members * gap
        return result
