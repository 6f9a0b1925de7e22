"""How fast a run's database is written and read, and what is lost when processes are killed.

Transitions of a robot with 4 state and 1 action fields, in episodes of 500: written in batches of
several sizes, each batch one commit; read into an array, and into the buffer that a trainer learns
from.

Then the launched system, in real time: learner, controller, or both at once are killed by `kill -9`
at random moments and come back. In the end the database must have, once, every transition that
anybody has seen on the topic, and every sequence number of each session; and it must be whole after
each kill. Without ROS that part is left out.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Row, progress, report
from mbrl_node.data import Records, ReplayBuffer, RunStore, record_type
from mbrl_node.spec.system import BoxSystem

SYSTEM = BoxSystem(
    "benchmark", 0.02, ("a", "b", "c", "d"), ("u",), np.array([-1.0]), np.array([1.0])
)
EPISODE = 500
BATCHES = 10_000, 100, 1  # transitions a commit
MOST_COMMITS = 2_000  # of one batch size
REPEATS = 5  # of what is read; the median counts


def recorded(count: int) -> Records:
    """As a controller would have sent them."""
    rng, number = np.random.default_rng(0), np.arange(count)
    period = round(SYSTEM.dt * 1e9)
    result = np.zeros(count, record_type(SYSTEM.state_dim, SYSTEM.action_dim))
    result["session"], result["sequence"] = time.time_ns(), number
    result["episode"], result["step"] = 1 + number // EPISODE, number % EPISODE
    result["stamp"], result["next_stamp"] = number * period, (number + 1) * period
    for name in ("state", "action", "next_state", "reward"):
        result[name] = rng.normal(size=result[name].shape)
    result["action_requested"], result["controller"] = result["action"], b"mppi"
    result["truncated"] = result["step"] == EPISODE - 1
    return result


def written(records: Records, batch: int, folder: Path) -> Row:
    """One run whose transitions come in batches."""
    records = records[: batch * MOST_COMMITS]
    store = RunStore(folder / "transitions.db", SYSTEM)
    begin = time.perf_counter()
    for start in range(0, len(records), batch):
        store.add(records[start : start + batch])
    seconds = time.perf_counter() - begin
    store.close()
    size = sum(path.stat().st_size for path in folder.iterdir())
    return {
        "what": "write",
        "batch": batch,
        "transitions": len(records),
        "s": seconds,
        "per_s": len(records) / seconds,
        "bytes_each": size / len(records),
    }


def median_s(work: Callable[[], Any]) -> float:
    """How long it takes."""
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def read(folder: Path) -> list[Row]:
    """The run in a folder, opened and read."""
    path = folder / "transitions.db"
    store = RunStore(path, SYSTEM)
    records = store.records()
    works: dict[str, Callable[[], Any]] = {
        "open": lambda: RunStore(path, SYSTEM).close(),
        "read into an array": store.records,
        "array into a buffer": lambda: ReplayBuffer(4, 1).add(records),
    }
    rows: list[Row] = [
        {"what": what, "transitions": len(records), "s": median_s(work)}
        for what, work in works.items()
    ]
    store.close()
    return rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.store",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--kills", type=int, default=50, help="how many (default 50)")
    parser.add_argument(
        "--quick", action="store_true", help="50,000 transitions, 3 kills: does it run?"
    )
    options = parser.parse_args()
    records = recorded(50_000 if options.quick else 1_000_000)
    rows: list[Row] = []
    for batch in BATCHES:
        with tempfile.TemporaryDirectory() as folder:
            progress(f"written in batches of {batch} …")
            rows.append(written(records, batch, Path(folder)))
            if batch == BATCHES[0]:
                progress("read …")
                reads = read(Path(folder))
    summary: Row = {
        "write_per_s": rows[0]["per_s"],
        "read_s": reads[1]["s"],
        "transitions_read": len(records),
    }
    killed: list[Row] = []
    if None in map(find_spec, ("rclpy", "mbrl_msgs")):
        progress("ROS, or this workspace of it, is not there, so that nothing is killed")
    elif count := 3 if options.quick else options.kills:
        from benchmarks.store_kills import kills

        killed, survived = kills(count)
        summary |= survived
    report("A run's database", [*rows, *reads, *killed], summary, options.json)


if __name__ == "__main__":
    main()
