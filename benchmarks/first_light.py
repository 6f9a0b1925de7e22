"""How soon the launched system swings the cart-pole up and holds it, from nothing learned.

Each seed is a run of `ros2 launch mbrl bringup.launch.py` in real time, with an empty run folder
and a ROS domain of its own. Solved means: the goal in the robot's file (cos theta > 0.95 for 5 s)
held without a break; the time to solve is the robot time, from the first command, at which that
hold began.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path

import rclpy
from mbrl_msgs.msg import ControllerStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor

from benchmarks.domains import free_domain
from benchmarks.launching import launched
from benchmarks.report import Row, progress, report


def run(seed: int, limit: float, arguments: list[str]) -> Row:
    """One launch: until it is solved, or for `limit` s of robot time."""
    domain = free_domain()
    context = Context()
    rclpy.init(args=[], context=context, domain_id=domain)
    node = rclpy.create_node("first_light", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    seen: list[tuple[float, ControllerStatus]] = []
    node.create_subscription(
        ControllerStatus,
        "/mbrl_controller/status",
        lambda msg: seen.append((time.monotonic(), msg)),
        10,
    )
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        log = Path(folder) / "launch.log"
        named = {"seed": seed, "run_dir": Path(folder) / "run", "duration": limit}
        with launched(log, domain, *arguments, **named) as launch:
            while launch.poll() is None and not (seen and not math.isnan(seen[-1][1].solved_at)):
                executor.spin_once(timeout_sec=0.2)
            wall = time.monotonic() - begin
        node.destroy_node()
        rclpy.shutdown(context=context)
        if not seen:
            raise SystemExit(f"the launch said nothing:\n{log.read_text()[-3000:]}")
    last = seen[-1][1]
    ticks, elapsed = last.ticks - seen[0][1].ticks, seen[-1][0] - seen[0][0]
    return {
        "seed": seed,
        "robot_time_to_solve_s": last.solved_at,
        "wall_s": wall,
        "rate_hz": ticks / elapsed if elapsed else math.nan,
        "deadline_misses": last.deadline_misses,
        "late_plans": last.late_plans,
        "lateness_ms": 1e3 * statistics.median(s.lateness_max for _, s in seen),
        "retrains": last.model_version,
        "plan_ms": 1e3
        * statistics.median(
            [s.plan_time for _, s in seen if s.plan_time == s.plan_time] or [math.nan]
        ),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.first_light",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--limit", type=float, default=60.0, help="robot time a run may take, s")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument(
        "--quick", action="store_true", help="one seed and at most 15 s: does it run?"
    )
    parser.add_argument("arguments", nargs="*", help="more launch arguments, name:=value")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.limit = 1, 15.0
    rows = []
    for seed in range(options.seeds):
        row = run(seed, options.limit, options.arguments)
        rows.append(row)
        progress(" ".join(f"{k}={v:.4g}" for k, v in row.items()))
    times = [row["robot_time_to_solve_s"] for row in rows]
    unsolved_last = [math.inf if math.isnan(t) else t for t in times]
    summary = {
        "solved": sum(not math.isnan(t) for t in times),
        "seeds": len(rows),
        "median_s": statistics.median(unsolved_last),
        "worst_s": max(unsolved_last),
        "rate_hz_min": min(row["rate_hz"] for row in rows),
        "deadline_misses": sum(row["deadline_misses"] for row in rows),
    }
    report("Robot time until the cart-pole is up for 5 s", rows, summary, options.json)


if __name__ == "__main__":
    main()
