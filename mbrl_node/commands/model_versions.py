"""`mbrl models`, `mbrl promote` and `mbrl rollback`: the versions of a run's model."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mbrl_node.agent import RunError
from mbrl_node.data import RunStore, Version
from mbrl_node.learning import Versions, lock_run
from mbrl_node.models.checkpoint import checkpoint_path

SHOWN = 20  # versions, newest, unless all are asked for
WIDTH = 120  # characters at least: a narrower terminal wraps lines, and nothing is cut off
PROMOTE = "ros2 service call /mbrl_learner/promote mbrl_msgs/srv/Promote"


def models(run: Path, every: bool, as_json: bool) -> None:
    """Prints the versions there were, and which is in use."""
    store = RunStore(database(run), read_only=True)
    versions, robot = store.versions(), store.robot
    store.close()
    active = in_use(versions)
    shown = versions if every or as_json else versions[-SHOWN:]
    rows = [_facts(run, version, version.number == active) for version in shown]
    if as_json:
        print(json.dumps({"run": str(run), "robot": robot, "active": active, "versions": rows}))
        return
    if not versions:
        print(f"{run}: there has been no model yet")
        return
    table = Table(title=f"{run}, {robot}")
    columns = ("version", "from", "created", "transitions", "error", "horizon", "state", "file")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for row, version in zip(rows, shown, strict=True):
        metrics = row["metrics"]
        created = time.localtime(version.created / 1e9)
        table.add_row(
            str(version.number),
            str(version.parent or "–"),
            time.strftime("%Y-%m-%d %H:%M:%S", created) if version.created else "–",
            str(version.transitions),
            _number(metrics.get("held_out_error")),
            _number(metrics.get("horizon_error")),
            "in use" if row["active"] else version.state,
            "yes" if row["kept"] else "no",
            escape(version.reason),
        )
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table)
    if len(shown) < len(versions):
        print(f"{len(versions) - len(shown)} older versions are not shown: --all")


def promote(run: Path, number: int, as_json: bool = False) -> None:
    """Makes a version the newest one, under a new number."""
    with _versions(run, f"{PROMOTE} '{{version: {number}}}'") as versions:
        if number == in_use(versions.all()):
            raise RunError(f"{run}: version {number} is in use already")
        version, path = versions.promote(number)
    if as_json:
        facts = {"run": str(run), "promoted": number, "version": version.number, "file": str(path)}
        print(json.dumps(facts))
    else:
        print(f"version {number} is in use again, as version {version.number}: {path}")


def rollback(run: Path, as_json: bool = False) -> None:
    """Goes back to the accepted version before the one in use."""
    store = RunStore(database(run), read_only=True)
    versions = store.versions()
    store.close()
    active, before = in_use(versions), None
    for version in versions:
        kept = checkpoint_path(run / "models", version.number).exists()
        if version.state == "accepted" and version.number != active and kept:
            before = version.number
    if active is None or before is None:
        raise RunError(f"{run}: there is no accepted version of the model to go back to")
    with _versions(run, f"{PROMOTE} '{{version: {before}}}'") as writable:
        taken = writable.roll_back(before, "taken back by mbrl rollback")
    if as_json:
        print(json.dumps({"run": str(run), "version": before, "taken_back": list(taken)}))
    else:
        print(f"version {before} is in use; taken back: {', '.join(map(str, taken))}")


def in_use(versions: list[Version]) -> int | None:
    """The number of the version that is in use: the newest that was accepted."""
    return max((v.number for v in versions if v.state == "accepted"), default=None)


def database(run: Path) -> Path:
    """Where the database of a run is.

    Raises:
        RunError: there is none.
    """
    path = run / "transitions.db"
    if not run.is_dir():
        raise RunError(f"{run}: no such folder")
    if not path.is_file():
        raise RunError(f"{run}: is not the folder of a run: it has no {path.name}")
    return path


@contextmanager
def _versions(run: Path, service: str) -> Iterator[Versions]:
    """The versions of a run that no learner is working on.

    Raises:
        RunError: one is, or the folder cannot be written.
    """
    path = database(run)
    try:
        with lock_run(run):
            store = RunStore(path)
            try:
                yield Versions(run, store)
            finally:
                store.close()
    except BlockingIOError as error:
        raise RunError(
            f"{run}: a learner is working on this run; end it, or if it is a node ask it: {service}"
        ) from error
    except OSError as error:
        raise RunError(f"{run}: cannot be written: {error.strerror}") from error


def _facts(run: Path, version: Version, active: bool) -> dict[str, Any]:
    folders = run / "models", run / "models" / "refused"
    metrics = {k: v if math.isfinite(v) else None for k, v in version.metrics.items()}
    return {
        "number": version.number,
        "parent": version.parent or None,
        "created": version.created or None,
        "transitions": version.transitions,
        "state": version.state,
        "active": active,
        "kept": any(checkpoint_path(folder, version.number).exists() for folder in folders),
        "reason": version.reason,
        "metrics": metrics,
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
