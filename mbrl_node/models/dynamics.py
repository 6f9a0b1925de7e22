"""The dynamics model s_{t+1} = f(s_t, a_t): normalisation, geometry, history and the ensemble in
one module."""

from __future__ import annotations

import copy
import math
from typing import Annotated, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from mbrl_node.models.ensemble import Activation, Ensemble
from mbrl_node.models.geometry import StateGeometry
from mbrl_node.models.normalizer import action_range, moments
from mbrl_node.spec.system import System


class ModelConfig(BaseModel):
    """The kind and shape of a dynamics model.

    D, P, DE and PE of arXiv 1805.12114 are one or several `members`, `probabilistic` or not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field("ensemble", description="ensemble, or a model registered as a plugin")
    members: int = Field(5, ge=1, description="networks in the ensemble")
    probabilistic: bool = Field(True, description="each predicts a variance, too")
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (96, 96), description="width of each hidden layer"
    )
    activation: Activation = Field("silu", description="silu, relu, tanh, gelu, leaky_relu, elu")
    elites: int = Field(
        0, ge=0, description="plan with this many members, the best on new data; 0: with all"
    )
    history: int = Field(
        1,
        ge=1,
        description="states and actions it looks at; 1: only the present ones; 2: those before, "
        "too, which tell of delays and of what is not measured",
    )


class DynamicsModel(nn.Module):
    """An ensemble of networks that predicts the change of the state over one control period.

    Inputs and targets are normalised. Angles enter as sine and cosine, orientations as rotation
    matrices; their change is the short way round. Fields that the system marks as no model input
    are predicted but not looked at.

    With a history of k, a *model state* [n + (k - 1) (n + m)] is the state, then for each of the
    k - 1 periods before, the newest first, the state and the action then; see `model_state`.
    With k = 1 it is the state.

    Shapes: E members, B rows, n state and m action fields, x the size of a model state, d of a
    difference (n less one for each quaternion).
    """

    _known_mean: Tensor
    _known_std: Tensor
    input_mean: Tensor
    input_std: Tensor
    delta_mean: Tensor
    delta_std: Tensor
    elites: Tensor

    def __init__(self, system: System, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        self.spec_hash, self.inputs = system.hash, system.model_inputs
        self.state_dim, self.action_dim = system.state_dim, system.action_dim
        self.geometry = StateGeometry(system)
        past = self.config.history - 1
        self.model_state_dim = self.state_dim + past * (self.state_dim + self.action_dim)
        centre, half_range = action_range(system)
        bounded = torch.zeros(self.geometry.feature_dim, dtype=torch.bool)
        bounded[self.geometry.bounded_features] = True
        # Mean and scale of inputs whose range is known beforehand; NaN: learned from data.
        state_mean = torch.where(bounded, 0.0, math.nan)
        state_std = torch.where(bounded, 1.0, math.nan)
        means = [state_mean, centre] * self.config.history
        stds = [state_std, half_range] * self.config.history
        self.register_buffer("_known_mean", torch.cat(means), persistent=False)
        self.register_buffer("_known_std", torch.cat(stds), persistent=False)
        inputs, outputs = len(self._known_mean), self.geometry.difference_dim
        self.net = Ensemble(
            self.config.members,
            inputs,
            outputs,
            self.config.hidden,
            self.config.activation,
            self.config.probabilistic,
        )
        # At first it looks at the present alone, and at the past as far as that turns out to help.
        with torch.no_grad():
            self.net.weights[0][:, len(state_mean) + len(centre) :].zero_()
        self.register_buffer("input_mean", torch.zeros(inputs))
        self.register_buffer("input_std", torch.ones(inputs))
        self.register_buffer("delta_mean", torch.zeros(outputs))
        self.register_buffer("delta_std", torch.ones(outputs))
        self.register_buffer("elites", torch.arange(self.config.members))

    @property
    def device(self) -> torch.device:
        return self.input_mean.device

    def elite(self) -> Self:
        """The model to plan with: itself, or a copy that has only the elite members."""
        wanted = self.config.elites
        if wanted == 0 or wanted >= self.net.members:
            return self
        chosen = copy.deepcopy(self)
        chosen.net.select(self.elites[:wanted])
        return chosen.requires_grad_(False)

    @property
    def members(self) -> int:
        """E: of all networks, or of those that `elite` left."""
        return self.net.members

    def _inputs(self, state: Tensor, action: Tensor) -> Tensor:
        """Model states [..., x] and actions [..., m] as a network sees them, normalised."""
        features = self.geometry.features
        n, m = self.state_dim, self.action_dim
        if self.config.history == 1:
            x = torch.cat((features(state), action), -1)
        else:
            parts = [features(state[..., :n]), action]
            for past in state[..., n:].split(n + m, -1):
                parts += [features(past[..., :n]), past[..., n:]]
            x = torch.cat(parts, -1)
        return (x - self.input_mean) / self.input_std

    def _advance(self, state: Tensor, action: Tensor, difference: Tensor) -> Tensor:
        """The model state one period on."""
        if self.config.history == 1:
            return self.geometry.integrate(state, difference)
        n, m = self.state_dim, self.action_dim
        now = self.geometry.integrate(state[..., :n], difference)
        return torch.cat((now, state[..., :n], action, state[..., n : -(n + m)]), -1)

    def fit_normalizer(self, state: Tensor, action: Tensor, next_state: Tensor) -> None:
        """Sets means and standard deviations from transitions: model states [B, x], actions
        [B, m], states [B, n].

        An input that hardly varies gets the standard deviation of one that does not matter (1), so
        that noise in it is not blown up. A change that is always the same keeps its small one: then
        the network cannot spoil its prediction. What has a known range is scaled by it: early data
        covers a small part of that range, and its standard deviation would put the rest of it far
        outside of what the network has seen.
        """
        self.input_mean.zero_()
        self.input_std.fill_(1.0)
        pairs = (
            (self._inputs(state, action), self.input_mean, self.input_std),
            (self.difference(state, next_state), self.delta_mean, self.delta_std),
        )
        for data, mean, std in pairs:
            centre, spread, least = moments(data)
            mean.copy_(centre)
            constant = least if std is self.delta_std else torch.ones_like(spread)
            std.copy_(torch.where(spread > least, spread, constant))
        known = ~self._known_mean.isnan()
        self.input_mean[known] = self._known_mean[known]
        self.input_std[known] = self._known_std[known]

    def difference(self, state: Tensor, next_state: Tensor) -> Tensor:
        """What takes model states [..., x] to next states [..., n], [..., d]."""
        n = self.state_dim
        return self.geometry.difference(state[..., :n], next_state[..., :n])

    def predict(self, state: Tensor, action: Tensor) -> Tensor:
        """Each member's mean next model state, [E, B, x], for [E, B, x] and actions [E, B, m]."""
        mean = self.net.mean(self._inputs(state, action))
        if self.config.history == 1 and not self.geometry.difference_dim < self.state_dim:
            return torch.addcmul(state + self.delta_mean, mean, self.delta_std)
        return self._advance(state, action, torch.addcmul(self.delta_mean, mean, self.delta_std))

    def distribution(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Each member's mean difference and its standard deviation, [E, B, d] each."""
        mean, log_variance = self.net(self._inputs(state, action))
        std = torch.exp(0.5 * log_variance) * self.delta_std
        return self.delta_mean + mean * self.delta_std, std

    def sample(self, state: Tensor, action: Tensor, noise: Tensor) -> Tensor:
        """Like `predict`, but drawn from each member's Gaussian.

        Args:
            noise: standard normal, [E, B, d].
        """
        mean, std = self.distribution(state, action)
        return self._advance(state, action, mean + std * noise)

    def loss(self, state: Tensor, action: Tensor, next_state: Tensor, beta: float = 0.0) -> Tensor:
        """What training minimises, of each member and row, [E, B]; see `Ensemble.loss`.

        Args:
            state, action, next_state: [E, B, x], [E, B, m], [E, B, n].
        """
        target = (self.difference(state, next_state) - self.delta_mean) / self.delta_std
        return self.net.loss(self._inputs(state, action), target, beta)

    @torch.no_grad()
    def scores(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Each member's mean loss on transitions [B, ...], [E]; lower is better, negative is
        usual."""
        state, action, next_state = (
            t.expand(self.members, *t.shape) for t in (state, action, next_state)
        )
        return self.loss(state, action, next_state).mean(1)

    @torch.no_grad()
    def square_errors(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Square of the error of the ensemble mean's one-step prediction, in variances of the
        change, mean over the fields, [B].

        Args:
            state, action, next_state: [B, x], [B, m], [B, n].
        """
        mean, _ = self.distribution(
            state.expand(self.members, -1, -1), action.expand(self.members, -1, -1)
        )
        error = (mean.mean(0) - self.difference(state, next_state)) / self.delta_std
        return error.square().mean(-1)

    def error(self, state: Tensor, action: Tensor, next_state: Tensor) -> float:
        """RMSE of the ensemble mean's one-step prediction over the standard deviation of the
        change, see `square_errors`.

        0 is perfect; 1 is as good as always predicting the mean change.
        """
        return float(self.square_errors(state, action, next_state).mean().sqrt())

    def model_state(self, states: Tensor, actions: Tensor) -> Tensor:
        """The model state [x] of the last of some states [T, n], between which there were actions
        [T - 1, m].

        Where there were fewer than the model looks back, the robot is taken to have been in the
        first state, with actions of zero; that is what it is trained on, too.
        """
        parts = [states[-1]]
        for back in range(1, self.config.history):
            if back < len(states):
                parts += [states[-1 - back], actions[-back]]
            else:
                parts += [states[0], actions.new_zeros(self.action_dim)]
        return torch.cat(parts)
