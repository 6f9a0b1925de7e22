"""How long a plan takes: ours beside pytorch_mppi 0.9.1, pytorch_icem 0.1.0 and mbrl-lib 0.2.0.

One plan of MPPI (1 iteration), iCEM and CEM (3 iterations each), from the last plan shifted by one
period, with the same search on the same model in one process; `benchmarks.plan_peers` says how the
peers are set up. Before it is timed, each peer computes the cost of the same action sequences as
ours, and they have to agree. The problems, each sequence through every network:

  A    500 sequences x 15 steps, 1 network 3x200, 4 state and 1 action fields
  B    1000 x 30, 1 network 3x200, 17/6
  C    500 x 20, 5 networks 3x200, 17/6: 2500 rollouts
  D    400 x 20, 5 networks 3x128, 24/12: 2000 rollouts
  64, 256   64 or 256 x 15, 1 network 2x64, 4/1

Then, of our MPPI: what part of the machine's own matrix-product speed the rollouts reach (true
sizes of the networks, no padding), where the rest of the time goes, how much more a plan costs that
was made in bf16, and the plan of the cart-pole with 1000 rollouts x 25 steps through 5 networks
3x128. With a GPU also 16,384 rollouts x 50 steps.

Columns fp32 and bf16 are ours; peer_bf16 is the peer with a model that its user wrote in bfloat16,
where the user writes the model. speedup_fp32 and speedup_bf16 are against the peer in float32.
others is how many cores other processes used meanwhile: they should be idle for two threads.

`--plot` and `--memory` measure something else instead: how plans grow with the problem, and how
memory does not grow with plans.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.plan_growth import growth
from benchmarks.plan_memory import memory
from benchmarks.plan_peers import PEERS, Peer, PytorchMPPI
from benchmarks.plan_problem import (
    SETTINGS,
    SMALL,
    OtherLoad,
    Problem,
    Setting,
    gemm_peak,
    in_turns,
    median,
    our_plan,
    p99,
    precisions,
    random_world,
)
from benchmarks.report import Row, progress, report
from mbrl_node.models import ModelConfig
from mbrl_node.planning import (
    MPPI,
    ActionSpace,
    MPPIConfig,
    Rollout,
    RolloutConfig,
    graphed,
)
from mbrl_node.spec import load_spec
from mbrl_node.spec.task import Task

CARTPOLE_TARGET = 10.0  # ms
CUDA = Setting("cuda", 3277, 50, 5, (200,) * 3, 17, 6)
TABLES = ("plan", "gemm", "time", "cost", "cartpole", "cuda")  # by `what` of a row, in order


def compare(problem: Problem, name: str, peer: type[Peer], threads: int, plans: int) -> Row:
    """Plans of a peer and of ours in turns.

    Raises:
        ImportError: the peer is not installed; the text says how it is.
        AssertionError: its costs are not ours.
    """
    calls, ours = {}, peer.ours(problem)
    for precision in peer.precisions:
        theirs = peer(problem, precision)
        if precision == "fp32":
            check_cost(problem, name, theirs)
        if precision in precisions():
            calls[f"peer {precision}"] = theirs.plan
    for precision in precisions():
        calls[precision] = partial(our_plan, ours, problem.rollout(precision), problem.state)
    load = OtherLoad()
    times = in_turns(calls, plans)
    peer_ms, peer_bf16_ms = median(times["peer fp32"]), median(times.get("peer bf16"))
    fp32_ms, bf16_ms = median(times["fp32"]), median(times.get("bf16"))
    return {
        "what": "plan",
        "setting": problem.setting.name,
        "threads": threads,
        "peer": name,
        "peer_ms": peer_ms,
        "peer_p99": p99(times["peer fp32"]),
        "peer_bf16_ms": peer_bf16_ms,
        "fp32_ms": fp32_ms,
        "fp32_p99": p99(times["fp32"]),
        "bf16_ms": bf16_ms,
        "bf16_p99": p99(times.get("bf16")),
        "speedup_fp32": peer_ms / fp32_ms,
        "speedup_bf16": peer_ms / bf16_ms,
        "speedup_both_bf16": peer_bf16_ms / bf16_ms,
        "others": load.cores(),
    }


def check_cost(problem: Problem, name: str, peer: Peer) -> None:
    """The peer's costs of the same action sequences are ours.

    Raises:
        AssertionError: they are not.
    """
    actions = problem.actions()
    ours = -problem.rollout("fp32").returns(problem.state, actions)
    setting = problem.setting.name

    def explain(message: str) -> str:
        return f"{name} does not compute our cost in setting {setting}: {message}"

    torch.testing.assert_close(peer.costs(actions), ours, rtol=1e-3, atol=0.0, msg=explain)


def rollouts(problem: Problem, threads: int, plans: int, peak: dict[str, float]) -> Iterator[Row]:
    """What part of `peak`, in GFLOP/s, our rollouts reach, and where a plan's time goes."""
    actions, planner = problem.actions(), PytorchMPPI.ours(problem)
    for precision in precisions():
        rollout = problem.rollout(precision)
        times = in_turns(
            {
                "returns": partial(rollout.returns, problem.state, actions),
                "plan": partial(our_plan, planner, rollout, problem.state),
            },
            plans,
        )
        returns, plan = (median(times[key]) for key in ("returns", "plan"))
        speed = 1e-6 * problem.setting.flops / returns
        about = {"setting": problem.setting.name, "threads": threads, "precision": precision}
        yield {
            "what": "gemm",
            **about,
            "engine": rollout.engine,
            "returns_ms": returns,
            "gflops": speed,
            "peak_gflops": peak[precision],
            "fraction": speed / peak[precision],
        }
        if threads > 1:
            continue
        try:
            phases = rollout.profile(problem.state, actions)
        except ValueError as error:
            progress(str(error))
            continue
        shares = {f"{phase}_%": 100 * part * returns / plan for phase, part in phases.items()}
        outside = 100 * (plan - returns) / plan
        yield {"what": "time", **about, "plan_ms": plan, **shares, "planner_%": outside}


def costs(problem: Problem, starts: int) -> Row:
    """What plans made in bf16 cost, compared with those made in fp32 from the same random numbers;
    both as the model says in fp32."""
    exact, rough = (problem.rollout(precision) for precision in ("fp32", "bf16"))
    planner, more = PytorchMPPI.ours(problem), []
    generator = torch.Generator().manual_seed(0)
    for _ in range(starts):
        state = problem.state + 0.3 * torch.randn(problem.state.shape, generator=generator)
        values = []
        for rollout in (exact, rough):
            planner.reset()
            for _ in range(5):
                plan = planner.plan(rollout, state)
            values.append(float(exact.returns(state, plan[None])))
        more.append(100 * (values[0] - values[1]) / abs(values[0]))
    return {
        "what": "cost",
        "setting": problem.setting.name,
        "plans": starts,
        "bf16_costs_more_%": statistics.median(more),
        "least_%": min(more),
        "most_%": max(more),
    }


def cartpole(plans: int) -> Iterator[Row]:
    """MPPI on the project's own cart-pole."""
    spec, horizon = load_spec("cartpole"), 25
    task, config = Task.of(spec), ModelConfig(members=5, hidden=(128,) * 3)
    world, state = random_world(spec, config, seed=0), torch.zeros(spec.state_dim)
    planner_config = MPPIConfig(samples=200, horizon=horizon * spec.dt)
    planner = MPPI(planner_config, ActionSpace.of(spec), spec.dt)
    calls = {
        precision: partial(
            our_plan, planner, Rollout(world, task, RolloutConfig(precision=precision)), state
        )
        for precision in precisions()
    }
    for precision, times in in_turns(calls, plans).items():
        yield {
            "what": "cartpole",
            "threads": 1,
            "precision": precision,
            "plan_ms": median(times),
            "plan_p99": p99(times),
            "target_ms": CARTPOLE_TARGET,
        }


def cuda(setting: Setting, plans: int) -> Row:
    """MPPI on the GPU, as a user has it."""
    problem = Problem(setting, device="cuda")
    planner = graphed(PytorchMPPI.ours(problem))
    rollout = problem.rollout("auto")

    def plan() -> None:
        our_plan(planner, rollout, problem.state)
        torch.cuda.synchronize()

    times = in_turns({"plan": plan}, plans)["plan"]
    return {
        "what": "cuda",
        "gpu": torch.cuda.get_device_name(),
        "rollouts": setting.rollouts,
        "horizon": setting.horizon,
        "plan_ms": median(times),
        "plan_p99": p99(times),
        "plans_per_s": 1e3 / median(times),
    }


def comparison(quick: bool) -> tuple[list[Row], Row]:
    """All but plots and memory: rows and summary."""
    plans = 10 if quick else 200
    settings = (SETTINGS[0], *SMALL) if quick else (*SETTINGS, *SMALL)
    threads = [1] if quick or len(os.sched_getaffinity(0)) == 1 else [1, 2]
    rows: list[Row] = []
    missing: set[str] = set()

    def add(row: Row) -> None:
        rows.append(row)
        progress(" ".join(f"{k}={_short(v)}" for k, v in row.items()))

    for count in threads:
        torch.set_num_threads(count)
        if count == 1:
            for row in cartpole(plans):
                add(row)
        peak = {precision: gemm_peak(precision, quick) for precision in precisions()}
        for setting in settings:
            problem = Problem(setting)
            for row in rollouts(problem, count, plans, peak):
                add(row)
            if count == 1 and "bf16" in precisions():
                add(costs(problem, 3 if quick else 20))
            for name, peer in PEERS.items():
                try:
                    add(compare(problem, name, peer, count, plans))
                except ImportError as error:
                    if name not in missing:
                        progress(str(error))
                    missing.add(name)
    if torch.cuda.is_available():
        add(cuda(CUDA, plans))
    rows.sort(key=lambda row: TABLES.index(row["what"]))
    return rows, summarize(rows)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def summarize(rows: list[Row]) -> Row:
    """Medians of the speedups over the settings, at one thread; a row that is missing counts in
    none."""

    def speedup(settings: tuple[Setting, ...], kind: str) -> Row:
        names = [setting.name for setting in settings]
        return {peer: _median(rows, names, peer, f"speedup_{kind}") for peer in PEERS}

    best = precisions()[-1]
    fractions: dict[str, Row] = {}
    for row in rows:
        if row["what"] == "gemm" and row["threads"] == 1:
            fractions.setdefault(row["precision"], {})[row["setting"]] = row["fraction"]
    return {
        "speedup": speedup(SETTINGS, best),
        "speedup_small": speedup(SMALL, best),
        "speedup_in": best,
        "speedup_fp32": speedup(SETTINGS, "fp32"),
        "speedup_small_fp32": speedup(SMALL, "fp32"),
        "speedup_both_bf16": speedup(SETTINGS, "both_bf16"),
        "gemm_fraction": fractions,
        "bf16_costs_more_%": {
            row["setting"]: row["bf16_costs_more_%"] for row in rows if row["what"] == "cost"
        },
        "cartpole_ms": {
            row["precision"]: {"median": row["plan_ms"], "p99": row["plan_p99"]}
            for row in rows
            if row["what"] == "cartpole"
        }
        | {"target": CARTPOLE_TARGET},
        "cuda": next((row for row in rows if row["what"] == "cuda"), None),
    }


def _median(rows: list[Row], settings: list[str], peer: str, column: str) -> float:
    values = [
        row[column]
        for row in rows
        if row["what"] == "plan"
        and row["threads"] == 1
        and row["peer"] == peer
        and row["setting"] in settings
    ]
    return statistics.median(values) if values else math.nan


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="few plans: does it run?")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="instead: a PNG of latency against problem size"
    )
    parser.add_argument(
        "--memory", action="store_true", help="instead: memory over an hour's plans at 25 Hz"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    summary: Row = {}
    if options.memory:
        rows, summary["memory"] = memory(500 if options.quick else 90_000)
    if options.plot:
        more, summary["growth"] = growth(options.plot, options.quick)
        rows += more
    if not (options.memory or options.plot):
        rows, summary = comparison(options.quick)
    report("Time of a plan", rows, summary, options.json)


if __name__ == "__main__":
    main()
