"""Curves of a run: how it learns, and how it keeps time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import viser
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST = 3600  # points of a curve that are kept
SHOWN = 400  # of these, evenly
HEIGHT = 86  # pixels
COLOURS = ("#1c7ed6", "#f08c00", "#2f9e44", "#868e96")


class Plot:
    """Curves over one axis.

    Args:
        names: of the curves, with the unit where there is one.
        axis: what the x-axis is.
        logarithmic: the y-axis is.
        points: each value is a dot, too.
        steady: the x-axis seldom changes; it is told, as a chart that is made anew forgets it.
    """

    def __init__(
        self,
        gui: viser.GuiApi,
        title: str,
        names: Sequence[str],
        axis: str,
        colours: Sequence[str] = COLOURS,
        logarithmic: bool = False,
        points: bool = False,
        steady: bool = False,
    ) -> None:
        self._x: deque[float] = deque(maxlen=MOST)
        self._y: list[deque[float]] = [deque(maxlen=MOST) for _ in names]
        self._logarithmic, self._steady = logarithmic, steady
        self._ranges = (0.0, 1.0), (0.0, 1.0)  # of x, where it is told, and of y
        series = [
            {
                "label": name,
                "stroke": colour,
                "width": 2,
                "spanGaps": False,
                "points": {"show": points, "size": 5, "fill": colour},
            }
            for name, colour in zip(names, colours, strict=False)
        ]
        self._chart = gui.add_uplot(
            data=(np.arange(2.0), *(np.full(2, np.nan) for _ in names)),  # an axis needs a length
            series=({"label": axis}, *series),  # type: ignore[arg-type]
            title=title,
            scales=self._scales(),
            axes=(
                {"size": 30, "font": "10px sans-serif", "ticks": {"size": 3}},
                {"size": 44, "font": "10px sans-serif", "ticks": {"size": 0}},
            ),
            legend={"show": len(names) > 1, "live": False},
            cursor={"show": False},
            height=HEIGHT,
            padding=(4, 10, 0, 0),
        )

    def add(self, x: float, *values: float) -> None:
        """One more point of each curve; NaN: of this one there is none."""
        if self._x and x < self._x[-1]:  # time has begun anew
            self.clear()
        self._x.append(x)
        for curve, value in zip(self._y, values, strict=True):
            curve.append(value)

    def clear(self) -> None:
        """Forgets all points."""
        for curve in (self._x, *self._y):
            curve.clear()

    def draw(self) -> None:
        """Shows what was added."""
        if not self._x:
            return
        step = max(1, -(-len(self._x) // SHOWN))
        x, *curves = (np.array(curve, float)[::-step][::-1] for curve in (self._x, *self._y))
        if len(x) == 1:  # an axis needs a length
            x, curves = np.append(x, x + 1), [np.append(curve, np.nan) for curve in curves]
        self.show(x, *curves)

    def show(self, x: Array, *curves: Array) -> None:
        """Shows curves as they are, all of the same length, at least 2."""
        if self._logarithmic:
            curves = tuple(np.where(curve > 0, curve, np.nan) for curve in curves)
        else:
            span = (float(x[0]), float(x[-1])) if self._steady else self._ranges[0]
            if (wanted := (span, _round_range(curves))) != self._ranges:
                self._ranges = wanted
                self._chart.scales = self._scales()
        self._chart.data = (x, *curves)

    def _scales(self) -> dict[str, Any]:
        """Of a linear axis the range is told: where a value is missing, the page cannot find it."""
        x, y = self._ranges
        return {
            "x": {"time": False, "range": x} if self._steady else {"time": False},
            "y": {"distr": 3} if self._logarithmic else {"range": y},
        }


def _round_range(curves: Sequence[Array]) -> tuple[float, float]:
    """A range that all values are in, which changes seldom as they do."""
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    span = max(high - low, 0.05 * abs(high), 1e-6)
    step = 10.0 ** math.floor(math.log10(span))
    step *= 0.5 if span < 3 * step else 1.0
    return step * math.floor(low / step), step * math.ceil((high + 1e-9) / step)
