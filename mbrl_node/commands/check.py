"""`mbrl check`: is a robot's file right, does it fit the running robot, and what to fix."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mbrl_node.spec import RobotSpec, SpecError, load_spec
from mbrl_node.spec.advice import Finding, advice
from mbrl_node.spec.errors import show
from mbrl_node.spec.loading import tasks_of
from mbrl_node.spec.parts import Term

_COLOUR = {"ok": "green", "warning": "yellow", "problem": "red"}


def check(
    robot: str, task: str = "", live: bool = False, seconds: float = 5.0, as_json: bool = False
) -> bool:
    """Prints what a robot's file says and what is to be said about it.

    Args:
        robot: its name or file.
        task: one of its tasks; empty: that of its file, and the files of the others are read, too.
        live: listens to the topics for so many `seconds` as well; nothing is published.

    Returns:
        Whether there is no problem.
    """
    has_ros = importlib.util.find_spec("rclpy") is not None
    if live and not has_ros:
        raise SpecError(["--live needs ROS 2, which is not here; is it sourced?"])
    if not seconds > 0:
        raise SpecError([f"--seconds: {seconds:g} is not above 0"])
    spec, found = _load(robot, task)
    if spec is not None:
        found += advice(spec)
        if has_ros:
            from mbrl_node.ros.live_check import live_findings, message_findings

            found += message_findings(spec)
            if live:
                found += live_findings(spec, seconds)
    levels = [finding.level for finding in found]
    if as_json:
        facts = {"robot": spec.name, "task": spec.task, "hash": spec.hash} if spec else {}
        print(
            json.dumps(
                {
                    "file": robot,
                    **facts,
                    "problems": levels.count("problem"),
                    "warnings": levels.count("warning"),
                    "findings": [asdict(finding) for finding in found],
                }
            )
        )
    else:
        console = Console(highlight=False, soft_wrap=True)
        if spec is not None:
            _print_summary(spec)
        for finding in found:
            _print(console, finding)
        console.print(_verdict(robot, levels, live))
    return "problem" not in levels


def _load(robot: str, task: str) -> tuple[RobotSpec | None, list[Finding]]:
    """The robot, and what keeps it, or one of its other tasks, from being loaded."""
    try:
        spec = load_spec(robot, task=task)
    except SpecError as error:
        return None, [Finding("problem", "", problem) for problem in error.problems]
    problems = []
    for name in tasks_of(spec.path) if spec.path and not task else ():
        try:
            load_spec(robot, task=name)
        except SpecError as error:
            problems += [Finding("problem", "", problem) for problem in error.problems]
    return spec, problems


def _verdict(robot: str, levels: Sequence[str], live: bool) -> str:
    problems, warnings = levels.count("problem"), levels.count("warning")
    counts = [
        f"{count} {what}{'s' * (count != 1)}"
        for count, what in ((problems, "problem"), (warnings, "warning"))
        if count
    ]
    if not problems:
        good = f"{robot} fits the running robot" if live else f"{robot} is valid"
        return ", ".join([good, *counts])
    return f"{robot}: {', '.join(counts)}"


def _print(console: Console, finding: Finding) -> None:
    colour = _COLOUR[finding.level]
    where = f"{finding.at}: " if finding.at else ""
    text = escape(f"{where}{finding.text}")
    console.print(f"[{colour}]{finding.level.ljust(8)}[/{colour}] {text}")
    if finding.change:
        console.print(f"         change: {escape(finding.change)}")


def _print_summary(spec: RobotSpec) -> None:
    """What the robot is, as tables."""
    console = Console()
    task = f", task {spec.task}" if spec.path and (tasks_of(spec.path)) else ""
    console.print(f"[bold]{spec.name}[/bold]{task}: control at {show(spec.rate)} Hz")
    for topic in spec.state:
        title = f"state, from {topic.topic} ({topic.type}), timeout {show(topic.timeout)} s"
        fields = [
            (f.name, f"{f.unit}, angle" if f.angle else f.unit, " ".join(f.source))
            for f in topic.fields
        ]
        _print_table(title, ("field", "unit", "what in it"), fields)
    limits = [
        (
            f.name,
            f.unit,
            show(f.min),
            show(f.max),
            show(f.safe),
            _or_none(f.max_rate),
            f.destination,
        )
        for f in spec.action.fields
    ]
    title = f"action, to {spec.action.topic} ({spec.action.type})"
    _print_table(title, ("field", "unit", "min", "max", "safe", "max_rate", "what in it"), limits)
    for told in spec.targets:
        targets = [(f.name, f.unit, show(f.min), show(f.max), f.path) for f in told.fields]
        title = f"targets, from {told.topic} ({told.type})"
        _print_table(title, ("target", "unit", "min", "max", "what in it"), targets)
    envelope = [
        (e.of, _or_none(e.min), _or_none(e.soft_min), _or_none(e.soft_max), _or_none(e.max))
        for e in spec.envelope
    ]
    _print_table("envelope", ("field", "min", "soft_min", "soft_max", "max"), envelope)
    reward = [(show(term.weight), _term(term)) for term in spec.reward_terms]
    _print_table("reward", ("weight", "term"), reward)
    for line in _other(spec):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print()


def _term(term: Term) -> str:
    pairs = [
        name + (f" - {target if isinstance(target, str) else show(target)}" if target else "")
        for name, target in zip(term.of, term.targets, strict=True)
    ]
    limit = f", limit {show(term.limit)}" if term.limit is not None else ""
    return f"{term.term}({', '.join(pairs)}{limit})"


def _other(spec: RobotSpec) -> Iterator[str]:
    """What needs one line each."""
    for key, ranges in (("termination", spec.termination), ("constraints", spec.constraints)):
        if ranges:
            within = (f"{r.of} {_range(r.min, r.max)}" for r in ranges)
            yield f"{key}: {'; '.join(within)}"
    if spec.goal is not None:
        conditions = (f"{_term(c)} {_range(c.min, c.max)}" for c in spec.goal.conditions)
        row = f", {spec.goal.in_a_row} targets in a row" if spec.targets else ""
        yield f"goal: {'; '.join(conditions)}, for {show(spec.goal.hold_time)} s{row}"
    episode = spec.episode
    reset = episode.reset_service or ("by hand" if episode.reset_by_hand else "none")
    recovery = f", recovery by {episode.recovery.controller}" if episode.recovery else ""
    yield f"episode: {show(episode.length)} s, reset {reset}{recovery}"
    if spec.action.delay:
        yield f"delay: {show(spec.action.delay)} s from a command to its effect"
    if spec.trust is not None:
        trust = spec.trust
        later = f"all after {trust.widen_time:g} s of acting with good models"
        yield f"trust: {trust.initial:.0%} of the commands at first, {later}"
    if spec.path and (others := sorted({*tasks_of(spec.path)} - {spec.task})):
        yield f"other tasks: {', '.join(others)}"
    if spec.sim is not None:
        yield f"simulation: {spec.sim.kind}, {spec.sim.urdf}"


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"at most {_or_none(high)}" if low is None else f"at least {show(low)}"
    return f"{show(low)} to {show(high)}"


def _or_none(value: float | None) -> str:
    return "–" if value is None else show(value)


def _print_table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    if not rows:
        return
    console = Console(highlight=False)
    console.print(title, style="bold", soft_wrap=True, markup=False)
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
