"""Where in state space the data lies, and where the model fails."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from mbrl_node.learning.diagnostics.one_step import MOST_ROWS, Prediction
from mbrl_node.learning.diagnostics.run import Run
from mbrl_node.learning.diagnostics.statistics import Array, evenly, ranks
from mbrl_node.spec.terms import wrap

CELLS = (6, 20)  # along each of the two fields: fewer where there is little data
SOLID = 3  # rows that a cell needs before its error counts as one


@dataclass(frozen=True)
class StateMap:
    """Counts and errors over two fields of the state. Errors are root mean squares over the fields
    and the rows of a cell, in standard deviations of the change; None: no row is there."""

    fields: tuple[str, str]
    edges: tuple[list[float], list[float]]
    count: list[list[int]]  # [first field][second field]
    error: list[list[float | None]]
    usual_error: float  # median of the rows
    worst: tuple[tuple[float, float], tuple[float, float]]  # ranges of the two fields
    worst_error: float
    worst_count: int
    sparse: float  # rank correlation of count and error over the cells: below 0, sparse is worse


def state_map(run: Run, prediction: Prediction, start: int = 0) -> StateMap | None:
    """A map over the two state fields that tell most about where the error is large.

    None for a system with fewer than two fields besides its orientations.

    Args:
        prediction: of all rows from `start` on.
    """
    turning = {column for q in run.system.quaternions for column in q}
    columns = [k for k in range(run.system.state_dim) if k not in turning]
    rows = evenly(range(start, len(run)), MOST_ROWS)
    states = run.buffer.batch().state[torch.as_tensor(rows)]
    states = torch.where(torch.as_tensor(run.system.angle_mask), wrap(states), states)
    values = states.numpy().astype(np.float64)
    error = prediction.error.square().mean(-1).numpy()
    columns = [k for k in columns if np.ptp(values[:, k]) > 0]
    if len(columns) < 2:
        return None
    told = sorted(columns, key=lambda k: -_told(values[:, k], error))[:2]
    x, y = sorted(told)
    cells_a_side = int(np.clip(math.sqrt(len(values)) / 1.5, *CELLS))
    edges = [np.linspace(values[:, k].min(), values[:, k].max(), cells_a_side + 1) for k in (x, y)]
    count, _, _ = np.histogram2d(values[:, x], values[:, y], edges)
    total, _, _ = np.histogram2d(values[:, x], values[:, y], edges, weights=error)
    cells = np.sqrt(np.divide(total, count, out=np.full_like(total, math.nan), where=count > 0))
    solid = count >= min(SOLID, count.max())
    i, j = np.unravel_index(np.nanargmax(np.where(solid, cells, -1.0)), cells.shape)
    there = count > 0
    sparse = math.nan
    if there.sum() >= 10:
        pair = np.corrcoef(ranks(count[there]), ranks(cells[there]))
        sparse = float(pair[0, 1])
    names = run.system.state_names
    return StateMap(
        (names[x], names[y]),
        (edges[0].tolist(), edges[1].tolist()),
        count.astype(int).tolist(),
        [[None if math.isnan(v) else float(v) for v in row] for row in cells],
        float(np.sqrt(np.median(error))),
        (
            (float(edges[0][i]), float(edges[0][i + 1])),
            (float(edges[1][j]), float(edges[1][j + 1])),
        ),
        float(cells[i, j]),
        int(count[i, j]),
        sparse,
    )


def _told(value: Array, error: Array) -> float:
    """How much of the variation of the log error a field explains: the variance between the means
    of ten bins with the same number of rows. The logarithm keeps a few outliers from deciding."""
    log_error = np.log(error + 1e-12)
    bins = np.array_split(np.argsort(value, kind="stable"), 10)
    return float(np.var([log_error[part].mean() for part in bins if len(part)]))
