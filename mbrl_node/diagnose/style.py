"""How figures look, in a diagnosis and in a report."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TypeVar

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

SIZE, DPI = (5.2, 3.5), 160  # inches; one panel each, so that a phone can show it
# Okabe and Ito's colours, which those who see few colours can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, MUTED, PALE = "#222222", "#8a8a8a", "#b9cfe0"

Subject = TypeVar("Subject")
Formatted = Callable[[float, object], str]


def png(
    draw: Callable[[Axes, Subject], bool], subject: Subject, size: tuple[float, float] = SIZE
) -> bytes | None:
    """A figure of one panel as PNG; None where there is nothing to draw.

    Args:
        draw: draws the subject; False: there is nothing of it.
        size: in inches.
    """
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.tick_params(labelsize=9, color=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    if not draw(axes, subject):
        return None
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()


def pngs(
    figures: Mapping[str, Callable[[Axes, Subject], bool]], subject: Subject
) -> dict[str, bytes]:
    """Each figure that there is data for, as PNG, by name."""
    images = {name: png(draw, subject) for name, draw in figures.items()}
    return {name: image for name, image in images.items() if image is not None}


def labels(axes: Axes, x: str, y: str, title: str) -> None:
    """What is on the axes, and what it is about."""
    axes.set_xlabel(x, fontsize=10, color=INK)
    axes.set_ylabel(y, fontsize=10, color=INK)
    axes.set_title(title, fontsize=11, color=INK, loc="left")


def legend_below(axes: Axes) -> None:
    """The legend below the axes, where it hides nothing."""
    handles, names = axes.get_legend_handles_labels()
    axes.figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=min(4, len(names)),
        fontsize=9,
        frameon=False,
        handlelength=1.6,
    )


def short(value: float, _: object = None) -> str:
    """A tick without powers of ten."""
    return f"{value:g}"


def percents(value: float, _: object = None) -> str:
    """A tick of a part of one."""
    return f"{100 * value:g} %"


def log_ticks(axis: Axis, low: float, high: float, formatter: Formatted = short) -> None:
    """Plain numbers at powers of ten, and between them where there are few of those."""
    between = "25" if high / low < 50 else ""
    axis.set_major_formatter(FuncFormatter(formatter))
    axis.set_minor_formatter(
        FuncFormatter(lambda value, _: formatter(value, _) if f"{value:e}"[0] in between else "")
        if between
        else ""
    )


def log_y(axes: Axes, formatter: Formatted = short) -> None:
    """A logarithmic axis with plain numbers."""
    axes.set_yscale("log")
    log_ticks(axes.yaxis, *axes.get_ylim(), formatter)
    axes.tick_params(axis="both", which="minor", labelsize=9, color=MUTED)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
