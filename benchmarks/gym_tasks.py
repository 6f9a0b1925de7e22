"""How well `mbrl train` does with its defaults in a Gymnasium environment, everything learned.

The dynamics and the reward are learned from nothing; nothing is told of the environment but its
spaces. Each seed is one run; what counts is the average return over its last 10 episodes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

import gymnasium

from benchmarks.report import Row, progress, report
from mbrl_node.agent import Progress, train

LAST = 10  # episodes that count


def run(env: str, seed: int, episodes: int) -> Row:
    """One run of so many episodes."""
    spec = gymnasium.spec(env)
    if spec.max_episode_steps is None:
        raise SystemExit(f"{env}: its episodes have no length")
    begin, plans = time.perf_counter(), []

    def watch(now: Progress) -> None:
        if now.steps % spec.max_episode_steps == 0:
            plans.append(now.plan_time)
            progress(f"seed {seed}: {now}")

    with tempfile.TemporaryDirectory() as folder:
        steps = episodes * spec.max_episode_steps
        returns = train(env, steps, seed, folder, report=watch).returns
    last = returns[-LAST:]
    return {
        "seed": seed,
        "episodes": len(returns),
        "mean_last_10": statistics.fmean(last),
        "min_last_10": min(last),
        "max_last_10": max(last),
        "seconds": time.perf_counter() - begin,
        "plan_ms": 1e3 * statistics.median(plans),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gym_tasks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--env", default="Pendulum-v1", help="a Gymnasium id (default Pendulum-v1)")
    parser.add_argument("--episodes", type=int, default=30, help="a seed (default 30)")
    parser.add_argument("--seeds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--level", type=float, default=-200.0, help="to reach (default -200)")
    parser.add_argument("--processes", type=int, default=2, help="seeds at a time (default 2)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="one seed, 2 episodes: does it run?")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.episodes = 1, 2
    rows = []
    with ProcessPoolExecutor(options.processes) as pool:
        seeds = range(options.seeds)
        for job in as_completed(
            [pool.submit(run, options.env, seed, options.episodes) for seed in seeds]
        ):
            rows.append(job.result())
    rows.sort(key=lambda row: row["seed"])
    means = [row["mean_last_10"] for row in rows]
    summary = {
        "reached": sum(mean >= options.level for mean in means),
        "seeds": len(rows),
        "level": options.level,
        "median": statistics.median(means),
        "worst": min(means),
    }
    report(f"{options.env}: returns of the last {LAST} episodes", rows, summary, options.json)


if __name__ == "__main__":
    main()
