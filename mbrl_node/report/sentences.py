"""A run's story in sentences, and the figures behind it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from mbrl_node.diagnose.findings import number, percent
from mbrl_node.learning.learner import is_one_step
from mbrl_node.report.gather import RunFacts

FAULTS = ("stop", "fallback", "rollback", "robot", "problem")  # kinds of events


@dataclass(frozen=True)
class Row:
    """Something that happened, how often, and what was said of it last."""

    what: str
    count: int
    text: str


def story(run: RunFacts) -> list[str]:
    """One sentence or two on each subject."""
    return [sentence for part in _PARTS for sentence in [part(run)] if sentence]


def _when(run: RunFacts) -> str:
    sessions = len(run.timeline.sessions)
    task = f", task {run.task_name}," if run.task_name else ""
    text = (
        f"{run.robot}{task} moved for {seconds(run.duration)} of robot time in "
        f"{many(sessions, 'session')} and {many(len(run.episodes), 'episode')}"
    )
    if not math.isnan(run.began):
        text += f", from {clock(run.began)} on"
    return text + "."


def solved(run: RunFacts) -> str:
    """Whether the task was solved, and when."""
    if run.system is None:
        return f"Whether it came to its goal is not known: {run.unknown}."
    goal = run.goal
    if run.spec is None or run.spec.goal is None:
        return "Its task has no goal that it could come to; the return is what counts."
    if goal is None:
        return f"Whether it solved '{run.spec.task}' is not known: this run had another task."
    in_a_row = run.spec.goal.in_a_row
    if math.isnan(goal.solved_at):
        text = f"It has not solved its task: it held the goal for {goal.longest:.1f} s at most"
        text += f", and {run.spec.goal.hold_time:g} s are wanted."
        if run.spec.targets:
            text = f"It has not solved its task, to reach {many(in_a_row, 'target')} in a row."
    elif run.spec.targets:
        text = f"It solved its task after {goal.solved_at:.1f} s of robot time, when "
        text += f"{many(in_a_row, 'target')} had been reached in a row."
    else:
        text = f"It solved its task after {goal.solved_at:.1f} s of robot time, and held the goal "
        text += f"for {goal.longest:.1f} s without a break."
    if run.spec.targets:
        text += f" It reached {many(len(goal.reached), 'target')} and gave {goal.given_up} up."
    return text


def _rewards(run: RunFacts) -> str:
    reward, tenth = run.records["reward"], max(1, len(run.records) // 10)
    first, last = (float(np.mean(part)) for part in (reward[:tenth], reward[-tenth:]))
    text = f"A step brought {number(first)} in the first tenth of the run and {number(last)} in "
    text += "the last"
    over = [e for e in run.episodes if e.end and math.isfinite(e.total)]
    if over:
        best = max(over, key=lambda e: e.total)
        text += f"; the best of {many(len(over), 'finished episode')} returned {best.total:.1f}"
    return text + "."


def _model(run: RunFacts) -> str:
    if not run.versions:
        return "It has no model yet."
    text = (
        f"The model came in {many(len(run.versions), 'version')}: {run.count('accepted')} were "
        f"accepted, {run.count('refused')} refused and {run.count('rolled back')} rolled back"
    )
    one, ahead = newest_error(run, "held_out_error"), newest_error(run, "horizon_error")
    if math.isfinite(one):
        text += f"; at the end it was wrong by {percent(one)} of the usual change one step ahead"
        if math.isfinite(ahead):
            text += f" and by {percent(ahead)} over the gate's horizon"
    return text + "."


def newest_error(run: RunFacts, name: str) -> float:
    """Median of the newest ten versions in use; NaN: not known."""
    values = [v.metrics.get(name, math.nan) for v in run.versions if v.state == "accepted"]
    known = [value for value in values if math.isfinite(value)][-10:]
    return float(np.median(known)) if known else math.nan


def _trouble(run: RunFacts) -> str:
    counts = {row.what: row.count for row in faults(run) if row.count}
    if not counts:
        return "Nothing went wrong that was noticed."
    return "What went wrong: " + ", ".join(f"{k.lower()} ({v})" for k, v in counts.items()) + "."


_PARTS = (_when, solved, _rewards, _model, _trouble)


def faults(run: RunFacts) -> list[Row]:
    """What is told of a robot's trouble, also where it did not happen."""
    events = {kind: [e for e in run.events if e.kind == kind] for kind in FAULTS}
    stops = [e for e in events["stop"] if e.text.startswith("stopped")]
    falls = [e for e in events["fallback"] if "acts again" not in e.text]

    def row(what: str, found: list[Any]) -> Row:
        return Row(what, len(found), found[-1].text if found else "")

    odd = int(np.sum(~is_one_step(run.records, run.dt)))
    rows = [
        row("Stops", stops),
        row("Fallbacks", falls),
        row("Rollbacks", events["rollback"]),
        row("Robot changed", events["robot"]),
        row("Problems", events["problem"]),
        Row(
            "Steps of another length",
            odd,
            "by more than a quarter of a period; stored, and not learned from" if odd else "",
        ),
        Row("Transitions lost", run.lost, ""),
    ]
    if run.controlled:
        missed, late = run.rise("deadline_misses"), run.rise("late_plans")
        slots = len(run.records) + missed
        part = f"{percent(missed / slots)} of {slots}" if missed else ""
        rows += [
            Row("Slots missed", missed, part),
            Row("Late plans", late, "what the plan before said was done" if late else ""),
        ]
    return rows


def refusals(run: RunFacts) -> list[Row]:
    """Why versions were refused or rolled back: reasons that differ in numbers only are one."""
    alike: dict[str, Row] = {}
    for version in run.versions:
        if version.state != "accepted":
            what = version.state
            key = what + re.sub(r"-?\d+(\.\d+)?(e-?\d+)?|inf|nan", "#", version.reason)
            count = alike[key].count + 1 if key in alike else 1
            alike[key] = Row(what, count, version.reason)
    return sorted(alike.values(), key=lambda row: -row.count)


def facts(run: RunFacts) -> dict[str, Any]:
    """The figures as plain values, for programs; None is what is not known."""
    goal = run.goal
    result = {
        "run": str(run.folder),
        "robot": run.robot,
        "task": run.task_name,
        "robot_time": run.duration,
        "sessions": len(run.timeline.sessions),
        "transitions": len(run.records),
        "returns": [e.total for e in run.episodes if e.end],
        "solved_at": goal.solved_at if goal else math.nan,
        "targets_reached": len(goal.reached) if goal else 0,
        "versions": {s: run.count(s) for s in ("accepted", "refused", "rolled back")},
        "held_out_error": newest_error(run, "held_out_error"),
        "horizon_error": newest_error(run, "horizon_error"),
        "faults": {row.what: row.count for row in faults(run)},
        "plan_time": median(second.plan_time for second in run.seconds),
        "period_std": median(second.period_std for second in run.seconds),
        "controllers": run.controllers,
    }
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in result.items()}


def median(values: Iterable[float]) -> float:
    """Of those that are known; NaN: none is."""
    known = [value for value in values if math.isfinite(value)]
    return float(np.median(known)) if known else math.nan


def seconds(value: float) -> str:
    """A time for people."""
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def clock(stamp: float) -> str:
    """s since the epoch as date and time."""
    return f"{datetime.fromtimestamp(stamp):%Y-%m-%d %H:%M}"


def many(count: int, what: str) -> str:
    """1 session, 2 sessions."""
    return f"{count} {what}{'s' * (count != 1)}"
