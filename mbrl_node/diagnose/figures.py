"""The figures of a diagnosis, as PNG."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from mbrl_node.diagnose.style import (
    COLOURS,
    INK,
    MUTED,
    PALE,
    Formatted,
    labels,
    legend_below,
    log_ticks,
    log_y,
    percents,
    pngs,
    short,
)
from mbrl_node.learning.diagnostics import Diagnosis, StateMap
from mbrl_node.learning.diagnostics.statistics import Array

MOST_BARS = 10


def draw(d: Diagnosis) -> dict[str, bytes]:
    """Each figure that there is data for, as PNG, by name."""
    return pngs(FIGURES, d)


def _shown(d: Diagnosis, errors: list[float]) -> list[tuple[int, str]]:
    """The fields to draw and their colours: all, or the worst of many."""
    worst = sorted(range(len(errors)), key=lambda k: -errors[k])[: len(COLOURS)]
    few = len(d.facts.fields) <= len(COLOURS)  # then a field has the same colour in all figures
    return [(k, COLOURS[k if few else i]) for i, k in enumerate(sorted(worst))]


def _one_step(axes: Axes, d: Diagnosis) -> bool:
    sets = [("unseen", d.unseen, COLOURS[0]), ("seen in training", d.seen, PALE)]
    there = [(name, j.one_step, colour) for name, j, colour in sets if j is not None]
    relative = d.judged.one_step.relative
    order = sorted(sorted(range(len(relative)), key=lambda k: -relative[k])[:MOST_BARS])
    height = 0.8 / len(there)
    for k, (name, step, colour) in enumerate(there):
        at = np.arange(len(order)) + k * height
        values = [step.relative[field] for field in order]
        axes.barh(at, values, 0.9 * height, color=colour, label=f"{name} ({step.rows})")
        for y, field in zip(at, order, strict=True):
            text = f" {step.rmse[field]:.2g} {d.facts.units[field]}"
            axes.text(step.relative[field], y, text, va="center", fontsize=8.5, color=INK)
    axes.set_yticks(np.arange(len(order)) + 0.4 - height / 2, [d.facts.fields[k] for k in order])
    axes.invert_yaxis()
    most = max(value for _, step, _ in there for value in step.relative)
    axes.set_xlim(0, 1.3 * most or 1)
    axes.xaxis.set_major_formatter(FuncFormatter(percents))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if most > 0.5:
        axes.axvline(1, color=MUTED, linestyle="--", linewidth=1)
    labels(axes, "RMSE / std of the change", "", "One-step error of each field")
    legend_below(axes)
    return True


def _trend(axes: Axes, d: Diagnosis) -> bool:
    trend = d.trend
    if len(trend.versions) < 2:
        return False
    x, y = np.array(trend.transitions), np.array(trend.held_out_error)
    axes.plot(x, y, ".", color=MUTED, markersize=4, label="each version on what came next")
    width = max(3, len(y) // 15)
    smooth = [np.median(y[max(0, k - width) : k + width + 1]) for k in range(len(y))]
    axes.plot(x, smooth, color=INK, linewidth=1.6, label="… its running median")
    if len(trend.kept) > 1:
        axes.plot(
            [k.transitions for k in trend.kept],
            [k.relative for k in trend.kept],
            "o-",
            color=COLOURS[1],
            markersize=5,
            linewidth=1.4,
            label=f"on the last {trend.rows}, unseen by all",
        )
    log_y(axes, percents)
    labels(
        axes,
        "transitions that the version was trained on",
        "RMSE / std of the change",
        "One-step error over the run",
    )
    axes.legend(fontsize=9, frameon=False, handlelength=1.6)
    return True


def _horizon(axes: Axes, d: Diagnosis) -> bool:
    horizon = d.judged.horizon
    if horizon is None:
        return False
    x = horizon.seconds
    most = [min(1e9, max(field)) for field in horizon.relative]
    for field, colour in _shown(d, most):
        axes.plot(x, horizon.relative[field], color=colour, label=d.facts.fields[field])
    axes.plot(x, horizon.relative_all, color=INK, linewidth=2.4, label="all fields")
    axes.plot(x, horizon.stays_all, "--", color=MUTED, label="'the state stays'")
    axes.set_xlim(0, x[-1])
    low = min(min(field) for field in horizon.relative)
    axes.set_ylim(max(1e-4, 0.7 * low), min(30.0, 1.6 * max(*most, *horizon.stays_all)))
    log_y(axes, percents)
    labels(axes, "time ahead in s", "RMSE / std of the state", "Error against horizon")
    legend_below(axes)
    return True


def _calibration(axes: Axes, d: Diagnosis) -> bool:
    calibration = d.judged.calibration
    if calibration is None:
        return False
    levels = [0.0, *calibration.levels, 1.0]
    axes.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1.2, label="honest")
    distance = [
        float(np.abs(np.array(observed) - np.array(calibration.levels)).mean())
        for observed in calibration.observed
    ]
    for field, colour in _shown(d, distance):
        observed = [0.0, *calibration.observed[field], 1.0]
        axes.plot(levels, observed, color=colour, linewidth=1.2, label=d.facts.fields[field])
    axes.plot(
        levels, [0.0, *calibration.observed_all, 1.0], color=INK, linewidth=2.4, label="all fields"
    )
    axes.text(0.03, 0.95, "too cautious", fontsize=9, color=MUTED, va="top")
    axes.text(0.97, 0.03, "too sure", fontsize=9, color=MUTED, ha="right")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.01)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(percents))
    labels(axes, "central interval", "held what happened", "Calibration, one step")
    legend_below(axes)
    return True


def _calibration_horizon(axes: Axes, d: Diagnosis) -> bool:
    horizon = d.judged.horizon
    if horizon is None or horizon.calibration is None:
        return False
    for colour, level in zip(COLOURS, (0.5, 0.9), strict=False):
        at = horizon.calibration[0].levels.index(level)
        observed = [c.observed_all[at] for c in horizon.calibration]
        axes.plot(
            horizon.seconds,
            observed,
            color=colour,
            linewidth=1.8,
            label=f"{percents(level)} intervals",
        )
        axes.axhline(level, color=colour, linestyle="--", linewidth=1.0)
    axes.set_xlim(0, horizon.seconds[-1])
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(FuncFormatter(percents))
    labels(axes, "time ahead in s", "held what happened", "Calibration against horizon")
    legend_below(axes)
    return True


def _spread(axes: Axes, d: Diagnosis) -> bool:
    spread = d.judged.spread
    if spread is None or min(spread.bin_spread) <= 0 or min(spread.bin_error) <= 0:
        return False
    axes.plot(spread.spread, spread.error, ".", color=PALE, markersize=4, label="a transition")
    axes.plot(
        spread.bin_spread,
        spread.bin_error,
        "o-",
        color=COLOURS[1],
        markersize=6,
        label="an eighth of them",
    )
    ends = [min(spread.spread), max(spread.spread)]
    axes.plot(ends, ends, "--", color=MUTED, linewidth=1.2, label="equal")
    axes.set_xscale("log")
    log_ticks(axes.xaxis, *axes.get_xlim(), percents)
    axes.set_ylim(bottom=0.7 * float(np.percentile(spread.error, 1)))
    log_y(axes, percents)
    labels(
        axes,
        "the members' spread / std of the change",
        "error / std of the change",
        "Ensemble spread against error",
    )
    legend_below(axes)
    return True


def _mismatch(axes: Axes, d: Diagnosis) -> bool:
    mismatch = d.mismatch
    if len(mismatch.loss) < 2:
        return False
    points = axes.scatter(
        mismatch.loss, mismatch.reward, c=mismatch.when, cmap="viridis", s=28, linewidths=0
    )
    if np.ptp(mismatch.loss) > 20:  # the first versions are far off
        axes.set_xscale("asinh", linear_width=2.0)
        low, high = min(mismatch.loss), max(mismatch.loss)
        places = (-1000, -100, -30, -10, -3, 0, 3, 10, 30, 100, 1000, 10000)
        axes.set_xticks([tick for tick in places if low <= tick <= high])
        axes.xaxis.set_major_formatter(FuncFormatter(short))
        axes.xaxis.set_minor_locator(NullLocator())
    bar = axes.figure.colorbar(points, ax=axes)
    bar.set_label("transitions so far", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    loss = "held-out NLL, nats a field" if mismatch.likelihood else "held-out squared error"
    reward = "return" if mismatch.unit == "episode" else "mean reward of a step"
    labels(axes, loss, reward, f"Model loss against reward, by {mismatch.unit}")
    return True


def _returns(axes: Axes, d: Diagnosis) -> bool:
    sets = [("seen in training", d.seen, PALE), ("unseen", d.unseen, COLOURS[0])]
    there = [(name, j.returns, c) for name, j, c in sets if j is not None and j.returns]
    if not there:
        return False
    both = [v for _, r, _ in there for v in (*r.realised, *r.predicted)]
    for name, r, colour in there:
        axes.plot(r.realised, r.predicted, ".", color=colour, markersize=6, label=name)
    ends = [min(both), max(both)]
    axes.plot(ends, ends, "--", color=MUTED, linewidth=1.2, label="equal")
    steps = there[-1][1].steps
    labels(
        axes,
        f"realised return of {steps} steps",
        "predicted",
        "Predicted against realised return",
    )
    legend_below(axes)
    return True


def _map(
    axes: Axes, d: Diagnosis, found: StateMap, values: Array, label: str, formatter: Formatted
) -> None:
    there = np.isfinite(values) & (values > 0)
    low, high = float(values[there].min()), float(values[there].max())
    high = high if high > low else 2 * low
    mesh = axes.pcolormesh(
        *map(np.array, found.edges),
        np.where(there, values, np.nan).T,
        norm=LogNorm(low, high),
        cmap="viridis_r",
    )
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02)
    log_ticks(bar.ax.yaxis, low, high, formatter)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(which="both", labelsize=8)
    (left, right), (bottom, top) = found.worst
    axes.add_patch(
        Rectangle((left, bottom), right - left, top - bottom, fill=False, color="red", linewidth=2)
    )
    names = []
    for name in found.fields:
        unit = d.facts.units[d.facts.fields.index(name)]
        names.append(f"{name} in {unit}" if unit else name)
    axes.set_facecolor("#f4f4f4")
    axes.set_xlabel(names[0], fontsize=10, color=INK)
    axes.set_ylabel(names[1], fontsize=10, color=INK)


def _density(axes: Axes, d: Diagnosis) -> bool:
    if d.state_map is None:
        return False
    count = np.array(d.state_map.count, dtype=np.float64)
    _map(axes, d, d.state_map, count, "transitions", short)
    axes.set_title("Where the data lies", fontsize=11, color=INK, loc="left")
    return True


def _error_map(axes: Axes, d: Diagnosis) -> bool:
    if d.state_map is None:
        return False
    error = np.array(d.state_map.error, dtype=np.float64)
    _map(axes, d, d.state_map, error, "RMSE / std of the change", percents)
    axes.set_title("Where the model fails (red: most)", fontsize=11, color=INK, loc="left")
    return True


FIGURES: dict[str, Callable[[Axes, Diagnosis], bool]] = {
    "one_step": _one_step,
    "trend": _trend,
    "horizon": _horizon,
    "calibration": _calibration,
    "calibration_horizon": _calibration_horizon,
    "spread": _spread,
    "mismatch": _mismatch,
    "returns": _returns,
    "density": _density,
    "error_map": _error_map,
}
