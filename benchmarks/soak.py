"""Does the launched system stay as it is? Memory of each process and the control rate over half an
hour.

`ros2 launch mbrl bringup.launch.py rate:=50`, learning, in real time. Each minute: what each
process has in memory (RSS), the rate of commands, missed slots, and what the learner has by then.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import tempfile
import time
from pathlib import Path

import rclpy
from mbrl_msgs.msg import ControllerStatus, LearnerStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor

from benchmarks.domains import free_domain
from benchmarks.launching import launched, processes
from benchmarks.report import Row, progress, report
from mbrl_node.ros.stamps import from_time

PATIENCE = 90.0  # s until there is a model in command


def memory(launch: subprocess.Popen[bytes]) -> dict[str, float]:
    """MB that each of the launched processes has in memory."""
    result: dict[str, float] = {}
    for name, folder in processes(launch.pid).items():
        with contextlib.suppress(OSError, KeyError):  # it has just ended
            lines = (folder / "status").read_text().splitlines()
            values = dict(line.split(":", 1) for line in lines)
            result[name] = int(values["VmRSS"].split()[0]) / 1000
    return result


def run(minutes: int, rate: float, folder: Path) -> list[Row]:
    """A row a minute."""
    domain = free_domain()
    context = Context()
    rclpy.init(args=[], context=context, domain_id=domain)
    node = rclpy.create_node("soak", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    control: list[ControllerStatus] = []
    learner: list[LearnerStatus] = []
    node.create_subscription(ControllerStatus, "/mbrl_controller/status", control.append, 10)
    node.create_subscription(LearnerStatus, "/mbrl_learner/status", learner.append, 10)
    log, rows = folder / "launch.log", []
    arguments = {"rate": rate, "run_dir": folder / "run", "use_sim_time": "false"}
    with launched(log, domain, **arguments) as launch:

        def spin(until: float) -> None:
            while time.monotonic() < until:
                executor.spin_once(timeout_sec=0.5)
                if launch.poll() is not None:
                    raise SystemExit(f"it ended:\n{log.read_text()[-3000:]}")

        begin = time.monotonic()
        while not (control and control[-1].model_version and learner):
            spin(time.monotonic() + 0.5)
            if time.monotonic() > begin + PATIENCE:
                raise SystemExit(f"it never learned:\n{log.read_text()[-3000:]}")
        begin, last = time.monotonic(), control[-1]
        for minute in range(1, minutes + 1):
            spin(begin + 60.0 * minute)
            now = control[-1]
            seconds = (from_time(now.header.stamp) - from_time(last.header.stamp)) * 1e-9
            rows.append(
                {
                    "minute": minute,
                    **{f"{name}_mb": size for name, size in memory(launch).items()},
                    "rate_hz": (now.ticks - last.ticks) / seconds,
                    "missed": now.deadline_misses - last.deadline_misses,
                    "transitions": learner[-1].transitions,
                    "version": learner[-1].version,
                    "training_share": learner[-1].training_share,
                }
            )
            progress(" ".join(f"{k}={v:.4g}" for k, v in rows[-1].items()))
            last = now
            del control[:-1], learner[:-1]
    node.destroy_node()
    rclpy.shutdown(context=context)
    return rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=int, default=30, help="that it runs (default 30)")
    parser.add_argument("--rate", type=float, default=50.0, help="of control, Hz (default 50)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="one minute: does it run?")
    options = parser.parse_args()
    if options.quick:
        options.minutes = 1
    with tempfile.TemporaryDirectory() as folder:
        rows = run(options.minutes, options.rate, Path(folder))
    first, last = rows[0], rows[-1]
    middle = rows[min(9, len(rows) - 1)]
    summary = {
        **{
            name: {f"minute {row['minute']}": row[name] for row in (first, middle, last)}
            for name in first
            if name.endswith("_mb")
        },
        "rate_hz": {
            "least": min(r["rate_hz"] for r in rows),
            "most": max(r["rate_hz"] for r in rows),
        },
        "missed": sum(row["missed"] for row in rows),
    }
    report("Half an hour of the launched system", rows, summary, options.json)


if __name__ == "__main__":
    main()
