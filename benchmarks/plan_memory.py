"""What memory the planner holds while models come and go."""

from __future__ import annotations

from pathlib import Path

from benchmarks.plan_peers import PytorchMPPI
from benchmarks.plan_problem import SMALL, Problem, our_plan
from benchmarks.report import Row, progress

WARM_UP = 500  # plans
PLANS_A_MODEL = 5  # the learner sends 5 models a second, the controller plans 25 times


def memory(plans: int) -> tuple[list[Row], Row]:
    """Makes so many plans of the smallest problem, every 5 with a new model: rows and summary."""
    problem = Problem(SMALL[0])
    planner = PytorchMPPI.ours(problem)
    rows: list[Row] = []
    marks = {0: "warm"} | {plans * k // 4: f"{k}/4" for k in (1, 2, 3)} | {plans: "end"}
    for made in range(-WARM_UP, plans + 1):
        if made in marks:
            row = {"what": "memory", "at": marks[made], "plans": made, "rss_mb": _mb("VmRSS")}
            rows.append(row)
            progress(f"{made} plans: {row['rss_mb']:.1f} MB")
        if made % PLANS_A_MODEL == 0:
            problem.world = problem.new_world(seed=made + WARM_UP)
            rollout = problem.rollout("auto")
        our_plan(planner, rollout, problem.state)
    first, last = rows[0]["rss_mb"], rows[-1]["rss_mb"]
    return rows, {
        "plans": plans,
        "models": plans // PLANS_A_MODEL,
        "warm_mb": first,
        "end_mb": last,
        "growth_mb": last - first,
        "peak_mb": _mb("VmHWM"),
    }


def _mb(key: str) -> float:
    """A figure of this process's memory: VmRSS, or VmHWM, the most that VmRSS has been."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith(f"{key}:"))
    return int(kilobytes) / 1024
