"""An actor and a critic: what a short horizon does not see, and an action in microseconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from mbrl_node.models.geometry import StateGeometry
from mbrl_node.models.normalizer import Normalizer, action_range
from mbrl_node.spec.system import System

Array = NDArray[np.float64]


class PolicyConfig(BaseModel):
    """The shape of an actor and a critic, and how they are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: bool = Field(False, description="train an actor and a critic on imagined rollouts")
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (64, 64), description="width of each hidden layer, of both"
    )
    horizon: float = Field(1.2, gt=0, description="length of an imagined rollout, s")
    discount_time: float = Field(
        2.0, gt=0, description="a reward that is this far ahead counts 1/e of one now, s"
    )
    batch_size: int = Field(64, ge=1, description="imagined rollouts a gradient step")
    gradient_steps: int = Field(20, ge=1, description="gradient steps an update")
    learning_rate: float = Field(3e-3, gt=0, description="of Adam, for both")
    noise: float = Field(
        0.1,
        ge=0,
        description="standard deviation of imagined and proposed actions around the actor's, as a "
        "part of each action's half range",
    )


class Policy(nn.Module):
    """The action a(s) and the discounted value V(s) of acting so from a state on.

    Both look at the present state only, all of its fields: of a model with history they see the
    first n numbers of the model state. Shapes: x >= n numbers of a model state, m of an action.
    """

    value_mean: Tensor
    value_std: Tensor
    centre: Tensor
    half_range: Tensor

    def __init__(self, system: System, config: PolicyConfig | None = None) -> None:
        super().__init__()
        self.config = config or PolicyConfig()
        self.discount = math.exp(-system.dt / self.config.discount_time)
        self.horizon = max(1, round(self.config.horizon / system.dt))  # control periods
        self.state_dim, self.action_dim = system.state_dim, system.action_dim
        self.geometry = StateGeometry(system, system.state_names)
        features = self.geometry.feature_dim
        self.normalizer = Normalizer(features, self.geometry.bounded_features)
        self.actor = network((features, *self.config.hidden, self.action_dim), nn.SiLU)
        # Imagined states go farther than data, and what a value is learned from is values there: it
        # must not grow with the distance.
        self.critic = network((features, *self.config.hidden, 1), nn.Tanh)
        centre, half_range = action_range(system)
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer("half_range", half_range, persistent=False)
        self.register_buffer("value_mean", torch.zeros(()))
        self.register_buffer("value_std", torch.ones(()))

    def _inputs(self, state: Tensor) -> Tensor:
        inputs: Tensor = self.normalizer(self.geometry.features(state[..., : self.state_dim]))
        return inputs

    def act(self, state: Tensor, noise: Tensor | None = None) -> Tensor:
        """The actions [..., m] in model states [..., x], within their bounds.

        Args:
            noise: of unit variance, scaled as configured and added, [..., m].
        """
        action: Tensor = torch.tanh(self.actor(self._inputs(state)))
        if noise is not None:
            action = (action + self.config.noise * noise).clamp(-1.0, 1.0)
        return self.centre + self.half_range * action

    def value(self, state: Tensor) -> Tensor:
        """The discounted sum of the rewards to come, [...], from model states [..., x]; NaN for one
        that is not finite."""
        value: Tensor = self.critic(self._inputs(state))[..., 0]
        # A field that the network gives no weight would hide that it is not finite.
        return self.value_mean + self.value_std * value + 0.0 * state.sum(-1)

    def fit_normalizer(self, state: Tensor) -> None:
        """Sets the scale of the inputs from model states [B, x]."""
        self.normalizer.fit(self.geometry.features(state[..., : self.state_dim]))

    @torch.no_grad()
    def rescale(self, returns: Tensor) -> None:
        """Sets the scale of values from returns [...]; those that are not finite do not count.

        The values stay as they are: the critic's last layer makes up for it (Pop-Art, arXiv
        1602.07714).
        """
        returns = returns[torch.isfinite(returns)]
        if len(returns) == 0:
            return
        mean, std = returns.mean(), returns.std(correction=0)
        std = torch.where(std > 1e-6 * torch.clamp(mean.abs(), min=1.0), std, 1.0)
        last = self.critic[-1]
        assert isinstance(last, nn.Linear)
        last.weight.mul_(self.value_std / std)
        last.bias.mul_(self.value_std).add_(self.value_mean - mean).div_(std)
        self.value_mean.copy_(mean)
        self.value_std.copy_(std)


class Actor:
    """A copy of a policy's actor for one state at a time, in numpy: of the 200 µs that torch takes
    for so small a network nearly all is spent between its operations.

    The normalisation is a part of the first layer.
    """

    def __init__(self, policy: Policy) -> None:
        linear, angles, quaternions = (c.cpu().numpy() for c in policy.geometry.columns)
        self._linear, self._angles, self._quaternions = linear, angles, quaternions
        layers = [layer for layer in policy.actor if isinstance(layer, nn.Linear)]
        arrays = [(_array(layer.weight).T, _array(layer.bias)) for layer in layers]
        weight, bias = arrays[0]
        mean, std = _array(policy.normalizer.mean), _array(policy.normalizer.std)
        weight = weight / std[:, None]
        arrays[0] = (weight, bias - mean @ weight)
        self._hidden, self._last = arrays[:-1], arrays[-1]
        self._centre, self._half_range = _array(policy.centre), _array(policy.half_range)

    def __call__(self, state: Array) -> Array:
        """The action [m] in a state [n], that of `Policy.act`."""
        angles = state[self._angles]
        x = np.concatenate((state[self._linear], np.sin(angles), np.cos(angles)))
        for columns in self._quaternions:
            x = np.concatenate((x, _rotation(state[columns])))
        for weight, bias in self._hidden:
            x = x @ weight + bias
            x = x * (0.5 + 0.5 * np.tanh(0.5 * x))  # SiLU
        weight, bias = self._last
        action: Array = self._centre + self._half_range * np.tanh(x @ weight + bias)
        return action


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy().astype(np.float64)
    return array


def _rotation(quaternion: Array) -> Array:
    """The first two columns of the rotation matrix, as in `StateGeometry.features`."""
    x, y, z, w = quaternion / max(float(np.linalg.norm(quaternion)), 1e-9)
    first = (1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w))
    second = (2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w))
    return np.array((*first, *second))


def network(sizes: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    """Linear layers with activations between them; it gives zeros until it is trained."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    last = layers[-2]
    nn.init.zeros_(last.weight)  # type: ignore[arg-type]
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers[:-1])
