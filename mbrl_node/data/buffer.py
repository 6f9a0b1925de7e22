"""Transitions in memory, as arrays that a trainer can index."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl_node.data.records import Records, record_type


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
        self._last: Records = np.empty(0, record_type(state_dim, action_dim))

    def __len__(self) -> int:
        return self._size

    def add(self, records: Records) -> None:
        """Appends records in the order given."""
        if not len(records):
            return
        start, end = self._size, self._size + len(records)
        self._reserve(end)
        columns = [records[name] for name in ("state", "action", "next_state")]
        columns += [records[name][:, None] for name in ("reward", "terminated")]
        # A jump beyond what float32 holds becomes infinite, without a word.
        with np.errstate(over="ignore"):
            rows = np.concatenate(columns, 1, dtype=np.float32, casting="unsafe")
        self._data[start:end] = torch.from_numpy(rows)
        last = self._last if start else records[:1]
        session, episode, sequence = (
            np.append(last[name], records[name]) for name in ("session", "episode", "sequence")
        )
        same = (session[1:] == session[:-1]) & (episode[1:] == episode[:-1])
        follows = same & (sequence[1:] == sequence[:-1] + 1)
        for begun, goes_on in ((self._first, follows), (self._episode, same)):
            before = int(begun[start - 1]) if start else 0
            begun[start:end] = torch.from_numpy(_starts(goes_on, start, before))
        self._last, self._size = records[-1:].copy(), end  # last, when the rows are there

    def snapshot(self) -> ReplayBuffer:
        """The rows that there are now, for a thread beside one that adds more; nothing is copied,
        and nothing may be added to it."""
        return copy.copy(self)

    def _reserve(self, size: int) -> None:
        missing = size - len(self._data)
        if missing > 0:
            missing = max(missing, len(self._data))
            self._data = torch.cat((self._data, self._data.new_empty(missing, self._data.shape[1])))
            self._first = torch.cat((self._first, self._first.new_empty(missing)))
            self._episode = torch.cat((self._episode, self._episode.new_empty(missing)))

    def first(self) -> Tensor:
        """For each row the row at which its unbroken sequence of steps began, [N]."""
        return self._first[: self._size]

    def episode(self) -> Tensor:
        """For each row the row at which its episode began, whether steps are missing since or not,
        [N]."""
        return self._episode[: self._size]

    def starts(self, steps: int, rows: range | None = None) -> Tensor:
        """The rows from which so many steps follow each other without a break, [S].

        Args:
            rows: that all of these steps lie within; None: all.
        """
        rows = range(self._size) if rows is None else rows
        begin = torch.arange(rows.start, max(rows.start, rows.stop - steps + 1))
        return begin[self._first[begin] == self._first[begin + steps - 1]]

    def batch(self, history: int = 1, start: int = 0) -> Batch:
        """All rows from `start` on; views of the buffer where `history` is 1."""
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


def _starts(goes_on: NDArray[np.bool_], start: int, before: int) -> NDArray[np.int64]:
    """For each row from `start` on the row at which it began, [N].

    Args:
        goes_on: which rows belong to the one before, [N].
        before: where the row before `start` began.
    """
    rows = np.arange(start, start + len(goes_on))
    return np.maximum.accumulate(np.where(goes_on, before, rows))
