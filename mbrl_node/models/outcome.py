"""Learned reward and termination, for tasks that are not given as formulas."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_node.models.ensemble import Ensemble
from mbrl_node.models.geometry import StateGeometry
from mbrl_node.spec.system import System

HIDDEN = (64, 64)


class RewardModel(nn.Module):
    """The reward r(s, a, s') learned from what the environment paid. Usable as a RewardFunction.

    Shapes: n state and m action fields.
    """

    mean: Tensor
    std: Tensor
    input_mean: Tensor
    input_std: Tensor

    def __init__(self, system: System) -> None:
        super().__init__()
        self._geometry = StateGeometry(system)
        inputs = 2 * self._geometry.feature_dim + system.action_dim
        self.net = Ensemble(1, inputs, 1, HIDDEN, probabilistic=False)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))
        self.register_buffer("input_mean", torch.zeros(inputs))
        self.register_buffer("input_std", torch.ones(inputs))

    def _inputs(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        features = self._geometry.features
        return torch.cat((features(state), action, features(next_state)), -1)

    def fit_normalizer(
        self, state: Tensor, action: Tensor, next_state: Tensor, reward: Tensor
    ) -> None:
        """Sets means and standard deviations from transitions [B, ...] and rewards [B]."""
        pairs = (
            (self._inputs(state, action, next_state), self.input_mean, self.input_std),
            (reward, self.mean, self.std),
        )
        for data, mean, std in pairs:
            mean.copy_(data.mean(0))
            spread = data.std(0, correction=0)
            std.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def _normalized(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        inputs = self._inputs(state, action, next_state)
        x = (inputs - self.input_mean) / self.input_std
        return self.net.mean(x.flatten(0, -2)[None])[0, :, 0].view(x.shape[:-1])

    def forward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """The predicted reward, [...], for states [..., n] and actions [..., m]."""
        return self._normalized(state, action, next_state) * self.std + self.mean

    def loss(self, state: Tensor, action: Tensor, next_state: Tensor, reward: Tensor) -> Tensor:
        """Mean squared error over the rewards' variance, a scalar."""
        target = (reward - self.mean) / self.std
        return F.mse_loss(self._normalized(state, action, next_state), target)


class TerminationModel(nn.Module):
    """Whether a state ends the episode, learned from states that did. Usable as a
    TerminationFunction."""

    mean: Tensor
    std: Tensor

    def __init__(self, system: System) -> None:
        super().__init__()
        self._geometry = StateGeometry(system)
        inputs = self._geometry.feature_dim
        self.net = Ensemble(1, inputs, 1, HIDDEN, probabilistic=False)
        with torch.no_grad():
            self.net.biases[-1].fill_(-4.0)  # until the opposite is seen, states end nothing
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("std", torch.ones(inputs))

    def fit_normalizer(self, next_state: Tensor) -> None:
        """Sets means and standard deviations from states [B, n]."""
        data = self._geometry.features(next_state)
        self.mean.copy_(data.mean(0))
        spread = data.std(0, correction=0)
        self.std.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def logit(self, next_state: Tensor) -> Tensor:
        """Log-odds of the end, [...], for states [..., n]."""
        x = (self._geometry.features(next_state) - self.mean) / self.std
        return self.net.mean(x.flatten(0, -2)[None])[0, :, 0].view(x.shape[:-1])

    def forward(self, next_state: Tensor) -> Tensor:
        """True where the end is likelier than not, bool [...]."""
        return self.logit(next_state) > 0.0

    def loss(self, next_state: Tensor, terminated: Tensor) -> Tensor:
        """Cross entropy; rare ends count up to ten times."""
        positive = terminated.mean().clamp(min=1e-3)
        weight = ((1 - positive) / positive).clamp(max=10.0)
        return F.binary_cross_entropy_with_logits(
            self.logit(next_state), terminated, pos_weight=weight
        )
