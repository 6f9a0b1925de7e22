"""How soon the launched system holds the pole again after the robot has changed under it.

For each seed the system learns for 45 s from an empty run folder. Then, for each change, it is
launched on a copy of that folder twice: with learning, and with a model that is frozen when the
robot changes (`/mbrl_learner/pause`). It swings the hanging pole up, and when it has held it for
6 s, which is after about 60 s of robot time in all, the simulator changes the robot
(`/mbrl_sim/change`):

  mass   the pole's mass and inertia, times 3
  gain   of the actuator, times 0.5
  delay  of commands, one control period more

All goes in lock-step (`sync:=true`), so that the figures do not depend on the machine: the
simulator waits for plans and lessons, of which there is one every 0.2 s.

Held means that the goal's conditions in the robot's file hold (cos theta > 0.95), by the joint
states. Counted is the robot time from the change to the beginning of the first hold of 5 s without
a break, 0 where the pole never left; and for how long of the 20 s after the change it was not held.
What has not come within these 20 s counts as never. Episodes are not cut off after 30 s as the
robot's file has it, so that no reset comes between.

The prediction errors are of the model in use over a second, in the units of the held-out error: the
last before the change, the first after a whole second, and the first after 10 s. Rewards are those
of a second, over the 6 s before the change and the last 6 s.
"""

from __future__ import annotations

import argparse
import itertools
import math
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import yaml
from mbrl_msgs.msg import ControllerStatus, Transition
from mbrl_msgs.srv import ChangeRobot
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool

from benchmarks.domains import free_domain
from benchmarks.launching import launched
from benchmarks.report import Row, progress, report
from mbrl_node.ros.extract import compile_fields
from mbrl_node.ros.stamps import seconds
from mbrl_node.spec import RobotSpec, load_spec
from mbrl_node.spec.terms import goal_function

HOLD = 5.0  # s without a break that count as held again, as in the robot's file
TARGET = 10.0  # s
AVERAGED = 6.0  # s, of rewards
PATIENCE = 60.0  # s of wall time for a launch to be up, and for a service to answer


@dataclass(frozen=True)
class Times:
    """How long everything takes, s of robot time."""

    learning: float = 45.0
    swing_up: float = 60.0  # at most
    held: float = 6.0  # before the change
    after: float = 20.0  # the change


def changes(spec: RobotSpec) -> dict[str, ChangeRobot.Request]:
    """What happens to the robot, by name."""
    return {
        "mass": ChangeRobot.Request(what="mass", of="pole", value=3.0),
        "gain": ChangeRobot.Request(what="gain", of="all", value=0.5),
        "delay": ChangeRobot.Request(what="delay", of="all", value=spec.action.delay + spec.dt),
    }


def robot_file(folder: Path) -> Path:
    """The cart-pole, in an episode without an end."""
    path = load_spec("cartpole").path
    assert path is not None
    robot = yaml.safe_load(path.read_text())
    robot["episode"]["length"] = 3600.0
    result = folder / "cartpole_long.yaml"
    result.write_text(yaml.safe_dump(robot))
    return result


class Watcher:
    """What one launch publishes, by robot time in s."""

    def __init__(self, spec: RobotSpec, domain: int, launch: subprocess.Popen) -> None:
        self._launch, self._goal = launch, goal_function(spec)
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context, domain_id=domain)
        self._node = rclpy.create_node("adapt", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        [self._fields] = [compile_fields(topic) for topic in spec.state]
        self.holds: list[tuple[float, bool]] = []
        self._broken = 0.0  # when the goal's conditions last did not hold
        self.rewards: list[tuple[float, float]] = []
        self.status: list[tuple[float, ControllerStatus]] = []
        for kind, topic, take in (
            (JointState, spec.state[0].topic, self._on_state),
            (Transition, "/mbrl_controller/transitions", self._on_transition),
            (ControllerStatus, "/mbrl_controller/status", self._on_status),
        ):
            self._node.create_subscription(kind, topic, take, 100)

    def _on_state(self, message: JointState) -> None:
        state = np.array(self._fields(message))
        self.holds.append((seconds(message.header.stamp), self._goal(state)))
        if not self.holds[-1][1] or len(self.holds) == 1:
            self._broken = self.now

    def _on_transition(self, message: Transition) -> None:
        self.rewards.append((seconds(message.next_stamp), message.reward))

    def _on_status(self, message: ControllerStatus) -> None:
        self.status.append((seconds(message.header.stamp), message))

    @property
    def now(self) -> float:
        """Robot time; 0 before the first state."""
        return self.holds[-1][0] if self.holds else 0.0

    def held_for(self) -> float:
        """s since the goal's conditions began to hold without a break."""
        return self.now - self._broken

    def wait(self, condition: Callable[[], bool], until: float = math.inf) -> bool:
        """Whether it came true before this robot time."""
        silent_since, last = time.monotonic(), self.now
        while not condition():
            self._executor.spin_once(timeout_sec=0.5)
            if self.now != last:
                silent_since, last = time.monotonic(), self.now
            if self._launch.poll() is not None or time.monotonic() - silent_since > PATIENCE:
                raise SystemExit("the launched robot says nothing any more")
            if self.now >= until:
                return False
        return True

    def call(self, kind: Any, name: str, request: Any) -> None:
        """Has a service do something."""
        client = self._node.create_client(kind, name)
        if not client.wait_for_service(PATIENCE):
            raise SystemExit(f"nobody offers {name}")
        future = client.call_async(request)
        self.wait(future.done)
        if not future.result().success:
            raise SystemExit(f"{name}: {future.result().message}")

    def close(self) -> None:
        """Ends the watching."""
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)


def held_again(holds: list[tuple[float, bool]], change: float, length: float) -> float:
    """s from the change to the beginning of the first hold of so many s; NaN: there was none.

    Args:
        holds: at which time, s, the goal's conditions held or not.
    """
    since: float | None = change
    for now, holding in holds:
        if now <= change:
            continue
        since = (now if since is None else since) if holding else None
        if since is not None and now - since >= length:
            return since - change
    return math.nan


def adapt(
    spec: RobotSpec,
    domain: int,
    launch: subprocess.Popen,
    request: ChangeRobot.Request,
    frozen: bool,
    times: Times,
) -> Row:
    """One launch on what was learned, with one change."""
    it = Watcher(spec, domain, launch)
    try:
        it.wait(lambda: bool(it.status))
        if not it.wait(lambda: it.held_for() >= times.held, it.now + times.swing_up):
            return figures(it, math.nan)
        if frozen:
            it.call(SetBool, "/mbrl_learner/pause", SetBool.Request(data=True))
        it.call(ChangeRobot, "/mbrl_sim/change", request)
        change = it.now
        it.wait(lambda: it.now >= change + times.after)
        return figures(it, change)
    finally:
        it.close()


def figures(it: Watcher, change: float) -> Row:
    """What came of a change at this robot time, s; NaN: it never came to that."""

    def pay(begin: float, end: float) -> float:
        return sum(reward for t, reward in it.rewards if begin < t <= end) / AVERAGED

    def error(at: float) -> float:
        """The first from then on."""
        return next((s.prediction_error for t, s in it.status if t >= at), math.nan)

    before = [s for t, s in it.status if t <= change] or [ControllerStatus()]
    after = [s for t, s in it.status if t > change] or [ControllerStatus()]
    last = it.status[-1][1]
    out = (
        b - a for (a, holding), (b, _) in itertools.pairwise(it.holds) if a > change and not holding
    )
    row = {
        "held_again_s": held_again(it.holds, change, HOLD),
        "out_s": sum(out, 0.0),
        "error_before": before[-1].prediction_error,
        "error_after": error(change + 1.0),
        "error_10_s_after": error(change + 10.0),
        "reward_before": pay(change - AVERAGED, change),
        "reward_at_the_end": pay(it.now - AVERAGED, it.now),
    }
    if math.isnan(change):
        row = dict.fromkeys(row, math.nan)
    return row | {
        "models": last.model_version - after[0].model_version,
        "rollbacks": last.rollbacks,
        "deadline_misses": last.deadline_misses,
    }


def of_seed(
    seed: int, chosen: dict[str, ChangeRobot.Request], times: Times, real_time: bool
) -> Iterator[Row]:
    """All launches of a seed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        robot = robot_file(folder)
        spec = load_spec(str(robot))
        usual = {"robot": robot, "seed": seed, "sync": str(not real_time).lower()}
        learned = folder / "learned"
        duration = {"duration": times.learning, "run_dir": learned}
        with launched(folder / "learned.log", free_domain(), **usual, **duration) as launch:
            launch.wait()
        for change, request in chosen.items():
            for mode in ("learning", "frozen"):
                run_dir = folder / f"{change}-{mode}"
                shutil.copytree(learned, run_dir)
                log = folder / f"{change}-{mode}.log"
                domain = free_domain()
                with launched(log, domain, **usual, run_dir=run_dir) as launch:
                    row = adapt(spec, domain, launch, request, mode == "frozen", times)
                yield {"seed": seed, "change": change, "mode": mode, **row}


def summarize(rows: list[Row]) -> Row:
    """Of the runs with one change in one mode; one that has not recovered counts as never."""

    def times(key: str) -> list[float]:
        return [math.inf if math.isnan(r[key]) else r[key] for r in rows]

    again = times("held_again_s")
    return {
        "recovered": sum(map(math.isfinite, again)),
        "within_10_s": sum(t <= TARGET for t in again),
        "of": len(again),
        "median_s": statistics.median(again),
        "worst_s": max(again),
        "median_out_s": statistics.median(times("out_s")),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adapt",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of them")
    parser.add_argument("--only", choices=["mass", "gain", "delay"], help="one of the changes")
    parser.add_argument(
        "--real-time", action="store_true", help="nobody waits: depends on the machine and its load"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument(
        "--quick", action="store_true", help="one seed, one change, some seconds: does it run?"
    )
    options = parser.parse_args()
    chosen, times = changes(load_spec("cartpole")), Times()
    if options.quick:
        options.seeds, options.only = 1, options.only or "gain"
        times = Times(learning=8.0, swing_up=20.0, held=0.5, after=6.0)
    if options.only:
        chosen = {options.only: chosen[options.only]}
    rows: list[Row] = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for row in of_seed(seed, chosen, times, options.real_time):
            rows.append(row)
            shown = ((k, f"{v:.4g}" if isinstance(v, float) else v) for k, v in row.items())
            progress(" ".join(f"{k}={v}" for k, v in shown))
    summary = {
        f"{change} {mode}": summarize(
            [r for r in rows if (r["change"], r["mode"]) == (change, mode)]
        )
        for change in chosen
        for mode in ("learning", "frozen")
    }
    report("Robot time until the pole is held again", rows, summary, options.json)


if __name__ == "__main__":
    main()
