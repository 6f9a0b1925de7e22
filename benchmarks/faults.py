"""What happens when something goes wrong? Faults are caused one by one on the real nodes, over DDS.

commanded      what the robot got meanwhile
safe after     s from the fault to the safe command, or to that of the controller that took over
recovered      s from the fault's end to the first action of the controller that acted before
silence        the longest time without a command, s
reason         what the status, the log or the answer of a service says

Whatever the fault: every command is looked at, and none may be non-finite or beyond the limits of
its value, its rate and its jerk.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from pathlib import Path

import torch

from benchmarks import fault_control, fault_inputs, fault_system
from benchmarks.domains import free_domain
from benchmarks.fault_rig import ControllerRig, Rig
from benchmarks.fault_robot import launched_robot, scripted_robot, spoil_models, train_models
from benchmarks.fault_system import LaunchedRig, SilentRig, SimulatorRig
from benchmarks.fault_trial import Fault, Outcome, try_fault
from benchmarks.report import Row, machine, progress, report

FAULTS = [*fault_inputs.FAULTS, *fault_control.FAULTS, *fault_system.FAULTS]


class Rigs:
    """Starts the rig that a fault needs, and keeps it for the faults of the same group.

    Args:
        folder: for all files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._group = folder, ""
        self._rig: Rig | None = None
        self._spec = spec = scripted_robot(folder)
        self._run_dir, self._no_models = folder / "run", folder / "no_models"
        train_models(self._run_dir, spec)
        spoil_models(self._run_dir, spec, self._run_dir / "models", 3)
        self._no_models.mkdir()
        spoil_models(self._run_dir, spec, self._no_models / "models", 1)
        self.commands, self.nonfinite, self.unlimited, self.rate_violations = 0, 0, 0, 0

    def try_fault(self, fault: Fault) -> Outcome:
        """Tries it on its rig; one that a fault has broken is not used again."""
        if fault.group != self._group:
            self.close()
            self._rig, self._group = self._start(fault.group), fault.group
        assert self._rig is not None
        outcome = try_fault(fault, self._rig)
        outcome.reason = outcome.reason.replace(f"{self._folder}/", "")
        if not outcome.ok or not self._rig.process.alive:
            self.close()
        return outcome

    def _start(self, group: str) -> Rig:
        spec, folder, run_dir = self._spec, self._folder, self._run_dir
        if group == "robot":
            return ControllerRig(spec, folder, run_dir)
        if group == "clock":
            return ControllerRig(spec, folder, run_dir, simulated=True)
        if group == "dry run":
            return SilentRig(spec, folder, run_dir, dry_run=True)
        if group == "no model":
            return SilentRig(spec, folder, self._no_models)
        if group == "simulator":
            return SimulatorRig(launched_robot(folder))
        return LaunchedRig(launched_robot(folder), folder / "launched")

    def close(self) -> None:
        """Ends what is running."""
        if self._rig is not None:
            self._rig.close()
            commands = self._rig.commands
            self.commands += len(commands.all)
            self.nonfinite += commands.nonfinite
            self.unlimited += commands.unlimited
            self.rate_violations += commands.rate_violations
        self._rig, self._group = None, ""


def main() -> None:
    """Causes the faults and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a handful of faults")
    parser.add_argument("--markdown", action="store_true", help="the table of docs/safety.md")
    parser.add_argument("--only", default="", help="faults whose name has this in it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["ROS_DOMAIN_ID"] = str(free_domain())
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"  # no real robot hears of this
    faults = [f for f in FAULTS if (f.quick or not arguments.quick) and arguments.only in f.name]
    results = []
    with tempfile.TemporaryDirectory(prefix="mbrl-faults-") as folder:
        rigs = Rigs(Path(folder))
        try:
            for fault in faults:
                began = time.monotonic()
                outcome = rigs.try_fault(fault)
                took = time.monotonic() - began
                progress(f"{'ok    ' if outcome.ok else 'FAILED'} {fault.name} ({took:.1f} s)")
                if outcome.problem:
                    progress(outcome.problem)
                results.append(outcome.row())
        finally:
            rigs.close()
    summary = {
        "faults": len(results),
        "ok": sum(r["ok"] for r in results),
        "commands_checked": rigs.commands,
        "unlimited": rigs.unlimited,
        "nonfinite": rigs.nonfinite,
        "rate_violations": rigs.rate_violations,
    }
    if arguments.markdown:
        print_markdown(results, summary)
    else:
        report("Faults", results, summary, arguments.json)


def print_markdown(results: list[Row], summary: Row) -> None:
    """Prints the results for docs/safety.md."""
    print("| fault | the robot is commanded | safe, s | recovered, s | silence, s |")
    print("|---|---|---|---|---|")
    times = ("safe_after_s", "recovered_after_s", "silence_s")
    for row in results:
        cells = ["–" if math.isnan(row[t]) else f"{row[t]:.2f}" for t in times]
        print(f"| {row['fault']} | {row['commanded']} | {' | '.join(cells)} |")
    print("\n" + ", ".join(f"{k.replace('_', ' ')}: {v}" for k, v in (summary | machine()).items()))


if __name__ == "__main__":
    main()
