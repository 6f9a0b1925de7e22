"""`mbrl report`: a run's story as one HTML file."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

from mbrl_node.agent import RunError, system_and_task
from mbrl_node.report import report as write_report
from mbrl_node.spec import SpecError
from mbrl_node.spec.system import System


def report(
    run: Path, output: Path | None, robot: str | None, task: str | None, json_: bool
) -> None:
    """Writes it, and prints the story or all figures as JSON.

    Args:
        robot, task: where the run does not tell, or others than it tells.

    Raises:
        ReportError: there is nothing to report, or it cannot be written.
        SpecError, RunError: the robot or task that was named is not known.
    """
    system: System | None = None
    unknown = ""
    try:
        system, _ = system_and_task(run, robot, task_name=task)
    except (RunError, SpecError) as error:
        if robot is not None or task is not None:
            raise
        unknown = str(error)  # a report can do without
    written = write_report(run, system, output, unknown)
    if json_:
        print(json.dumps(written))
        return
    for sentence in written["story"]:
        print(textwrap.fill(sentence, 100))
    print(f"written: {written['report']}")
