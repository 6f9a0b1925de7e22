"""How states are shown to a network and how they change: angles turn, orientations rotate, the
rest is added."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mbrl_node.spec.system import System
from mbrl_node.spec.terms import wrap


class StateGeometry(nn.Module):
    """Features and differences of states [..., n].

    A difference has one number a state field, but three (a rotation vector, rad, in the body's
    frame) for the four of a quaternion: `difference_dim`.

    Args:
        inputs: names of the fields that features show; None: those that the system marks as input
            of a dynamics model.
    """

    _linear: Tensor
    _angles: Tensor
    _wrapped: Tensor
    _plain: Tensor
    _quaternions: Tensor

    def __init__(self, system: System, inputs: tuple[str, ...] | None = None) -> None:
        super().__init__()
        angle = torch.as_tensor(system.angle_mask)
        inputs = system.model_inputs if inputs is None else inputs
        seen = torch.tensor([name in inputs for name in system.state_names])
        quaternions = torch.tensor(system.quaternions, dtype=torch.long).reshape(-1, 4)
        turns = torch.zeros(system.state_dim, dtype=torch.bool)
        turns[quaternions.flatten()] = True
        constants = {
            # Columns rather than masks: gathering by index costs one kernel.
            "_linear": torch.nonzero(seen & ~angle & ~turns).flatten(),
            "_angles": torch.nonzero(seen & angle).flatten(),
            "_plain": torch.nonzero(~turns).flatten(),
            "_wrapped": torch.nonzero(angle[~turns]).flatten(),
            "_quaternions": quaternions,
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        self._rotates = len(quaternions) > 0
        self.feature_dim = len(self._linear) + 2 * len(self._angles) + 6 * len(quaternions)
        self.difference_dim = len(self._plain) + 3 * len(quaternions)
        names = [system.state_names[i] for i in self._plain.tolist()]
        for q in system.quaternions:
            base = system.state_names[q[0]]
            names += [f"{base}_rotation_{axis}" for axis in "xyz"]
        self.difference_names = tuple(names)

    @property
    def bounded_features(self) -> slice:
        """The features that lie within -1 and 1 whatever the state."""
        return slice(len(self._linear), self.feature_dim)

    @property
    def columns(self) -> tuple[Tensor, Tensor, Tensor]:
        """The state columns of linear fields, angles and quaternions [..., 4] that features show,
        in their order."""
        return self._linear, self._angles, self._quaternions

    @property
    def plain(self) -> Tensor:
        """The state columns whose change is added, the first of a difference, in their order."""
        return self._plain

    def features(self, state: Tensor) -> Tensor:
        """What a network looks at, [..., feature_dim].

        Linear fields, sines and cosines of angles, and two columns of each orientation's rotation
        matrix: unlike the quaternion they are continuous (arXiv 1812.07035).
        """
        angles = state[..., self._angles]
        parts = [state[..., self._linear], angles.sin(), angles.cos()]
        for columns in self._quaternions:
            x, y, z, w = normalize(state[..., columns]).unbind(-1)
            first = (1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w))
            second = (2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w))
            parts.append(torch.stack((*first, *second), -1))
        return torch.cat(parts, -1)

    def difference(self, state: Tensor, next_state: Tensor) -> Tensor:
        """What takes `state` to `next_state`, [..., difference_dim]; angles the short way round."""
        delta = (next_state - state)[..., self._plain] if self._rotates else next_state - state
        if len(self._wrapped):
            delta[..., self._wrapped] = wrap(delta[..., self._wrapped])
        if not self._rotates:
            return delta
        rotations = [
            rotation_vector(multiply(conjugate(a), b))
            for columns in self._quaternions
            for a, b in [(normalize(state[..., columns]), normalize(next_state[..., columns]))]
        ]
        return torch.cat((delta, *rotations), -1)

    def integrate(self, state: Tensor, difference: Tensor) -> Tensor:
        """The state that a difference leads to; the inverse of `difference`. Quaternions come out
        with length 1."""
        if not self._rotates:
            return state + difference
        result = state.clone()
        plain = len(self._plain)
        result[..., self._plain] = state[..., self._plain] + difference[..., :plain]
        for k, columns in enumerate(self._quaternions):
            turn = quaternion(difference[..., plain + 3 * k : plain + 3 * k + 3])
            result[..., columns] = multiply(normalize(state[..., columns]), turn)
        return result


def normalize(q: Tensor) -> Tensor:
    """The quaternion [..., 4] with length 1."""
    length: Tensor = q.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    return q / length


def conjugate(q: Tensor) -> Tensor:
    """The inverse of a unit quaternion (x, y, z, w)."""
    return torch.cat((-q[..., :3], q[..., 3:]), -1)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """The Hamilton product of quaternions (x, y, z, w)."""
    av, aw, bv, bw = a[..., :3], a[..., 3:], b[..., :3], b[..., 3:]
    vector = aw * bv + bw * av + torch.linalg.cross(*torch.broadcast_tensors(av, bv))
    return torch.cat((vector, aw * bw - (av * bv).sum(-1, keepdim=True)), -1)


def rotation_vector(q: Tensor) -> Tensor:
    """The rotation vector [..., 3] in rad of a unit quaternion; at most pi long."""
    q = torch.where(q[..., 3:] < 0, -q, q)
    sine = q[..., :3].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, q[..., 3:])
    return q[..., :3] * torch.where(sine > 1e-6, angle / sine.clamp(min=1e-6), 2.0)


def quaternion(rotation: Tensor) -> Tensor:
    """The unit quaternion of a rotation vector [..., 3]."""
    angle = rotation.norm(dim=-1, keepdim=True)
    # sinc is sin(pi x) / (pi x): smooth at 0, where dividing by the angle is not.
    return torch.cat((rotation * 0.5 * torch.sinc(angle / (2 * torch.pi)), (angle / 2).cos()), -1)
