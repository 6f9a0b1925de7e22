"""The figures of a report, as PNG."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mbrl_node.diagnose.style import (
    COLOURS,
    INK,
    MUTED,
    PALE,
    labels,
    legend_below,
    log_ticks,
    log_y,
    percents,
    pngs,
    short,
)
from mbrl_node.report.gather import Array, RunFacts

POINTS = 300  # of a curve over the whole run
BINS = 40


def draw(run: RunFacts) -> dict[str, bytes]:
    """Each figure that there is data for, as PNG, by name."""
    return pngs(FIGURES, run)


def _over_time(axes: Axes, run: RunFacts) -> None:
    """Robot time, where sessions begin, and where the task was solved."""
    axes.set_xlim(0, max(run.duration, run.dt))
    for begin in list(run.timeline.sessions.values())[1:]:
        axes.axvline(begin, color=MUTED, linestyle=":", linewidth=1)
    if run.goal is not None and np.isfinite(run.goal.solved_at):
        axes.axvline(run.goal.solved_at, color=COLOURS[2], linewidth=1.4, label="solved")


def _reward(axes: Axes, run: RunFacts) -> bool:
    known = np.isfinite(run.times) & np.isfinite(run.records["reward"])
    if known.sum() < 2:
        return False
    bins = int(np.clip(run.duration, 10, POINTS))  # 1 s each, or longer
    at = np.minimum((run.times[known] / run.duration * bins).astype(int), bins - 1)
    count, total = (
        np.bincount(at, weights, bins) for weights in (None, run.records["reward"][known])
    )
    there = count > 0
    middle = (np.flatnonzero(there) + 0.5) * run.duration / bins
    axes.plot(middle, total[there] / count[there], color=COLOURS[0], linewidth=1.6)
    _over_time(axes, run)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    width = short(float(f"{run.duration / bins:.2g}"))
    labels(axes, "robot time in s", f"reward of a step, mean of {width} s", "Reward")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=9, frameon=False)
    return True


def _returns(axes: Axes, run: RunFacts) -> bool:
    over = [e for e in run.episodes if e.end and np.isfinite(e.total)]
    cut = [e for e in run.episodes if not e.end and np.isfinite(e.total)]
    if not over:
        return False
    for episodes, colour, name in ((over, COLOURS[0], None), (cut, PALE, "not ended")):
        if not episodes:
            continue
        starts, ends = ([f(e) for e in episodes] for f in (run.timeline.start, run.timeline.end))
        widths = np.maximum(np.subtract(ends, starts) - 0.004 * run.duration, 0.004 * run.duration)
        totals = [e.total for e in episodes]
        axes.bar(starts, totals, widths, align="edge", color=colour, label=name)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    _over_time(axes, run)
    labels(axes, "robot time in s", "sum of the rewards", "Return of each episode")
    if axes.get_legend_handles_labels()[0]:
        legend_below(axes)
    return True


def _targets(axes: Axes, run: RunFacts) -> bool:
    if run.goal is None or not run.goal.reached:
        return False
    reached = np.array(run.goal.reached)
    axes.step(
        [0, *reached, run.duration], [0, *range(1, len(reached) + 1), len(reached)], where="post"
    )
    axes.lines[0].set_color(COLOURS[0])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    _over_time(axes, run)
    labels(axes, "robot time in s", "targets", "Targets reached")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=9, frameon=False, loc="upper left")
    return True


def _errors(axes: Axes, run: RunFacts) -> bool:
    x, used = run.version_times, np.array([v.state == "accepted" for v in run.versions], bool)
    some = False
    for name, colour, label in (
        ("held_out_error", COLOURS[0], "one step ahead"),
        ("horizon_error", COLOURS[1], "gate's horizon"),
    ):
        y = run.metric(name)
        good = np.isfinite(x) & np.isfinite(y) & (y > 0) & used
        if good.sum() < 2:
            continue
        some = True
        axes.plot(x[good], y[good], ".", color=colour, markersize=3, alpha=0.45)
        axes.plot(x[good], _smooth(y[good]), color=colour, linewidth=1.7, label=label)
    if not some:
        return False
    for state, marker, colour in (("refused", "x", "#b42318"), ("rolled back", "v", INK)):
        places = x[np.array([v.state == state for v in run.versions], bool) & np.isfinite(x)]
        if len(places):
            floor = np.full(len(places), 0.97)
            axes.plot(
                places,
                floor,
                marker,
                color=colour,
                markersize=5,
                transform=axes.get_xaxis_transform(),
                label=state,
            )
    _over_time(axes, run)
    log_y(axes, percents)
    labels(axes, "robot time in s", "RMSE / std of the change", "Error of the model in use")
    legend_below(axes)
    return True


def _smooth(values: Array) -> Array:
    """Running median."""
    width = max(2, len(values) // 40)
    return np.array(
        [np.median(values[max(0, k - width) : k + width + 1]) for k in range(len(values))]
    )


def _versions(axes: Axes, run: RunFacts) -> bool:
    known = np.isfinite(run.version_times)
    if known.sum() < 2:
        return False
    for state, colour in (
        ("accepted", COLOURS[0]),
        ("refused", "#b42318"),
        ("rolled back", INK),
    ):
        here = known & np.array([v.state == state for v in run.versions], bool)
        times = np.sort(run.version_times[here])
        if len(times):
            count = len(times)
            label = f"{state} ({count})"
            xs, ys = [0, *times, run.duration], [*range(count + 1), count]
            axes.step(xs, ys, where="post", color=colour, linewidth=1.7, label=label)
    axes.set_ylim(bottom=0)
    _over_time(axes, run)
    labels(axes, "robot time in s", "versions so far", "Versions of the model")
    legend_below(axes)
    return True


def _timing(title: str, x: str, *series: tuple[str, str]) -> Callable[[Axes, RunFacts], bool]:
    """A histogram of figures of each second, each with its name, in ms."""

    def function(axes: Axes, run: RunFacts) -> bool:
        values = {
            label: 1e3 * np.array([getattr(second, name) for second in run.seconds])
            for name, label in series
        }
        values = {label: v[np.isfinite(v)] for label, v in values.items()}
        there = np.concatenate([v for v in values.values()])
        if not len(there):
            return False
        low, high = float(there.min()), float(there.max())
        far = high > 20 * max(float(np.median(there)), 1e-3) and low > 0
        bins = np.geomspace(low, high, BINS) if far else np.linspace(low, high + 1e-9, BINS)
        for (label, v), colour in zip(values.items(), COLOURS, strict=False):
            axes.hist(v, bins.tolist(), color=colour, alpha=0.65, label=label)
        if far:
            axes.set_xscale("log")
            log_ticks(axes.xaxis, low, high, short)
            axes.tick_params(axis="x", which="minor", labelsize=9, color=MUTED)
        else:
            axes.xaxis.set_major_formatter(FuncFormatter(short))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        labels(axes, f"{x} in ms", "seconds", title)
        if len(values) > 1:
            legend_below(axes)
        return True

    return function


FIGURES: dict[str, Callable[[Axes, RunFacts], bool]] = {
    "reward": _reward,
    "returns": _returns,
    "targets": _targets,
    "errors": _errors,
    "versions": _versions,
    "period": _timing(
        "Period",
        "from one tick to the next",
        ("period_min", "shortest of a second"),
        ("period_mean", "mean"),
        ("period_max", "longest"),
    ),
    "lateness": _timing("Lateness", "longest of a second, slot to tick", ("lateness_max", "")),
    "execution": _timing(
        "Execution",
        "a tick",
        ("execution_mean", "mean of a second"),
        ("execution_max", "longest"),
    ),
    "plan": _timing("Planning", "a plan, median of a second", ("plan_time", "")),
}
