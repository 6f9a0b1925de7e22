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


def record_type(state_dim: int, action_dim: int, target_dim: int = 0) -> np.dtype[Any]:
    """The layout of a record: the fields of `Transition`, packed, little-endian.

    The targets come last, so that a record with fewer of them is the beginning of one with more.
    """
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
            ("targets", "<f8", (target_dim,)),  # NaN: the task has fewer
        ]
    )


def records_of(
    transitions: Sequence[Transition], state_dim: int, action_dim: int, target_dim: int = 0
) -> Records:
    """Transitions as records, [N]; a controller's name is cut off after `NAME_SIZE` bytes.

    Raises:
        ValueError: one has more than `target_dim` targets, or another size is wrong.
    """
    rows = [
        (
            *(t.session, t.sequence, t.episode, t.step, t.stamp, t.next_stamp),
            *(t.state, t.action, t.action_requested, t.next_state),
            *(t.reward, t.terminated, t.truncated, t.controller.encode(), t.model_version),
            t.targets if len(t.targets) == target_dim else _padded(t.targets, target_dim),
        )
        for t in transitions
    ]
    return np.array(rows, record_type(state_dim, action_dim, target_dim))


def _padded(targets: NDArray[np.float64], target_dim: int) -> NDArray[np.float64]:
    """So many targets, of which NaN are those that the task does not have."""
    missing = target_dim - len(targets)
    if missing < 0:
        raise ValueError(f"it has {len(targets)} targets, and there is room for {target_dim}")
    return np.append(targets, np.full(missing, np.nan))


def with_room(records: Records, target_dim: int) -> Records:
    """The same records with room for so many targets, at least as many as before."""
    n, m, t = (records.dtype[name].shape[0] for name in ("state", "action", "targets"))
    if t == target_dim:
        return records
    result = np.empty(len(records), record_type(n, m, target_dim))
    for name in records.dtype.names or ():
        if name != "targets":
            result[name] = records[name]
    result["targets"][:, :t], result["targets"][:, t:] = records["targets"], np.nan
    return result


def transitions_of(records: Records) -> Iterator[Transition]:
    """The transitions that records stand for."""
    for record in records:
        values = [record[name] for name in records.dtype.names or ()]
        values[:6] = map(int, values[:6])
        values[6:10] = (value.copy() for value in values[6:10])
        values[10:13] = float(values[10]), bool(values[11]), bool(values[12])
        values[13:15] = values[13].decode(errors="replace"), int(values[14])
        values[15] = values[15][~np.isnan(values[15])]
        yield Transition(*values)
