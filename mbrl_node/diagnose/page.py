"""A diagnosis as one HTML file that needs no other."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape

from mbrl_node.diagnose.findings import Finding, number, percent
from mbrl_node.learning.diagnostics import Diagnosis, Judgement

CSS = """
:root { color-scheme: light; --line: #e2e2e2; --muted: #666; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; background: #fff; color: #222;
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0 0; }
h2 { font-size: 1.2rem; margin: 0 0 .3rem; }
p { margin: .4rem 0; max-width: 46rem; }
section { border-top: 1px solid var(--line); margin-top: 1.6rem; padding-top: 1.2rem; }
.muted { color: var(--muted); font-size: .875rem; }
.level { border-radius: .7rem; color: #fff; font-size: .8rem; font-weight: 600;
  padding: .1rem .6rem; margin-right: .4rem; white-space: nowrap; }
.good { background: #1a7f37; } .fair { background: #8a5a00; }
.poor { background: #b42318; } .unknown { background: #666; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; margin: .8rem 0; }
.figures img { width: 29rem; max-width: 100%; height: auto; border: 1px solid var(--line);
  border-radius: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0; }
caption { text-align: left; color: var(--muted); font-size: .875rem; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
.summary td { text-align: left; white-space: normal; vertical-align: top; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .8rem 0; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
a { color: inherit; }
code { background: #f2f2f2; border-radius: .2rem; padding: 0 .2rem; font-size: .9em; }
@media print { section { break-inside: avoid; } }
"""

# Keys of the configuration, which stand out in the text.
GROUPS = ("model", "trainer", "learner", "rollout", "mppi", "learning", "action")


def page(d: Diagnosis, found: Sequence[Finding], images: Mapping[str, bytes], now: datetime) -> str:
    """The report. Everything is inline.

    Args:
        images: PNG of each figure, by name.
        now: when the diagnosis was made.
    """
    title = f"{d.facts.robot}: is the model of {d.facts.folder} any good?"
    parts = [
        head(title),
        f"<h1>{escape(title)}</h1>",
        _facts(d, now),
        _summary(found),
        *(_section(d, finding, images) for finding in found),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def head(title: str, css: str = "") -> str:
    """How a page begins.

    Args:
        css: after what all pages have.
    """
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{CSS}{css}</style></head><body>"""


def _facts(d: Diagnosis, now: datetime) -> str:
    facts = d.facts
    not_learned = facts.transitions - facts.learned_from
    who = ", ".join(f"{name} {count}" for name, count in facts.controllers.items())
    model = ", ".join(f"{key} {_value(value)}" for key, value in facts.model.items())
    rows = {
        "Robot": facts.robot,
        "Transitions": f"{facts.learned_from} ({facts.seconds:.0f} s of robot time, "
        f"{facts.episodes} episodes)"
        + (f"; {not_learned} more were no steps of one period" if not_learned else ""),
        "Actions by": who,
        "Model": f"version {facts.newest}; kept are {', '.join(map(str, facts.kept))}",
        "Shape": model,
        "Diagnosed": f"{now:%Y-%m-%d %H:%M}",
    }
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows.items())
    return f"<dl>{items}</dl>"


def _value(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def _summary(found: Sequence[Finding]) -> str:
    rows = "".join(
        f'<tr><td>{_badge(f)}</td><td><a href="#{f.check}">{escape(f.title)}</a></td></tr>'
        for f in found
    )
    return f'<table class="summary">{rows}</table>'


def _badge(finding: Finding) -> str:
    return f'<span class="level {finding.level}">{finding.level}</span>'


def _section(d: Diagnosis, finding: Finding, images: Mapping[str, bytes]) -> str:
    figures = "".join(
        f'<img alt="{escape(finding.title)}: {name}" '
        f'src="data:image/png;base64,{base64.b64encode(images[name]).decode()}">'
        for name in finding.figures
        if name in images
    )
    table = ""
    if finding.check == "one_step":
        table = "".join(_fields(d, j) for j in (d.unseen, d.seen) if j is not None)
    return "\n".join(
        (
            f'<section id="{finding.check}"><h2>{escape(finding.title)}</h2>',
            f"<p>{_badge(finding)}{escape(finding.verdict)}</p>",
            f'<p class="muted">Measured: {escape(finding.basis)}.</p>',
            f'<div class="figures">{figures}</div>' if figures else "",
            table,
            f"<p><b>Look for:</b> {_marked(finding.look_for)}</p>",
            f"<p><b>Change:</b> {_marked(finding.change)}</p></section>",
        )
    )


def _marked(text: str) -> str:
    """Escaped, with the keys of the configuration as code."""
    words = []
    for word in escape(text, quote=False).split(" "):
        key = word.rstrip(".,;:)")
        if key.split(".")[0].lstrip("(") in GROUPS and "." in key:
            before = "(" if key.startswith("(") else ""
            word = f"{before}<code>{key.lstrip('(')}</code>{word[len(key) :]}"
        words.append(word)
    return " ".join(words)


def _fields(d: Diagnosis, judgement: Judgement) -> str:
    step, calibration = judgement.one_step, judgement.calibration
    head = "".join(
        f"<th>{name}</th>"
        for name in ("field", "RMSE", "bias", "RMSE / std of the change", "NLL", "90 % hold")
    )
    body = ""
    for k, name in enumerate(d.facts.fields):
        cells = (
            name,
            f"{number(step.rmse[k])} {d.facts.units[k]}",
            number(step.bias[k]),
            percent(step.relative[k]),
            number(step.nll[k]) if step.nll else "-",
            percent(calibration.observed[k][calibration.levels.index(0.9)]) if calibration else "-",
        )
        body += "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
    how = "not seen" if judgement.unseen else "seen in training"
    caption = f"Version {judgement.version}, {judgement.rows} transitions {how}. NLL in nats, of "
    caption += "the change over its standard deviation; 1.42 is no better than the mean change."
    return (
        f'<div class="scroll"><table><caption>{caption}</caption>'
        f"<tr>{head}</tr>{body}</table></div>"
    )
