"""A diagnosis in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mbrl_node.diagnose.findings import Finding, number, percent
from mbrl_node.learning.diagnostics import Diagnosis, Judgement

STYLES = {"good": "green", "fair": "yellow", "poor": "bold red", "unknown": "dim"}


def show(console: Console, d: Diagnosis, found: Sequence[Finding], report: Path) -> None:
    """Prints the numbers of each field, the errors ahead, and the verdicts."""
    facts = d.facts
    kept = len(facts.kept)
    console.print(
        f"[bold]{facts.robot}[/] · {facts.folder} · {facts.learned_from} transitions "
        f"({facts.seconds:.0f} s, {facts.episodes} episodes) · model {facts.newest}, "
        f"{kept} version{'s' * (kept != 1)} kept",
        highlight=False,
    )
    for judgement in (d.unseen, d.seen):
        if judgement is not None:
            console.print(_fields(d, judgement))
    if d.judged.horizon is not None:
        console.print(_ahead(d.judged))
    console.print(_verdicts(found))
    console.print(f"Figures and what to change: {report}", highlight=False, soft_wrap=True)


def _fields(d: Diagnosis, judgement: Judgement) -> Table:
    how = "unseen" if judgement.unseen else "seen in training: flattering"
    table = Table(
        title=f"One step: version {judgement.version}, {judgement.rows} transitions ({how})",
        title_justify="left",
    )
    table.add_column("field")
    for name in ("RMSE", "bias", "of the change", "NLL", "90 % hold"):
        table.add_column(name, justify="right")
    step, calibration = judgement.one_step, judgement.calibration
    worst = step.relative.index(max(step.relative))
    at = calibration.levels.index(0.9) if calibration else 0
    for k, (name, unit) in enumerate(zip(d.facts.fields, d.facts.units, strict=True)):
        table.add_row(
            name,
            f"{number(step.rmse[k])} {unit}".strip(),
            number(step.bias[k]),
            percent(step.relative[k]),
            number(step.nll[k]) if step.nll else "-",
            percent(calibration.observed[k][at]) if calibration else "-",
            style="bold" if k == worst else "",
        )
    table.add_section()
    table.add_row(
        "all",
        "",
        "",
        percent(step.relative_all),
        number(step.nll_all),
        percent(calibration.observed_all[at]) if calibration else "-",
    )
    return table


def _ahead(judgement: Judgement) -> Table:
    horizon = judgement.horizon
    assert horizon is not None
    table = Table(
        title=f"Ahead: RMSE over the spread of the states, {horizon.starts} rollouts",
        title_justify="left",
    )
    for name in ("after", "error", "'state stays'", "90 % hold", "spread ~ error"):
        table.add_column(name, justify="right")
    last = len(horizon.seconds) - 1
    for h in sorted({0, *(round(last * part / 5) for part in range(1, 6))}):
        covered = "-"
        if horizon.calibration is not None:
            calibration = horizon.calibration[h]
            covered = percent(calibration.observed_all[calibration.levels.index(0.9)])
        spread = horizon.spread_correlation
        table.add_row(
            f"{horizon.seconds[h]:.2f} s",
            percent(horizon.relative_all[h]),
            percent(horizon.stays_all[h]),
            covered,
            "-" if spread is None else number(spread[h]),
        )
    return table


def _verdicts(found: Sequence[Finding]) -> Table:
    table = Table(title="Verdicts", title_justify="left", show_lines=True)
    table.add_column("check", max_width=22)
    table.add_column("")
    table.add_column("what was found", ratio=1)
    for finding in found:
        text = Text(finding.verdict)
        text.append(f"\n{finding.basis}", style="dim")
        table.add_row(finding.title, Text(finding.level, style=STYLES[finding.level]), text)
    return table
