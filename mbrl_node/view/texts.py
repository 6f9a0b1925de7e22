"""What the page tells in words: the state of robot and learner, and the log of events."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

GOOD, WARN, BAD, OFF = "#2b8a3e", "#e67700", "#c92a2a", "#868e96"
SILENCE = 3.0  # s after which a node that reports once a second does not answer
_ODD = {"stop": BAD, "fallback": WARN, "rollback": WARN, "problem": BAD, "robot": WARN}


@dataclass(frozen=True)
class Happening:
    """Something that a run's history tells; see mbrl_msgs/Event."""

    stamp: float  # wall time, s
    kind: str
    text: str


def mood(status: Any | None, age: float) -> tuple[str, str]:
    """What the robot is doing, in a few words, and their colour.

    Args:
        status: the newest mbrl_msgs/ControllerStatus, if any came.
        age: of it, s.
    """
    if status is None or age > SILENCE:
        return "controller does not answer", OFF
    if status.stopped:
        return f"STOPPED: {status.safe_reason or 'waits for a release'}", BAD
    if status.safe_reason:
        return f"safe command: {status.safe_reason}", WARN
    if status.waits_for:
        return f"waits for {status.waits_for}", WARN
    if status.failure:
        return f"{status.acting_controller} acts: {status.failure}", WARN
    if status.acting_controller != status.active_controller:
        return f"{status.acting_controller} acts, until {status.active_controller} can", WARN
    return f"{status.acting_controller} acts", GOOD


def mood_html(status: Any | None, age: float) -> str:
    """What the robot is doing, see `mood`."""
    words, colour = mood(status, age)
    return _page(
        f'<div style="background:{colour};color:white;border-radius:4px;padding:5px 9px;'
        f'font-weight:600;font-size:14px">{escape(words)}</div>'
    )


def robot_html(status: Any | None) -> str:
    """The robot and its controller, from its newest mbrl_msgs/ControllerStatus."""
    if status is None:
        return ""
    model = f"version {status.model_version}" if status.model_version else "none yet"
    rows = [
        ("task", f"{status.task}{', dry run: nothing is sent' if status.dry_run else ''}"),
        ("episode", f"{status.episode}, {status.episode_time:.0f} s, "
                    f"return {status.episode_return:.1f}"),
        ("goal", _goal(status)),
        ("rate", f"{status.rate:.1f} Hz, {status.deadline_misses} slots missed"),
        ("plan", f"{1e3 * status.plan_time:.1f} ms, {status.plan_samples} × "
                 f"{status.plan_iterations}" if status.plan_time == status.plan_time else "none"),
        ("model", model + _percent(", error ", status.held_out_error)),
    ]  # fmt: skip
    if status.trust < 1.0:
        rows.append(("trust", f"{100 * status.trust:.0f} % of the action's range"))
    return _page(_table(rows))


def learner_html(status: Any | None, age: float) -> str:
    """The learner, from its newest mbrl_msgs/LearnerStatus."""
    if status is None or age > SILENCE:
        return _page(f'<span style="color:{OFF}">learner does not answer</span>')
    doing = "paused: it stores, and does not learn" if status.paused else "learns"
    if status.refitting:
        doing += ", and fits a new model"
    rows = [
        ("learner", status.problem or doing),
        ("models", f"version {status.version}; {status.accepted} taken, {status.refused} refused"),
        ("steps", f"{status.transitions} stored"),
    ]
    return _page(_table(rows))


def events_html(happenings: Iterable[Happening]) -> str:
    """The newest first."""
    lines = [
        f'<div style="margin:2px 0"><span style="color:{OFF}">'
        f"{time.strftime('%H:%M:%S', time.localtime(h.stamp))}</span> "
        f'<span style="color:{_ODD.get(h.kind, "inherit")}">{escape(h.text)}</span></div>'
        for h in happenings
    ]
    return _page(
        '<div style="max-height:190px;overflow-y:auto">'
        + ("".join(lines) or "nothing yet")
        + "</div>"
    )


def answer_html(text: str, ok: bool) -> str:
    """What the last button brought about."""
    return _page(f'<span style="color:{GOOD if ok else BAD}">{escape(text)}</span>')


def _goal(status: Any) -> str:
    parts = []
    if status.solved_at == status.solved_at:
        parts.append(f"solved after {status.solved_at:.1f} s")
    if status.reached_in_a_row:
        parts.append(f"{status.reached_in_a_row} in a row")
    elif status.held_time > 0:
        parts.append(f"held for {status.held_time:.1f} s")
    return ", ".join(parts) or "not reached"


def _percent(before: str, share: float) -> str:
    return "" if math.isnan(share) else f"{before}{100 * share:.1f} %"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(
        f'<tr><td style="color:{OFF};padding:0 10px 0 0;vertical-align:top">{escape(name)}</td>'
        f"<td>{escape(text)}</td></tr>"
        for name, text in rows
    )
    return f'<table style="border-collapse:collapse;margin-top:5px">{cells}</table>'


def _page(html: str) -> str:
    return f'<div style="padding:4px 12px;font-size:12.5px;line-height:1.4">{html}</div>'
