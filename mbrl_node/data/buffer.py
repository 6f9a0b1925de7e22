"""Transitions in memory, as arrays that a trainer can index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from mbrl_node.data.transition import Transition


@dataclass(frozen=True)
class Batch:
    """Transitions as float32 tensors with the same leading shape [...].

    `state` is what a model with history looks at (see `DynamicsModel`), [..., x]; its first n
    numbers are the state.
    """

    state: Tensor
    action: Tensor  # [..., m]
    next_state: Tensor  # [..., n]
    reward: Tensor  # [...]
    terminated: Tensor  # [...], 0 or 1

    def __getitem__(self, index: Tensor | slice) -> Self:
        """The rows that an index, of any shape, picks."""
        return type(self)(*(getattr(self, f.name)[index] for f in fields(self)))

    def __len__(self) -> int:
        return len(self.state)

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return type(self)(*(getattr(self, f.name).to(device) for f in fields(self)))


class ReplayBuffer:
    """Growing arrays of transitions, which know which of them followed each other."""

    def __init__(self, state_dim: int, action_dim: int) -> None:
        self._dims = (state_dim, action_dim)
        self._size = 0
        self._data = torch.empty(1024, 2 * state_dim + action_dim + 2)
        self._first = torch.empty(1024, dtype=torch.long)
        self._episode = torch.empty(1024, dtype=torch.long)
        self._last: Transition | None = None

    def __len__(self) -> int:
        return self._size

    def add(self, transitions: Sequence[Transition]) -> None:
        """Appends transitions in the order given."""
        while self._size + len(transitions) > len(self._data):
            self._data = torch.cat((self._data, torch.empty_like(self._data)))
            self._first = torch.cat((self._first, torch.empty_like(self._first)))
            self._episode = torch.cat((self._episode, torch.empty_like(self._episode)))
        for t in transitions:
            row = [*t.state, *t.action, *t.next_state, t.reward, t.terminated]
            self._data[self._size] = torch.tensor(row, dtype=torch.float32)
            at, last = self._size, self._last
            same = last is not None and (last.session, last.episode) == (t.session, t.episode)
            follows = same and last is not None and t.sequence == last.sequence + 1
            self._first[at] = self._first[at - 1] if follows else at
            self._episode[at] = self._episode[at - 1] if same else at
            self._last = t
            self._size += 1

    def first(self) -> Tensor:
        """For each row the row at which its unbroken sequence of steps began, [N]."""
        return self._first[: self._size]

    def episode(self) -> Tensor:
        """For each row the row at which its episode began, whether steps are missing since or not,
        [N]."""
        return self._episode[: self._size]

    def batch(self, history: int = 1, start: int = 0) -> Batch:
        """All rows from `start` on; views of the buffer where `history` is 1."""
        # Once, and before the arrays: another thread may be adding.
        (n, m), size = self._dims, self._size
        rows = self._data[start:size]
        state, action, next_state, reward, terminated = rows.split((n, m, n, 1, 1), dim=1)
        if history > 1:
            index = torch.arange(start, size)
            parts = [state]
            for back in range(1, history):
                before = torch.maximum(index - back, self._first[index])
                there = (index - back >= self._first[index])[:, None]
                # Before a sequence began the robot is taken to have stood, see `model_state`.
                parts += [self._data[before, :n], self._data[before, n : n + m] * there]
            state = torch.cat(parts, 1)
        return Batch(state, action, next_state, reward[:, 0], terminated[:, 0])
