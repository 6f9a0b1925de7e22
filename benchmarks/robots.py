"""How soon each robot does each of its tasks, from nothing learned: the same nodes, other files.

A run is a launch of the whole system on an empty run folder, in lock-step, so that it is the same
on any machine and under any load. It is solved when the goal in the robot's file is reached: held
without a break for its time, or where the task has targets, as many as it says reached in a row,
each within its patience; of half_cheetah, when an episode of 1,000 steps returns over 1,000. The
time is robot time since the first command: at which the hold began, the last of the row was
reached, or the episode ended. `return` is that of the last whole episode, or of the run so far.

`rate_hz` and `missed` are of another launch in real time, of 20 s, learning as it goes; a number
for each robot, task and kind of conditions.

With `--rough`: noise on all that is measured, 40 ms from a measurement to its being published, 5 %
of states and of commands lost, and masses, friction and gains that differ between episodes.
"""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import rclpy
import yaml
from mbrl_msgs.msg import ControllerStatus, Transition
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor

from benchmarks.domains import free_domain
from benchmarks.launching import launched
from benchmarks.report import Row, progress, report
from mbrl_node.ros.qos import TRANSITIONS
from mbrl_node.ros.stamps import from_time
from mbrl_node.spec import RobotSpec, load_spec
from mbrl_node.spec.loading import tasks_of

ROBOTS = ("cartpole", "furuta", "panda_velocity", "panda_torque", "husky", "half_cheetah")
LIMIT = 120.0  # s of robot time, after which a run is given up
RETURNS = {"half_cheetah": (1000.0, 15_000)}  # that count as solved, and steps to get there
NOISE = {"m": 0.005, "rad": 0.01, "m/s": 0.02, "rad/s": 0.05}  # deviations, by unit
ROUGH = {"latency": 0.04, "dropped": 0.05, "randomise": {"mass": 0.2, "friction": 0.2, "gain": 0.1}}
REAL_TIME = 20.0  # s, of the launch that tells the rate


@dataclass(frozen=True)
class Case:
    """A robot's file and what it is to do."""

    robot: str
    task: str
    file: Path
    spec: RobotSpec
    rough: bool

    @property
    def limit(self) -> float:
        """s of robot time."""
        _, steps = RETURNS.get(self.robot, (0.0, 0))
        return steps * self.spec.dt if steps else LIMIT


def cases(robots: list[str], rough: bool, folder: Path) -> Iterator[Case]:
    """Every robot with every task of it; robots' files are copied into a folder."""
    path = load_spec(robots[0]).path
    assert path is not None
    shutil.copytree(path.parent, folder, dirs_exist_ok=True)
    for robot in robots:
        file = folder / f"{robot}.yaml"
        if rough:
            data, spec = yaml.safe_load(file.read_text()), load_spec(file)
            noise = {f.name: NOISE[f.unit] for f in spec.state_fields if f.unit in NOISE}
            data["sim"] |= {**ROUGH, "noise": noise}
            file.write_text(yaml.safe_dump(data))
        for task in ("", *tasks_of(file)):
            spec = load_spec(file, task=task)
            yield Case(robot, spec.task, file, spec, rough)


class Watcher:
    """What a launch tells of its run."""

    def __init__(self, domain: int, length: float) -> None:
        self._context = Context()
        rclpy.init(args=[], context=self._context, domain_id=domain)
        self._node = rclpy.create_node("robots", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._rewards: deque[float] = deque(maxlen=round(length))
        self.status: ControllerStatus | None = None
        self.returns: list[float] = []  # of whole episodes
        self._began, self.time, self.steps = 0, 0.0, 0
        self._node.create_subscription(
            ControllerStatus, "/mbrl_controller/status", self._on_status, 10
        )
        self._node.create_subscription(
            Transition, "/mbrl_controller/transitions", self._on_transition, TRANSITIONS
        )

    def _on_status(self, message: ControllerStatus) -> None:
        self.status = message

    def _on_transition(self, message: Transition) -> None:
        self._began = self._began or from_time(message.stamp) or 1
        self.time, self.steps = 1e-9 * (from_time(message.next_stamp) - self._began), self.steps + 1
        self._rewards.append(message.reward)
        if message.terminated or message.truncated:
            self.returns.append(sum(self._rewards))
            self._rewards.clear()

    @property
    def last_return(self) -> float:
        """Of the last whole episode, or so far."""
        return self.returns[-1] if self.returns else sum(self._rewards)

    def spin(self) -> None:
        """Takes what has come."""
        self._executor.spin_once(timeout_sec=0.2)

    def close(self) -> None:
        """Ends the watching."""
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)


def run(case: Case, seed: int, domain: int, limit: float, real_time: bool = False) -> Row:
    """One launch, until it is solved or its time is over."""
    wanted, _ = RETURNS.get(case.robot, (math.inf, 0))
    with tempfile.TemporaryDirectory() as folder:
        it = Watcher(domain, case.spec.episode.length * case.spec.rate)
        named = {
            **{"robot": case.file, "task": case.task, "seed": seed, "duration": limit},
            **{"run_dir": Path(folder) / "run", "sync": str(not real_time).lower()},
        }
        solved_at = math.nan
        try:
            with launched(Path(folder) / "launch.log", domain, **named) as launch:
                while launch.poll() is None:
                    it.spin()
                    if it.status is not None and not math.isnan(it.status.solved_at):
                        solved_at = it.status.solved_at
                    if it.returns and it.returns[-1] > wanted and math.isnan(solved_at):
                        solved_at = it.time
                    if not (math.isnan(solved_at) or real_time):
                        break
        finally:
            it.close()
    row = {
        **{"robot": case.robot, "task": case.task, "rough": case.rough, "seed": seed},
        "solved": not math.isnan(solved_at),
        "robot_time_s": solved_at,
        "steps": round(solved_at * case.spec.rate) if not math.isnan(solved_at) else it.steps,
        "return": it.last_return,
    }
    if real_time and it.status is not None:
        row["rate_hz"] = it.steps / it.time if it.time else math.nan
        row["missed"] = it.status.deadline_misses
    progress(
        ", ".join(f"{k} {v:.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
    )
    return row


def summary(rows: list[Row]) -> Row:
    """Of each robot, task and conditions: how many were solved, and when."""
    result: Row = {}
    for row in rows:
        name = f"{row['robot']} {row['task']}" + (" rough" if row["rough"] else "")
        result.setdefault(name, []).append(row)
    return {name: _line(of_case) for name, of_case in result.items()}


def _line(rows: list[Row]) -> str:
    times = sorted(row["robot_time_s"] if row["solved"] else math.inf for row in rows)
    solved = sum(row["solved"] for row in rows)
    median = statistics.median(times)
    worst = f"{times[-1]:.1f} s" if math.isfinite(times[-1]) else "not solved"
    middle = f"{median:.1f} s" if math.isfinite(median) else "not solved"
    returns = statistics.median(row["return"] for row in rows)
    return f"{solved} of {len(rows)}, median {middle}, worst {worst}, return {returns:.0f}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--robots", nargs="+", default=list(ROBOTS), choices=ROBOTS)
    parser.add_argument("--rough", action="store_true", help="not ideal conditions")
    parser.add_argument("--jobs", type=int, default=2, help="launches at a time in lock-step")
    parser.add_argument("--quick", action="store_true", help="one robot for 4 s: does it work?")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    robots, seeds = (["husky"], 1) if args.quick else (args.robots, args.seeds)
    with tempfile.TemporaryDirectory() as folder:
        chosen = list(cases(robots, args.rough, Path(folder)))
        domains: SimpleQueue[int] = SimpleQueue()
        for _ in range(args.jobs):
            domains.put(free_domain())

        def learn(case: Case, seed: int) -> Row:
            domain = domains.get()
            row = run(case, seed, domain, 4.0 if args.quick else case.limit)
            domains.put(domain)
            return row

        with ThreadPoolExecutor(args.jobs) as pool:
            futures = [pool.submit(learn, case, seed) for case in chosen for seed in range(seeds)]
            rows = [future.result() for future in futures]
        domain = domains.get()
        for case in chosen:
            seconds = 2.0 if args.quick else REAL_TIME
            measured = run(case, 0, domain, seconds, real_time=True)
            for row in rows:
                if (row["robot"], row["task"]) == (case.robot, case.task):
                    row |= {key: measured.get(key, math.nan) for key in ("rate_hz", "missed")}
    report("robots", rows, summary(rows), args.json)


if __name__ == "__main__":
    main()
