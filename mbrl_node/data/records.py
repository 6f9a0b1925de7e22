"""Transitions as rows of one array: what is written to disk, kept in shared memory, learned from.

A record is a row of a structured NumPy array, so that a million of them are read and written
without touching each one in Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbrl_node.data.transition import Transition

NAME_SIZE = 32  # bytes of a controller's name

Records = NDArray[Any]  # [N] of `record_type`


def record_type(state_dim: int, action_dim: int) -> np.dtype[Any]:
    """The layout of a record: the fields of `Transition`, packed, little-endian."""
    n, m = state_dim, action_dim
    return np.dtype(
        [
            *((name, "<u8") for name in ("session", "sequence")),
            *((name, "<u4") for name in ("episode", "step")),
            *((name, "<i8") for name in ("stamp", "next_stamp")),
            ("state", "<f8", (n,)),
            ("action", "<f8", (m,)),
            ("action_requested", "<f8", (m,)),
            ("next_state", "<f8", (n,)),
            ("reward", "<f8"),
            *((name, "?") for name in ("terminated", "truncated")),
            ("controller", f"S{NAME_SIZE}"),
            ("model_version", "<u4"),
        ]
    )


def records_of(transitions: Sequence[Transition], state_dim: int, action_dim: int) -> Records:
    """Transitions as records, [N]; a controller's name is cut off after `NAME_SIZE` bytes."""
    rows = [
        (
            *(t.session, t.sequence, t.episode, t.step, t.stamp, t.next_stamp),
            *(t.state, t.action, t.action_requested, t.next_state),
            *(t.reward, t.terminated, t.truncated, t.controller.encode(), t.model_version),
        )
        for t in transitions
    ]
    return np.array(rows, record_type(state_dim, action_dim))


def transitions_of(records: Records) -> Iterator[Transition]:
    """The transitions that records stand for."""
    for record in records:
        values = [record[name] for name in records.dtype.names or ()]
        values[:6] = map(int, values[:6])
        values[6:10] = (value.copy() for value in values[6:10])
        values[10:13] = float(values[10]), bool(values[11]), bool(values[12])
        values[13:] = values[13].decode(errors="replace"), int(values[14])
        yield Transition(*values)
