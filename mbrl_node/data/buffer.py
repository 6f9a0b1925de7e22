"""Transitions in memory, as arrays that a trainer can index."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl_node.data.transition import Transition


class ReplayBuffer:
    """Growing float32 arrays of states [N, n], actions [N, m] and next states [N, n]."""

    def __init__(self, state_dim: int, action_dim: int) -> None:
        self._dims = (state_dim, action_dim)
        self._size = 0
        self._data = torch.empty(1024, 2 * state_dim + action_dim)

    def __len__(self) -> int:
        return self._size

    def add(self, transitions: list[Transition]) -> None:
        """Appends transitions in the order given."""
        while self._size + len(transitions) > len(self._data):
            self._data = torch.cat((self._data, torch.empty_like(self._data)))
        for t in transitions:
            row = [*t.state, *t.action, *t.next_state]
            self._data[self._size] = torch.tensor(row, dtype=torch.float32)
            self._size += 1

    def tensors(self, start: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """State, action and next state from `start` on, as views."""
        n, m = self._dims
        state, action, next_state = self._data[start : self._size].split((n, m, n), dim=1)
        return state, action, next_state
