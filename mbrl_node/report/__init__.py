"""`mbrl report RUN`: a run's story as one HTML file."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from mbrl_node.data import StoreError
from mbrl_node.report.gather import ReportError, gather
from mbrl_node.report.page import page
from mbrl_node.report.sentences import facts, story
from mbrl_node.spec.system import System

FILE = "report.html"  # in the run's folder

__all__ = ["ReportError", "report"]


def report(
    run_dir: Path, system: System | None = None, output: Path | None = None, unknown: str = ""
) -> dict[str, Any]:
    """Writes the report of a run, whether it goes on or is over.

    Args:
        system: what the run was made with; None: it is not known, and `unknown` says why.
        output: the file; None: `report.html` in the run's folder.

    Returns:
        The figures in it, for JSON, its `story` in sentences and the path of the `report`.

    Raises:
        ReportError: there is no run or nothing in it, it is damaged, the file cannot be written, or
            matplotlib is not installed. One line, which names the folder.
    """
    try:
        from mbrl_node.report import figures
    except ModuleNotFoundError as error:
        raise ReportError(
            f"{run_dir}: cannot be drawn: {error.name} is not installed; install the extra 'viz' "
            "(pip install 'mbrl-node[viz]')"
        ) from error
    try:
        run = gather(run_dir, system, unknown)
    except StoreError as error:
        raise ReportError(str(error)) from error
    path = run_dir / FILE if output is None else output
    text = page(run, figures.draw(run), datetime.now())
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise ReportError(f"{path}: cannot be written: {error.strerror}") from error
    return {**facts(run), "story": story(run), "report": str(path)}
