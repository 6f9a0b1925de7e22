"""`mbrl runs`: the runs on this machine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mbrl_node.commands.folders import folders
from mbrl_node.data import RunStore, StoreError


def runs(as_json: bool) -> None:
    """Prints the runs in the default folders, the one that was written last first."""
    databases = [path for folder in folders() for path in folder.glob("*/transitions.db")]
    found = sorted((_facts(path) for path in databases), key=lambda run: -run["written"])
    if as_json:
        print(json.dumps({"folders": [str(folder) for folder in folders()], "runs": found}))
        return
    if not found:
        print(f"there are no runs in {' or '.join(map(str, folders()))}")
        return
    table = Table()
    for column in ("run", "robot", "tasks", "transitions", "versions", "written"):
        table.add_column(column, justify="left" if column == "run" else "right", overflow="fold")
    for run in found:
        written = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run["written"] / 1e9))
        tasks = ", ".join(run.get("tasks", ())) or "–"
        robot, *counts = [run.get(name, "–") for name in ("robot", "transitions", "versions")]
        cells = run["run"], robot, tasks, *counts, written
        table.add_row(*(escape(str(cell)) for cell in cells))
    Console().print(table)
    for run in found:
        if "problem" in run:
            print(run["problem"])


def _facts(path: Path) -> dict[str, Any]:
    files = [path, path.with_name(f"{path.name}-wal")]
    facts: dict[str, Any] = {
        "run": str(path.parent),
        "written": max(file.stat().st_mtime_ns for file in files if file.exists()),
    }
    try:
        store = RunStore(path, read_only=True)
        facts |= {
            "robot": store.robot,
            "tasks": list(dict.fromkeys(it.task for it in store.tasks.values() if it.task)),
            "transitions": len(store),
            "versions": len(store.versions()),
        }
        store.close()
    except StoreError as error:
        facts["problem"] = str(error)
    return facts
