"""How the time of a plan grows with the size of the problem."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.plan_peers import PytorchMPPI
from benchmarks.plan_problem import Problem, Setting, in_turns, median, our_plan, p99, precisions
from benchmarks.report import Row, progress

BASE = Setting("", 256, 15, 1, (200,) * 3, 4, 1)
SWEEPS = {
    "sequences": (64, 128, 256, 512, 1024, 2048),
    "horizon": (5, 10, 15, 20, 30, 40, 50),
    "members": (1, 2, 3, 5, 7, 10),
}
LABELS = {
    "sequences": "action sequences",
    "horizon": "steps",
    "members": "networks, each sequence through every one",
}
COLOURS = {"fp32": "#0072B2", "bf16": "#D55E00"}


def growth(file: Path, quick: bool) -> tuple[list[Row], Row]:
    """Times MPPI with one size changed at a time, and draws it to a PNG: rows, and the line fitted
    to each, by what is changed and precision."""
    rows: list[Row] = []
    for size, values in SWEEPS.items():
        for value in values[:3] if quick else values:
            rows += _times(size, value, 10 if quick else 60)
    lines: Row = {size: {} for size in SWEEPS}
    for size in SWEEPS:
        for precision in precisions():
            points = _points(rows, size, precision)
            slope, start = np.polyfit(*np.array(points).T, 1)
            lines[size][precision] = {"at_0_ms": float(start), "each_ms": float(slope)}
    draw(file, rows, lines)
    return rows, lines


def _times(size: str, value: int, plans: int) -> list[Row]:
    problem = Problem(replace(BASE, **{size: value}))
    planner = PytorchMPPI.ours(problem)
    calls = {
        precision: partial(our_plan, planner, problem.rollout(precision), problem.state)
        for precision in precisions()
    }
    rows = []
    for precision, times in in_turns(calls, plans).items():
        progress(f"{size} {value} {precision}: {median(times):.3f} ms")
        rows.append(
            {
                "what": "growth",
                "size": size,
                "value": value,
                "precision": precision,
                "plan_ms": median(times),
                "plan_p99": p99(times),
            }
        )
    return rows


def _points(rows: list[Row], size: str, precision: str) -> list[tuple[float, float]]:
    return [
        (row["value"], row["plan_ms"])
        for row in rows
        if row["size"] == size and row["precision"] == precision
    ]


def draw(file: Path, rows: list[Row], lines: Row) -> None:
    """Three panels, one a size: what was measured as points, what was fitted as lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 3.4), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, size in zip(figure.subplots(1, 3), SWEEPS, strict=True):
        for precision in precisions():
            x, y = np.array(_points(rows, size, precision)).T
            line = lines[size][precision]
            axes.plot(x, line["at_0_ms"] + line["each_ms"] * x, color=COLOURS[precision], lw=1)
            label = f"{precision}: {line['at_0_ms']:.2g} + {line['each_ms']:.2g} x"
            axes.plot(x, y, "o", color=COLOURS[precision], ms=4, label=label)
        axes.set_xlabel(LABELS[size])
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    figure.axes[0].set_ylabel("ms a plan (MPPI, one thread)")
    b = BASE
    figure.suptitle(
        f"{b.sequences} sequences × {b.horizon} steps, {b.members} network 3×200, "
        f"{b.state_dim} state and {b.action_dim} action fields; one size changed a panel",
        fontsize=9,
    )
    figure.savefig(file, metadata={"Software": None})
