"""When commands take effect, measured from what the robot did."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mbrl_node.data import Batch, ReplayBuffer
from mbrl_node.models.geometry import StateGeometry
from mbrl_node.spec.robot import delay_periods
from mbrl_node.spec.system import System

Array = NDArray[np.float64]

NEWEST = 1000  # rows that a run is measured on
LEAST = 50  # rows; fewer tell nothing
BLOCKS, FOLDS = 20, 4  # neighbours are alike, so whole blocks are held out, and judged as one
ROWS_PER_FEATURE = 10  # with fewer, products of features are left out
RIDGE = 1e-6  # of the rows
CLEAR = 3.5  # standard errors by which one lag must be better than another …
MARGIN = 1.05  # … and ratio of their errors: a wrong model can make up a smaller one
FLOOR = 0.01  # of the usual change: a smaller error is as good as none
MOST = 4.0  # standard deviations that a change counts: impacts are not the commands' doing
PARTS = (-0.5, -0.25, 0.0, 0.25, 0.5)  # of a period that are told apart


@dataclass(frozen=True)
class DelayEstimate:
    """When commands take effect, by what the robot did."""

    lag: int  # whole periods later than assumed, negative: earlier; 0 where no other is clearly
    # better
    assumed: int  # periods from sending to effect
    period: float  # s
    seconds: float  # from sending to effect as found, to a quarter of a period
    ratio: float  # error of predictions with the delay assumed over that with `lag`: the sureness

    @property
    def correction(self) -> str:
        """What is to be changed in the robot's file, in words; empty: nothing."""
        if self.lag == 0:
            return ""
        periods = self.assumed + self.lag
        delay = periods * self.period
        return (
            f"commands take effect {periods} period{'s' * (periods != 1)} ({1e3 * delay:.4g} ms) "
            f"after they are sent; the file says {self.assumed}: set action.delay: {delay:.4g}"
        )


def delay_of(buffer: ReplayBuffer, system: System) -> DelayEstimate | None:
    """Measures a run by its newest rows, see `measure_delay`; the delay assumed is the one that the
    robot's file tells."""
    start = max(0, len(buffer) - NEWEST)
    data = buffer.batch(start=start)
    first = (buffer.first()[start : start + len(data)] - start).clamp(min=0)
    return measure_delay(data, first, system, delay_periods(system))


def measure_delay(
    data: Batch, first: Tensor, system: System, assumed: int = 0, longest: int = 5
) -> DelayEstimate | None:
    """Finds by how many periods more than assumed the commands act late.

    The change of state over a period is regressed on the state and on the action of as many rows
    before; the lag that predicts best what was held out is the delay. Data of a loop that is closed
    will do. Actions of later rows are looked at only as far as they were sent no later than the
    state was measured: later ones were chosen by the states that are to be predicted.

    Args:
        data: N transitions in the order they were taken, with states that have no history.
        first: for each row the one at which its unbroken sequence began, [N]; see
            `ReplayBuffer.first`.
        assumed: periods after which the actions of `data` were sent that they are paired with.
        longest: periods more than assumed that are looked for.

    Returns:
        None: too few data, or actions that tell too little: none, the same all the time, or such
        as follow from the state.
    """
    rows = _whole(first.numpy()[: len(data)], assumed, longest)
    if len(rows) < LEAST:
        return None
    lags = range(-assumed, longest + 1)
    regression = _Regression(data, rows, system, lags)
    without = regression.errors(None)
    errors = {lag: regression.errors(lag) for lag in lags}
    best = min(errors, key=lambda lag: float(errors[lag].mean()))
    told = _worse(without, errors[best]) and any(_worse(e, errors[best]) for e in errors.values())
    if not told:
        return None
    lag = best if _worse(errors[0], errors[best]) else 0
    near = [lag + part for part in PARTS if lags[0] <= lag + part <= lags[-1]]
    finest = min(near, key=lambda at: float(regression.errors(at).mean()))
    ratio = math.exp(float((errors[0] - errors[lag]).mean()))
    seconds = (assumed + finest) * system.dt
    return DelayEstimate(lag, assumed, system.dt, seconds, ratio)


def _whole(first: NDArray[np.int64], before: int, after: int) -> NDArray[np.int64]:
    """The rows whose sequence also has `after` rows before them and `before` rows after them."""
    index = np.arange(len(first))
    last = np.minimum(index + before, len(first) - 1)
    inside = (index - after >= first) & (index + before < len(first)) & (first[last] == first)
    return np.flatnonzero(inside)


def _worse(a: Array, b: Array) -> bool:
    """Whether the errors `a` are clearly larger than `b`, logarithms for each block."""
    more = a - b
    by_chance = float(more.std(ddof=1)) / math.sqrt(len(more))
    return float(more.mean()) > max(math.log(MARGIN), CLEAR * by_chance)


class _Regression:
    """Ridge regression of the change of state, held out, for any lag.

    A command that acts half a period late acts like the mean of two: lags between whole ones are
    their mixtures.
    """

    def __init__(self, data: Batch, rows: NDArray[np.int64], system: System, lags: range) -> None:
        geometry = StateGeometry(system)
        change = geometry.difference(data.state[rows], data.next_state[rows]).double().numpy()
        seen = geometry.features(data.state[rows]).double().numpy()
        action = data.action.double().numpy()
        turns = seen[:, geometry.bounded_features]
        few = len(rows) // ROWS_PER_FEATURE
        base = _standard(seen)
        if base.shape[1] * (base.shape[1] + 1) // 2 <= few:
            i, j = np.triu_indices(base.shape[1])
            base = np.column_stack((base, _standard(base[:, i] * base[:, j])))
        gains = np.ones((len(rows), 1))
        if action.shape[1] * (1 + turns.shape[1]) <= few:  # where a force points turns, too
            gains = np.column_stack((gains, turns))
        acted = [
            (action[rows - lag][:, :, None] * gains[:, None]).reshape(len(rows), -1) for lag in lags
        ]
        self._lags, self._base, self._gains = lags, base.shape[1], acted[0].shape[1]
        self._x, self._y = _standard(np.column_stack((base, *acted))), _standard(change)
        for _ in range(3):  # what is cut off had made the deviation larger
            self._y = _standard(np.clip(self._y, -MOST, MOST))
        self._block = np.arange(len(rows)) * BLOCKS // len(rows)
        self._fold = self._block % FOLDS
        parts = [self._fold == fold for fold in range(FOLDS)]
        self._xx = np.array([self._x[part].T @ self._x[part] for part in parts])
        self._xy = np.array([self._x[part].T @ self._y[part] for part in parts])

    def errors(self, lag: float | None) -> Array:
        """Logarithm of the RMS error of each block, the mean over the fields of the change, [B].

        Args:
            lag: None: predicts from the state alone.
        """
        mix = self._mix(lag)
        ridge = RIDGE * len(self._x) * np.eye(mix.shape[1])
        error = np.empty_like(self._y)
        for fold in range(FOLDS):
            xx = self._xx.sum(0) - self._xx[fold]
            xy = self._xy.sum(0) - self._xy[fold]
            weights = mix @ np.linalg.solve(mix.T @ xx @ mix + ridge, mix.T @ xy)
            held = self._fold == fold
            error[held] = self._y[held] - self._x[held] @ weights
        square = [np.square(error[self._block == b]).mean(0) for b in range(BLOCKS)]
        result: Array = 0.5 * np.log(np.array(square) + FLOOR**2).mean(1)
        return result

    def _mix(self, lag: float | None) -> Array:
        """The features with a lag, as sums of the columns of x, [X, F]."""
        size, gains = self._base, self._gains
        mix = np.zeros((self._x.shape[1], size + (0 if lag is None else gains)))
        mix[:size, :size] = np.eye(size)
        if lag is not None:
            whole = math.floor(lag)
            for at, part in ((whole, 1 - (lag - whole)), (whole + 1, lag - whole)):
                if part > 0:
                    begin = size + (at - self._lags[0]) * gains
                    mix[begin : begin + gains, size:] = part * np.eye(gains)
        return mix


def _standard(x: Array) -> Array:
    """Columns with mean 0 and standard deviation 1, or 0 where nothing changes."""
    std = x.std(0)
    result: Array = (x - x.mean(0)) / np.where(std > 1e-9, std, 1.0)
    return result
