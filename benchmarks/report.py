"""How every benchmark reports: a table for people, or one JSON object on stdout; progress on
stderr."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Row = dict[str, Any]

WIDTH = 180  # characters at least: where a terminal is narrower, lines wrap, and nothing is cut


def progress(text: str) -> None:
    """Tells on stderr what is going on."""
    print(text, file=sys.stderr, flush=True)


def machine() -> Row:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x
        ]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def report(title: str, results: Sequence[Row], summary: Row, as_json: bool) -> None:
    """Prints the results; what is not a number becomes null in JSON and a dash in the table.

    Rows that follow each other and have the same columns make one table.
    """
    if as_json:
        print(json.dumps(_clean({"machine": machine(), "results": results, "summary": summary})))
        return
    console = Console()
    console.width = max(console.width, WIDTH)
    for columns, rows in groupby(results, key=tuple):
        table = Table(title=title)
        for column in columns:
            table.add_column(column.replace("_", " "), justify="right")
        for row in rows:
            table.add_row(*(escape(_cell(value)) for value in row.values()))
        console.print(table)
        title = ""
    console.print(", ".join(f"{k}: {v}" for k, v in machine().items()))
    for key, value in summary.items():
        console.print(f"{key}: {_cell(value)}")


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> str:
    value = _clean(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_cell(v)}" for k, v in value.items()) + "}"
    return "–" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
