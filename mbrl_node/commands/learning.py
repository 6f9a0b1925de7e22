"""`mbrl train`, `eval`, `play` and `diagnose`: the agent without ROS, and what it learned."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from statistics import fmean, pstdev

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mbrl_node import agent
from mbrl_node.agent import settings
from mbrl_node.commands.errors import CommandError
from mbrl_node.commands.waiting import waiting


def train(
    env: str | None,
    steps: int | None,
    seed: int | None,
    run_dir: Path | None,
    pairs: tuple[str, ...],
    config: Path | None,
    planner: str | None,
    env_pairs: tuple[str, ...],
    angles: tuple[int, ...],
    quaternions: tuple[int, ...],
    reward: str | None,
    termination: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Learns until all steps are done or a signal comes, and prints what came of it.

    Args:
        pairs, env_pairs: KEY=VALUE, settings and what the environment is made with.
        config: a file of settings.
        quaternions: four columns for each orientation, one after the other.

    Raises:
        CommandError, RunError, SettingsError: it cannot work.
    """
    given: settings.Settings = settings.read_file(config) if config else {}
    given = settings.merged(given, settings.from_pairs(pairs))
    if planner is not None:
        given = settings.merged(given, {"planner": planner})
    if len(quaternions) % 4:
        raise CommandError(f"--quaternions: {len(quaternions)} columns are not four for each")
    _check(1, seed)
    folder = run_dir or agent.default_run_dir(env)
    stop = _StopOnSignal()
    with agent.ProgressDisplay(Console(stderr=as_json)) as display:
        result = agent.train(
            env,
            steps,
            seed,
            folder,
            config=given,
            reward=reward,
            termination=termination,
            angles=angles or None,
            quaternions=list(zip(*(quaternions[k::4] for k in range(4)), strict=True)) or None,
            env_kwargs=settings.from_pairs(env_pairs) or None,
            device=device,
            report=display.update,
            stop=stop,
        )
    last = result.returns[-agent.RECENT :]
    if as_json:
        facts = {
            "run": str(folder),
            "steps": result.steps,
            "stopped": stop(),
            "returns": result.returns,
            "mean_of_last": fmean(last) if last else None,
        }
        print(json.dumps(facts))
        return
    end = "stopped" if stop() else "done"
    print(f"{end} after {result.steps} steps and {len(result.returns)} episodes", end="")
    if last:
        print(f", mean return of the last {len(last)}: {fmean(last):.1f}", end="")
    more = "" if stop() else f" --steps {2 * result.steps}"
    print(f"; all is in {folder}\ngo on:  mbrl train --run-dir {folder}{more}")
    print(f"look:   mbrl eval {folder};  mbrl play {folder};  mbrl diagnose {folder}")


def evaluate(
    run: Path,
    episodes: int,
    seed: int | None,
    reward: str | None,
    termination: str | None,
    as_json: bool,
    device: str,
) -> None:
    """Prints the returns of some episodes.

    Raises:
        CommandError, RunError: the run cannot be used.
    """
    _check(episodes, seed)
    with waiting("acting, episodes", episodes) as advance:
        seen = agent.evaluate(
            run,
            episodes,
            agent.SEED if seed is None else seed,
            reward=reward,
            termination=termination,
            device=device,
            report=advance,
        )
    values = [episode.total for episode in seen]
    summary = {
        "mean": fmean(values),
        "std": pstdev(values),
        "min": min(values),
        "max": max(values),
    }
    if as_json:
        rows = [{"return": e.total, "steps": e.steps, "terminated": e.terminated} for e in seen]
        print(json.dumps({"run": str(run), "episodes": rows, **summary}))
        return
    table = Table(title=f"{escape(str(run))}, {episodes} episodes")
    for column in ("episode", "return", "steps", "end"):
        table.add_column(column, justify="right")
    for number, e in enumerate(seen, 1):
        end = "terminated" if e.terminated else "truncated"
        table.add_row(str(number), f"{e.total:.1f}", str(e.steps), end)
    console = Console()
    console.print(table)
    console.print("  ".join(f"{name} {value:.1f}" for name, value in summary.items()))


def play(
    run: Path,
    video: Path | None,
    episodes: int,
    seed: int | None,
    reward: str | None,
    termination: str | None,
    as_json: bool,
    device: str,
) -> None:
    """Films some episodes.

    Raises:
        CommandError, RunError: the run cannot be used, or the film not be written.
    """
    _check(episodes, seed)
    with waiting("filming, episodes", episodes if episodes > 1 else None) as advance:
        path = agent.record(
            run,
            video,
            episodes,
            agent.SEED if seed is None else seed,
            reward=reward,
            termination=termination,
            device=device,
            report=advance,
        )
    if as_json:
        print(json.dumps({"run": str(run), "film": str(path), "episodes": episodes}))
    else:
        print(f"written: {path}")


def diagnose(
    run: Path,
    robot: str | None,
    task: str | None,
    reward: str | None,
    termination: str | None,
    as_json: bool,
) -> None:
    """Judges a run's newest model.

    Raises:
        RunError, SpecError, DiagnosisError: the run cannot be used.
    """
    from mbrl_node.diagnose import diagnose as judge

    system, what = agent.system_and_task(run, robot, reward, termination, task)
    console = Console()
    with waiting("judging the model"), console.capture() as shown:
        found = judge(run, system, what, None if as_json else console)
    print(json.dumps(found) if as_json else shown.get(), end="\n" if as_json else "")


def _check(episodes: int, seed: int | None) -> None:
    if episodes < 1:
        raise CommandError(f"--episodes: {episodes} is below 1")
    if seed is not None and seed < 0:
        raise CommandError(f"--seed: {seed} is below 0")


class _StopOnSignal:
    """Says yes from the first SIGINT or SIGTERM on; the second ends the process at once.

    Whatever has been learned is on disk all the time, so that nothing can be lost.
    """

    def __init__(self) -> None:
        self._stopped = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        if self._stopped:
            os._exit(128 + number)
        self._stopped = True

    def __call__(self) -> bool:
        return self._stopped
