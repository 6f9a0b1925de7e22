"""A run's report as one HTML file that needs no other."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

import numpy as np

from mbrl_node.diagnose.findings import number, percent
from mbrl_node.diagnose.page import head
from mbrl_node.report.gather import Array, RunFacts
from mbrl_node.report.sentences import (
    clock,
    faults,
    many,
    median,
    newest_error,
    refusals,
    seconds,
    story,
)

OWN_CSS = """
.story { font-size: 1.05rem; max-width: 48rem; }
.tiles { display: grid; gap: .7rem; margin: 1.2rem 0;
  grid-template-columns: repeat(auto-fit, minmax(7.6rem, 1fr)); }
.tile { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .7rem;
  color: var(--muted); font-size: .8rem; }
.tile b { display: block; color: #222; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.text th, .text td { text-align: left; vertical-align: top; }
.text td { white-space: normal; }
.some td.count { font-weight: 600; color: #b42318; }
.none td { color: var(--muted); }
td.bars { font-family: ui-monospace, monospace; letter-spacing: -.05em; color: #0072B2; }
details { margin: .8rem 0; } summary { cursor: pointer; color: var(--muted); }
pre { background: #f6f6f6; border-radius: .4rem; padding: .8rem; overflow-x: auto;
  font-size: .8rem; }
"""
NEWEST = 200  # events that are listed
BLOCKS = " ▁▂▃▄▅▆▇█"
CAPTIONS = {
    "reward": "Reward over robot time",
    "returns": "Return of each episode",
    "targets": "Targets reached over robot time",
    "errors": "Error of the model over robot time",
    "versions": "Versions of the model over robot time",
    "period": "Histogram of the control period",
    "lateness": "Histogram of lateness",
    "execution": "Histogram of the time that a tick takes",
    "plan": "Histogram of the time that a plan takes",
}

Cells = Sequence[Any]


def page(run: RunFacts, images: Mapping[str, bytes], now: datetime) -> str:
    """The report. Everything is inline.

    Args:
        images: PNG of each figure, by name.
        now: when the report was made.
    """
    title = f"{run.robot}{f': {run.task_name}' if run.task_name else ''}"
    parts = [
        head(f"{title}, run {run.folder.name}", OWN_CSS),
        f"<h1>{escape(title)}</h1>",
        f'<p class="muted">Run {escape(run.folder.name)}, report of {now:%Y-%m-%d %H:%M}</p>',
        f'<p class="story">{escape(" ".join(story(run)))}</p>',
        _tiles(run),
        _section("Learning", _images(images, "returns", "reward", "targets")),
        _section("Model", _images(images, "errors", "versions"), _refusals(run)),
        _section("Faults", _faults(run), _events(run)),
        _section("Timing", _timing_note(run), _images(images, *_TIMING)),
        _section("Data", _data(run)),
        _section("Configuration", _configuration(run)),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


_TIMING = ("plan", "period", "lateness", "execution")


def _section(title: str, *parts: str) -> str:
    inside = "\n".join(part for part in parts if part)
    return f'<section id="{title.lower()}"><h2>{title}</h2>\n{inside}</section>'


def _images(images: Mapping[str, bytes], *names: str) -> str:
    there = "".join(
        f'<img alt="{CAPTIONS[name]}" '
        f'src="data:image/png;base64,{base64.b64encode(images[name]).decode()}">'
        for name in names
        if name in images
    )
    return f'<div class="figures">{there}</div>' if there else ""


def _tiles(run: RunFacts) -> str:
    missed, plan = run.rise("deadline_misses"), median(s.plan_time for s in run.seconds)
    tiles = [
        (_solved_at(run), "until solved"),
        (seconds(run.duration), "of robot time"),
        (f"{run.count('accepted')} / {run.count('refused')}", "accepted / refused"),
        (percent(newest_error(run, "held_out_error")), "one-step error"),
    ]
    if run.goal is not None and run.spec is not None and run.spec.targets:
        tiles.insert(1, (str(len(run.goal.reached)), "targets reached"))
    if math.isfinite(plan):
        tiles.append((f"{1e3 * plan:.1f} ms", "for a plan"))
    if run.controlled:
        tiles.append((str(missed), "slots missed"))
    text = "".join(f'<div class="tile"><b>{escape(a)}</b>{escape(b)}</div>' for a, b in tiles)
    return f'<div class="tiles">{text}</div>'


def _solved_at(run: RunFacts) -> str:
    if run.goal is None:
        return "-"
    return "not solved" if math.isnan(run.goal.solved_at) else seconds(run.goal.solved_at)


def _table(head: Cells, rows: Sequence[Cells], kind: str = "") -> str:
    """Cells are escaped, but for those that are a pair: of an attribute and the text."""
    top = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="scroll"><table class="{kind}"><tr>{top}</tr>{body}</table></div>'


def _cell(cell: Any) -> str:
    if isinstance(cell, tuple):
        return f'<td class="{cell[0]}">{escape(str(cell[1]))}</td>'
    return f"<td>{escape(str(cell))}</td>"


def _refusals(run: RunFacts) -> str:
    rows = refusals(run)
    if not rows:
        return '<p class="muted">No version was refused or rolled back.</p>'
    cells = [(row.what, ("count", row.count), row.text) for row in rows]
    return _table(
        ("versions that were", "how many", "why (the newest of each kind)"), cells, "text"
    )


def _faults(run: RunFacts) -> str:
    rows = "".join(
        f'<tr class="{"some" if row.count else "none"}"><td>{escape(row.what)}</td>'
        f'<td class="count">{row.count}</td><td>{escape(row.text)}</td></tr>'
        for row in faults(run)
    )
    head = "<tr><th>what</th><th>how often</th><th>the newest</th></tr>"
    return f'<div class="scroll"><table class="text">{head}{rows}</table></div>'


def _events(run: RunFacts) -> str:
    if not run.events:
        return ""
    newest = sorted(run.events, key=lambda event: event.stamp)[-NEWEST:]
    rows = []
    for event in newest:
        at = run.event_time(event)
        when = clock(event.stamp * 1e-9) if event.stamp else "-"
        rows.append((when, f"{at:.1f} s" if math.isfinite(at) else "-", event.kind, event.text))
    table = _table(("by the clock", "robot time", "kind", "what was said"), rows, "text")
    shown = f"the newest {NEWEST} of {len(run.events)}" if len(run.events) > NEWEST else "all"
    return f"<details><summary>Events: {shown} ({len(newest)})</summary>{table}</details>"


def _timing_note(run: RunFacts) -> str:
    if not run.seconds:
        text = "Nothing is known of it: the learner of this run kept no timing.jsonl."
    elif run.controlled:
        std, wanted = median(s.period_std for s in run.seconds), 1e3 * run.dt
        text = (
            f"From {len(run.seconds)} seconds of control; the period is to be {wanted:g} ms, and "
            f"its standard deviation was {1e3 * std:.2f} ms (median of the seconds)."
        )
    else:
        text = "The environment waits for the agent, so that only its planning takes time."
    return f'<p class="muted">{escape(text)}</p>'


def _data(run: RunFacts) -> str:
    records, system = run.records, run.system
    who = ", ".join(f"{name} {percent(part)}" for name, part in run.controllers.items())
    n, m = records["state"].shape[1], records["action"].shape[1]
    names = system.state_names if system else [f"state {k}" for k in range(n)]
    sent = system.action_names if system else [f"action {k}" for k in range(m)]
    spec = run.spec
    units = [f.unit for f in spec.state_fields] if spec else [""] * n
    units += [f.unit for f in spec.action.fields] if spec else [""] * m
    columns = [
        *(records["state"][:, k] for k in range(n)),
        *(records["action"][:, k] for k in range(m)),
    ]
    rows = [
        (name, unit, *_spread(column), ("bars", _bars(column)))
        for name, unit, column in zip((*names, *sent), units, columns, strict=True)
    ]
    head = (
        "field",
        "unit",
        "least",
        "5 %",
        "median",
        "95 %",
        "most",
        "how often, from 1 % to 99 %",
    )
    text = f"{many(len(records), 'transition')} of {1e3 * run.dt:g} ms; acting were {who}."
    return f"<p>{escape(text)}</p>{_table(head, rows)}"


def _spread(column: Array) -> list[str]:
    known = column[np.isfinite(column)]
    if not len(known):
        return ["-"] * 5
    return [number(float(q)) for q in np.percentile(known, (0, 5, 50, 95, 100))]


def _bars(column: Array, width: int = 24) -> str:
    """A histogram in characters."""
    known = column[np.isfinite(column)]
    if not len(known):
        return ""
    low, high = np.percentile(known, (1, 99))
    if high <= low:
        return ""
    counts, _ = np.histogram(known, width, (low, high))
    heights = np.ceil(counts / counts.max() * (len(BLOCKS) - 1)).astype(int)
    return "".join(BLOCKS[height] for height in heights)


def _configuration(run: RunFacts) -> str:
    spec, last = run.spec, run.started[-1] if run.started else None
    rows = {
        "Robot": run.robot if spec is None or spec.path is None else f"{run.robot} ({spec.path})",
        "Tasks": ", ".join(dict.fromkeys(it.task for it in run.tasks if it.task)) or "-",
        "Rate": f"{1 / run.dt:g} Hz",
        "Folder": str(run.folder.resolve()),
    }
    if run.unknown:
        rows["Not known"] = run.unknown
    if last is not None:
        rows["Machine"] = last.machine
        rows["Packages"] = ", ".join(f"{k} {v}" for k, v in last.packages.items())
        rows["Learners"] = f"{len(run.started)}, the last of {clock(last.started)}"
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows.items())
    more = ""
    if spec is not None and spec.settings:
        more += _folded("Settings in the robot's file, as it is today", spec.settings)
    if last is not None and last.settings:
        more += _folded("What of the learner was no default", last.settings)
    if run.settings:
        more += _folded("run.json of mbrl train", run.settings)
    if spec is not None and spec.path is not None and spec.path.is_file():
        more += _folded("The robot's file, as it is today", spec.path.read_text(errors="replace"))
    return f"<dl>{items}</dl>{more}"


def _folded(title: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"
