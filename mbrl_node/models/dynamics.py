"""The dynamics model s_{t+1} = f(s_t, a_t): normalisation, angles and the ensemble in one
module."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from mbrl_node.models.ensemble import GaussianEnsemble
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.terms import wrap


class ModelConfig(BaseModel):
    """The shape of a dynamics model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    members: int = Field(5, ge=1, description="networks in the ensemble")
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (96, 96), description="width of each hidden layer"
    )


class DynamicsModel(nn.Module):
    """A probabilistic ensemble that predicts the change of the state over one control period.

    Inputs and targets are normalised. Angles enter as sine and cosine and their change is wrapped.
    Fields that the spec marks `model_input: false` are predicted but not looked at.

    Shapes: E members, B states, n state fields, m action fields.
    """

    _linear: Tensor
    _angles: Tensor
    _wrapped: Tensor
    _known_mean: Tensor
    _known_std: Tensor
    input_mean: Tensor
    input_std: Tensor
    delta_mean: Tensor
    delta_std: Tensor

    def __init__(self, spec: RobotSpec, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        self.spec_hash, self.inputs = spec.hash, spec.model_inputs
        angle = torch.as_tensor(spec.angle_mask)
        seen = torch.tensor([name in spec.model_inputs for name in spec.state_names])
        low, high = torch.as_tensor(spec.action_min), torch.as_tensor(spec.action_max)
        turns = torch.ones(2 * int((angle & seen).sum()))  # sines and cosines
        constants = {
            # Columns rather than masks: gathering by index costs one kernel.
            "_linear": torch.nonzero(seen & ~angle).flatten(),
            "_angles": torch.nonzero(seen & angle).flatten(),
            "_wrapped": torch.nonzero(angle).flatten(),
            "_known_mean": torch.cat((0 * turns, ((low + high) / 2).float())),
            "_known_std": torch.cat((turns, ((high - low) / 2).float())),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        inputs = len(self._linear) + len(self._known_mean)
        self.net = GaussianEnsemble(self.config.members, inputs, spec.state_dim, self.config.hidden)
        self.register_buffer("input_mean", torch.zeros(inputs))
        self.register_buffer("input_std", torch.ones(inputs))
        self.register_buffer("delta_mean", torch.zeros(spec.state_dim))
        self.register_buffer("delta_std", torch.ones(spec.state_dim))

    def _inputs(self, state: Tensor, action: Tensor) -> Tensor:
        angles = state[..., self._angles]
        return torch.cat((state[..., self._linear], angles.sin(), angles.cos(), action), -1)

    def _delta(self, state: Tensor, next_state: Tensor) -> Tensor:
        delta = next_state - state
        delta[..., self._wrapped] = wrap(delta[..., self._wrapped])
        return delta

    def fit_normalizer(self, state: Tensor, action: Tensor, next_state: Tensor) -> None:
        """Sets means and standard deviations from transitions [B, ...].

        A dimension that hardly varies gets the standard deviation of one that does not matter (1),
        so that noise in it is not blown up.
        """
        pairs = (
            (self._inputs(state, action), self.input_mean, self.input_std),
            (self._delta(state, next_state), self.delta_mean, self.delta_std),
        )
        for data, mean, std in pairs:
            mean.copy_(data.mean(0))
            spread = data.std(0, correction=0)
            std.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))
        # What has a known range is scaled by it. Early data covers a small part of that range, and
        # its standard deviation would put the rest of it far outside of what the network has seen.
        known = slice(len(self._linear), None)
        self.input_mean[known], self.input_std[known] = self._known_mean, self._known_std

    def predict(self, state: Tensor, action: Tensor) -> Tensor:
        """Each member's mean next state, [E, B, n], for states [E, B, n] and actions [E, B, m]."""
        x = (self._inputs(state, action) - self.input_mean) / self.input_std
        return torch.addcmul(state + self.delta_mean, self.net.mean(x), self.delta_std)

    def loss(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Negative log-likelihood of transitions [E, B, ...], a scalar."""
        x = (self._inputs(state, action) - self.input_mean) / self.input_std
        target = (self._delta(state, next_state) - self.delta_mean) / self.delta_std
        return self.net.loss(x, target)

    @torch.no_grad()
    def error(self, state: Tensor, action: Tensor, next_state: Tensor) -> float:
        """RMSE of the ensemble mean's one-step prediction over the standard deviation of the
        change.

        0 is perfect; 1 is as good as always predicting the mean change.

        Args:
            state, action, next_state: [B, n], [B, m], [B, n].
        """
        members = self.config.members
        mean = self.predict(state.expand(members, -1, -1), action.expand(members, -1, -1)).mean(0)
        error = self._delta(mean, next_state) / self.delta_std
        return float(error.square().mean().sqrt())
