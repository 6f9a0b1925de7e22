"""`mbrl diagnose RUN`: a run's model judged, for people: tables, figures and one HTML file."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from rich.console import Console

from mbrl_node.diagnose.findings import Finding, verdicts
from mbrl_node.diagnose.page import page
from mbrl_node.diagnose.tables import show
from mbrl_node.learning import diagnostics
from mbrl_node.learning.diagnostics import Diagnosis, DiagnosisError
from mbrl_node.spec.system import System
from mbrl_node.spec.task import Task

FOLDER = "diagnose"  # in the run's

__all__ = ["Diagnosis", "DiagnosisError", "Finding", "diagnose", "verdicts"]


def diagnose(
    run_dir: Path, system: System, task: Task, console: Console | None = None
) -> dict[str, object]:
    """Judges the newest model of a run; writes RUN/diagnose/report.html and its figures as PNG.

    Args:
        run_dir: a folder that a `Learner` wrote; one may be at work on it.
        system, task: those that the run was made with.
        console: gets the tables; None: nobody does.

    Returns:
        What was found, for JSON: `facts`, `findings` (a verdict on each check), the numbers behind
        them (`unseen`, `seen`, `trend`, `mismatch`, `state_map`; see `learning.diagnostics`), and
        the path of the `report`.

    Raises:
        DiagnosisError: there is no run, it is empty or of another robot, has no usable model,
            cannot be written to, or matplotlib is not installed. One line, which names the folder.
    """
    try:
        from mbrl_node.diagnose import figures
    except ModuleNotFoundError as error:
        raise DiagnosisError(
            f"{run_dir}: cannot be drawn: {error.name} is not installed; install the extra 'viz' "
            "(pip install 'mbrl-node[viz]')"
        ) from error
    diagnosis = diagnostics.diagnose(run_dir, system, task)
    found = verdicts(diagnosis)
    images = figures.draw(diagnosis)
    report = run_dir / FOLDER / "report.html"
    try:
        _write(run_dir / FOLDER, images, page(diagnosis, found, images, datetime.now()))
    except OSError as error:
        raise DiagnosisError(f"{run_dir / FOLDER}: cannot be written: {error}") from error
    if console is not None:
        show(console, diagnosis, found, report)
    result = diagnostics.plain(diagnosis)
    assert isinstance(result, dict)
    return {**result, "findings": [diagnostics.plain(f) for f in found], "report": str(report)}


def _write(folder: Path, images: dict[str, bytes], text: str) -> None:
    """Replaces what an earlier diagnosis left."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        if old.stem not in images:
            old.unlink()
    files = {f"{name}.png": data for name, data in images.items()}
    for name, data in {**files, "report.html": text.encode()}.items():
        part = folder / f".{name}.{os.getpid()}.part"
        part.write_bytes(data)
        os.replace(part, folder / name)
