"""Learned reward and termination, for tasks that are not given as formulas."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_node.models.ensemble import Ensemble
from mbrl_node.models.geometry import StateGeometry
from mbrl_node.models.normalizer import Normalizer, action_range
from mbrl_node.spec.system import System

HIDDEN = (64, 64)


class RewardModel(nn.Module):
    """The reward r(s, a, s') learned from what the environment paid. Usable as a RewardFunction.

    Shapes: n state and m action fields.
    """

    _centre: Tensor
    _half_range: Tensor

    def __init__(self, system: System) -> None:
        super().__init__()
        self._geometry = StateGeometry(system)
        features = self._geometry.feature_dim
        self.net = Ensemble(1, 2 * features + system.action_dim, 1, HIDDEN, probabilistic=False)
        self._features = Normalizer(features, self._geometry.bounded_features)
        self._rewards = Normalizer(1)
        centre, half_range = action_range(system)
        self.register_buffer("_centre", centre)
        self.register_buffer("_half_range", half_range)

    def fit_normalizer(self, state: Tensor, reward: Tensor) -> None:
        """Takes means and standard deviations from states [B, n] and rewards [B]."""
        self._features.fit(self._geometry.features(state))
        self._rewards.fit(reward[:, None])

    def _normalized(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        before, after = (self._features(self._geometry.features(s)) for s in (state, next_state))
        x = torch.cat((before, (action - self._centre) / self._half_range, after), -1)
        return self.net.mean(x.flatten(0, -2)[None])[0].view(*x.shape[:-1], 1)

    def forward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """The predicted reward, [...], for states [..., n] and actions [..., m]."""
        return self._rewards.inverse(self._normalized(state, action, next_state))[..., 0]

    def loss(self, state: Tensor, action: Tensor, next_state: Tensor, reward: Tensor) -> Tensor:
        """Mean squared error over the rewards' variance, a scalar."""
        target = self._rewards(reward[..., None])
        return F.mse_loss(self._normalized(state, action, next_state), target)


class TerminationModel(nn.Module):
    """Whether a state ends the episode, learned from states that did. Usable as a
    TerminationFunction."""

    _seen: Tensor

    def __init__(self, system: System) -> None:
        super().__init__()
        self._geometry = StateGeometry(system)
        inputs = self._geometry.feature_dim
        self.net = Ensemble(1, inputs, 1, HIDDEN, probabilistic=False)
        self._features = Normalizer(inputs, self._geometry.bounded_features)
        # Until an end is seen, nothing is known of ends: a network would say anything off the data.
        self.register_buffer("_seen", torch.tensor(False))

    def fit_normalizer(self, next_state: Tensor, terminated: Tensor) -> None:
        """Takes means and standard deviations from states [B, n], and whether any ended [B]."""
        self._features.fit(self._geometry.features(next_state))
        self._seen.copy_(terminated.any())

    def logit(self, next_state: Tensor) -> Tensor:
        """Log-odds of the end, [...], for states [..., n]."""
        x = self._features(self._geometry.features(next_state))
        return self.net.mean(x.flatten(0, -2)[None])[0, :, 0].view(x.shape[:-1])

    def forward(self, next_state: Tensor) -> Tensor:
        """True where the end is likely, bool [...]; nowhere before any was seen."""
        return (self.logit(next_state) > 0.0) & self._seen

    def loss(self, next_state: Tensor, terminated: Tensor) -> Tensor:
        """Cross entropy; rare ends count up to ten times."""
        positive = terminated.mean().clamp(min=1e-3)
        weight = ((1 - positive) / positive).clamp(max=10.0)
        return F.binary_cross_entropy_with_logits(
            self.logit(next_state), terminated, pos_weight=weight
        )
