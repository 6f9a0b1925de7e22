"""The inverse dynamics model: which action takes the robot from one state to another?"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from mbrl_node.data import Batch
from mbrl_node.models.dynamics import DynamicsModel
from mbrl_node.models.ensemble import Ensemble
from mbrl_node.models.geometry import StateGeometry
from mbrl_node.models.normalizer import Normalizer, action_range
from mbrl_node.spec.system import System


class InverseConfig(BaseModel):
    """The shape of an inverse model, and how a learner trains it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: bool = Field(
        False, description="train an inverse model, for the inverse_dynamics tracker"
    )
    steps: int = Field(5, ge=1, description="control periods from one state to the other")
    members: int = Field(5, ge=1, description="networks in the ensemble")
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (96, 96), description="width of each hidden layer"
    )
    batch_size: int = Field(128, ge=1, description="rows a gradient step, of each member")
    gradient_steps: int = Field(40, ge=1, description="gradient steps an update")
    learning_rate: float = Field(2e-3, gt=0, description="of AdamW")


class InverseModel(nn.Module):
    """An ensemble that gives the action in a state after which, `steps` periods later, the robot is
    in another state.

    With one step this is inverse dynamics, (s, s') -> a: most states cannot be reached within one
    period, and what the model says for those means nothing. With several steps positions can be
    reached as well as velocities, and the mean over all ways that lead there is the gentlest: for a
    linear robot and normal actions it is the control of least energy. That is what tracks (as in
    goal-conditioned supervised learning, arXiv 1912.06088).

    Shapes: E members, n state and m action fields.
    """

    _centre: Tensor
    _half_range: Tensor

    def __init__(self, system: System, config: InverseConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or InverseConfig()
        self.steps, self._geometry = config.steps, StateGeometry(system)
        inputs = self._geometry.feature_dim + self._geometry.difference_dim
        self.net = Ensemble(config.members, inputs, system.action_dim, config.hidden)
        self._features = Normalizer(self._geometry.feature_dim, self._geometry.bounded_features)
        self._differences = Normalizer(self._geometry.difference_dim)
        centre, half_range = action_range(system)
        self.register_buffer("_centre", centre, persistent=False)
        self.register_buffer("_half_range", half_range, persistent=False)

    def rows(self, data: Batch, first: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """What `learning.fit` learns from: states, states `steps` later and actions, and `first` of
        those rows.

        Args:
            data: steps in the order in which they were taken, [N, ...].
            first: for each of them the row at which its unbroken sequence began, [N].
        """
        last = torch.arange(self.steps - 1, len(data))
        start = last - (self.steps - 1)
        unbroken = first[last] == first[start]
        start, last = start[unbroken], last[unbroken]
        n = data.next_state.shape[-1]
        return (data.state[start, :n], data.next_state[last], data.action[start]), first[start]

    def fit_normalizer(self, state: Tensor, next_state: Tensor, action: Tensor) -> None:
        """Takes means and standard deviations from rows [B, ...]."""
        self._features.fit(self._geometry.features(state))
        self._differences.fit(self._geometry.difference(state, next_state))

    def _inputs(self, state: Tensor, next_state: Tensor) -> Tensor:
        features = self._features(self._geometry.features(state))
        differences = self._differences(self._geometry.difference(state, next_state))
        return torch.cat((features, differences), -1)

    def loss(self, state: Tensor, next_state: Tensor, action: Tensor, beta: float = 0.0) -> Tensor:
        """What training minimises, of each member and row, [E, B], for rows [E, B, ...]."""
        target = (action - self._centre) / self._half_range
        return self.net.loss(self._inputs(state, next_state), target, beta)

    @torch.no_grad()
    def predict(self, state: Tensor, next_state: Tensor) -> tuple[Tensor, Tensor]:
        """The action and its standard deviation, each [..., m], for states [..., n].

        The deviation is large where several actions lead to the same state, where they hardly
        matter, and where the members disagree for lack of data.
        """
        x = self._inputs(state, next_state)
        rows = x.reshape(1, -1, x.shape[-1]).expand(self.net.members, -1, -1)
        mean, log_variance = self.net(rows)
        variance = log_variance.exp().mean(0) + mean.var(0, correction=0)
        shape = (*x.shape[:-1], -1)
        action = self._centre + self._half_range * mean.mean(0)
        return action.view(shape), (self._half_range * variance.sqrt()).view(shape)

    def error(self, state: Tensor, next_state: Tensor, action: Tensor) -> Tensor:
        """RMSE of the predicted actions [..., m] in half ranges of each action, [m]."""
        predicted, _ = self.predict(state, next_state)
        error = ((predicted - action) / self._half_range).flatten(0, -2)
        return error.square().mean(0).sqrt()


@torch.no_grad()
def inverse_consistency(
    dynamics: DynamicsModel, inverse: InverseModel, state: Tensor, action: Tensor
) -> Tensor:
    """A check on a forward model that needs no next states: are the actions that it was given to be
    found in what its members predict?

    Where the result is far above `InverseModel.error` on measured next states, the forward model
    does not have the effect of that action right. An inverse model that has not been trained on
    the same data makes it the stronger check.

    Args:
        inverse: of one step.
        state, action: that the robot was in and was sent, [B, x] (see `DynamicsModel`) and [B, m].

    Returns:
        RMSE of the recovered actions in half ranges of each action, [m].

    Raises:
        ValueError: the inverse model is not of one step.
    """
    if inverse.steps != 1:
        raise ValueError(f"the inverse model is of {inverse.steps} steps; the check needs one of 1")
    states, actions = (x.expand(dynamics.members, *x.shape) for x in (state, action))
    n = dynamics.state_dim
    predicted = dynamics.predict(states, actions)[..., :n]
    return inverse.error(states[..., :n], predicted, actions)
