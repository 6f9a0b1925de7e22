"""Does control keep time? The launched system on the machine's clock, simulator and learner beside
it.

Each run is `ros2 launch mbrl bringup.launch.py use_sim_time:=false`: the simulator stands for a
real robot, with its own pace and the machine's time in its stamps. After the first model has acted
for some seconds, every tick is looked at (topic ~/timing):

period     from one tick's first instruction to the next one's
lateness   from the slot to the tick's first instruction
missed     slots without a command of their own: it left after the next slot began, or not at all
latency    from the sending of the state to that of the command made of it, in a run on the
           simulator's clock with the policy, where a state is acted on as it comes; by DDS's time
           stamps, so the way through DDS counts once
core share of each process, and how busy each core was
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import yaml
from mbrl_msgs.msg import ControllerStatus, Timing
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from benchmarks.domains import free_domain
from benchmarks.launching import PROCESSES, TICKS_A_SECOND, cpu_times, launched
from benchmarks.report import Row, progress, report
from mbrl_node.spec import load_spec

WARM_UP = 5.0  # s after the chosen controller began to act


@dataclass(frozen=True)
class Case:
    """One run."""

    name: str
    rate: float
    controller: str
    learn: bool = True
    sim_time: bool = False


@dataclass
class Seen:
    """What came on the topics."""

    timing: list[Timing] = field(default_factory=list)
    status: list[ControllerStatus] = field(default_factory=list)
    states: list[int] = field(default_factory=list)  # when each was sent, ns
    commands: list[int] = field(default_factory=list)


def robot_file(folder: Path, rate: float) -> Path:
    """The cart-pole, with a state for every tick."""
    path = load_spec("cartpole").path
    assert path is not None
    robot = yaml.safe_load(path.read_text())
    robot["rate"] = rate
    robot["sim"] |= {"physics_rate": rate * math.ceil(500 / rate), "state_rate": rate}
    result = folder / f"cartpole_{rate:g}.yaml"
    result.write_text(yaml.safe_dump(robot))
    return result


def parameter_file(folder: Path, case: Case) -> Path:
    """The usual parameters, with a learner that never rests."""
    usual = yaml.safe_load((Path(__file__).parents[1] / "config" / "mbrl.yaml").read_text())
    sections = usual["/**"]["ros__parameters"]
    sections["learner"]["period"] = 0.0
    sections["policy"]["train"] = case.controller == "policy"
    result = folder / "parameters.yaml"
    result.write_text(yaml.safe_dump(usual))
    return result


def core_times() -> np.ndarray[Any, Any]:
    """s that each core was busy, and s in all, [cores, 2]."""
    rows = []
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("cpu") and line[3].isdigit():
            values = [int(x) for x in line.split()[1:9]]
            rows.append((sum(values) - values[3] - values[4], sum(values)))
    return np.array(rows) / TICKS_A_SECOND


def run(case: Case, seconds: float, folder: Path, run_dir: Path) -> Row:
    """One launch, looked at for so long."""
    domain = free_domain()
    context = rclpy.Context()
    rclpy.init(args=[], context=context, domain_id=domain)
    node = rclpy.create_node("loop", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    seen = Seen()

    def sent(into: list[int]):  # type: ignore[no-untyped-def]
        return lambda _, info: into.append(info["source_timestamp"])

    node.create_subscription(Timing, "/mbrl_controller/timing", seen.timing.append, 10)
    node.create_subscription(ControllerStatus, "/mbrl_controller/status", seen.status.append, 10)
    if case.sim_time:
        node.create_subscription(JointState, "/joint_states", sent(seen.states), 10)
        node.create_subscription(
            Float64MultiArray, "/effort_controller/commands", sent(seen.commands), 10
        )
    log = folder / f"{case.name.replace(' ', '_')}.log"
    with launched(
        log,
        domain,
        robot=robot_file(folder, case.rate),
        params=parameter_file(folder, case),
        controller=case.controller,
        learn=str(case.learn).lower(),
        use_sim_time=str(case.sim_time).lower(),
        run_dir=run_dir,
    ) as launch:

        def spin(seconds: float) -> None:
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0 and launch.poll() is None:
                executor.spin_once(timeout_sec=min(left, 1.0))

        patience = time.monotonic() + 90
        while not (seen.status and seen.status[-1].acting_controller == case.controller):
            spin(0.5)
            if launch.poll() is not None or time.monotonic() > patience:
                raise SystemExit(f"{case.name}: {case.controller} never acted")
        spin(WARM_UP)
        first = len(seen.timing)
        seen.states.clear(), seen.commands.clear()
        before, cores, begin = cpu_times(launch.pid), core_times(), time.monotonic()
        models = seen.status[-1].model_version
        spin(seconds)
        elapsed = time.monotonic() - begin
        used = {k: (v - before.get(k, 0.0)) / elapsed for k, v in cpu_times(launch.pid).items()}
        busy = np.divide(*(core_times() - cores).T)
    node.destroy_node()
    rclpy.shutdown(context=context)
    plans = [s.plan_time for s in seen.status if not math.isnan(s.plan_time)]
    return {
        "case": case.name,
        "rate_hz": case.rate,
        "seconds": elapsed,
        **timing(seen.timing[first:]),
        "plan_ms": 1e3 * statistics.median(plans) if plans else math.nan,
        "late_plans": seen.status[-1].late_plans,
        "models_a_second": (seen.status[-1].model_version - models) / elapsed,
        "latency_ms": latency(seen),
        **{f"{name}_core": used[name] for name in PROCESSES if name in used},
        "cores_busy": " ".join(f"{share:.2f}" for share in busy),
    }


def timing(messages: list[Timing]) -> Row:
    """What the ticks of all seconds amount to."""
    period = messages[0].period
    slots, lateness, latency, execution = (
        np.concatenate([np.array(getattr(m, name)) for m in messages])
        for name in ("slot", "lateness", "latency", "execution")
    )
    started = slots + lateness
    skipped = np.rint(np.diff(slots) / period).astype(int) - 1
    missed = int(skipped.clip(0).sum() + (latency >= period).sum())
    slots_passed = len(slots) - 1 + int(skipped.clip(0).sum())
    return {
        "ticks": len(slots),
        "mean_period_ms": 1e3 * float((started[-1] - started[0]) / slots_passed),
        "period_std_ms": 1e3 * float(np.diff(started).std()),
        "lateness_p50_ms": 1e3 * float(np.median(lateness)),
        "lateness_p99_ms": 1e3 * float(np.quantile(lateness, 0.99)),
        "lateness_max_ms": 1e3 * float(lateness.max()),
        "sent_p99_ms": 1e3 * float(np.quantile(latency, 0.99)),
        "sent_max_ms": 1e3 * float(latency.max()),
        "execution_ms": 1e3 * float(execution.mean()),
        "missed": missed,
        "miss_rate": missed / (slots_passed + 1),
    }


def latency(seen: Seen) -> float:
    """Median from a state's being sent to that of the next command, ms; NaN: not looked at."""
    states, commands = np.array(seen.states), np.array(seen.commands)
    if not len(states) or not len(commands):
        return math.nan
    before = np.searchsorted(states, commands) - 1
    return float(np.median((commands - states[before])[before >= 0]) * 1e-6)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loop",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=120.0, help="that a run is looked at")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="5 s of two runs: does it run?")
    options = parser.parse_args()
    cases = [
        Case("mppi, learning", 100, "mppi"),
        Case("mppi, no learner", 100, "mppi", learn=False),
        Case("policy 200 Hz, learning", 200, "policy"),
        Case("policy 500 Hz, learning", 500, "policy"),
        Case("policy on the simulator's clock", 100, "policy", sim_time=True),
    ]
    if options.quick:
        options.seconds, cases = 5.0, [cases[0], cases[-1]]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for case in cases:
            if options.only not in case.name:
                continue
            run_dir = Path(name) / f"run-{case.rate:g}"  # those without a learner use its models
            rows.append(run(case, options.seconds, Path(name), run_dir))
            shown = ((k, f"{v:.4g}" if isinstance(v, float) else v) for k, v in rows[-1].items())
            progress(" ".join(f"{k}={v}" for k, v in shown))
    first, last = rows[0], rows[-1]
    keys = ("mean_period_ms", "lateness_p99_ms", "lateness_max_ms", "miss_rate")
    summary = {key: first[key] for key in keys} | {"latency_ms": last["latency_ms"]}
    report("Timing of control in real time", rows, summary, options.json)


if __name__ == "__main__":
    main()
