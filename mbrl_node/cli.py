"""`mbrl`: learning without ROS in Gymnasium environments, what was learned, and robots' files.

What cannot work is one line on stderr and exit code 2. Ctrl-C ends training in good order.
"""

# Nothing large is imported before it is known what to do: `mbrl --help` is not to take seconds.
from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, pstdev
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, UseAppendAction, arg

USAGE = 2  # exit code: it cannot work as it was called


def _option(metavar: str, text: str, name: str | None = None) -> Any:
    return arg(name=name, metavar=metavar, help=text, help_behavior_hint="")


app = tyro.extras.SubcommandApp()
Run = Annotated[Path, Positional, arg(metavar="RUN", help="the run's folder")]
Pairs = Annotated[tuple[str, ...], UseAppendAction]
Reward = Annotated[str | None, _option("MODULE:FUNCTION", "if none is given it is learned")]
Json = Annotated[bool, _option("", "one JSON object on stdout", "json")]
Device = Annotated[str, _option("NAME", "of torch: cpu (default), cuda")]
TaskName = Annotated[str | None, _option("NAME", "or file; default: that of the newest session")]
Seed = Annotated[int | None, _option("N", "of the starts; there is a default")]


@app.command
def train(
    env: Annotated[str | None, _option("ID", "a Gymnasium environment, or module:ID")] = None,
    steps: Annotated[int | None, _option("N", "of the environment, in total; 10000")] = None,
    seed: Annotated[int | None, _option("N", "of everything random; 0")] = None,
    run_dir: Annotated[Path | None, _option("FOLDER", "default: a new one in runs/")] = None,
    set_: Annotated[Pairs, _option("KEY=VALUE", "a setting: model.members=1", "set")] = (),
    config: Annotated[
        Path | None, _option("FILE", "settings in YAML, in the sections of config/mbrl.yaml")
    ] = None,
    planner: Annotated[str | None, _option("NAME", "mppi, icem, cem, random_shooting")] = None,
    env_set: Annotated[Pairs, _option("KEY=VALUE", "what the environment is made with")] = (),
    angles: Annotated[tuple[int, ...], _option("COLUMN", "of the observation, in rad")] = (),
    quaternions: Annotated[
        tuple[int, ...], _option("COLUMN", "those of x, y, z, w of each orientation")
    ] = (),
    reward: Reward = None,
    termination: Reward = None,
    device: Device = "cpu",
) -> None:
    """Learn in a Gymnasium environment; called again on a run's folder, go on there."""
    from mbrl_node import agent
    from mbrl_node.agent import settings

    given: settings.Settings = settings.read_file(config) if config else {}
    given = settings.merged(given, settings.from_pairs(set_))
    if planner is not None:
        given = settings.merged(given, {"planner": planner})
    if len(quaternions) % 4:
        raise agent.RunError(f"--quaternions: {len(quaternions)} columns are not four for each")
    folder = run_dir or agent.default_run_dir(env)
    stop = _StopOnSignal()
    with agent.ProgressDisplay() as display:
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
            env_kwargs=settings.from_pairs(env_set) or None,
            device=device,
            report=display.update,
            stop=stop,
        )
    end = "stopped" if stop() else "done"
    print(f"{end} after {result.steps} steps and {len(result.returns)} episodes", end="")
    if last := result.returns[-agent.RECENT :]:
        print(f", mean return of the last {len(last)}: {fmean(last):.1f}", end="")
    more = "" if stop() else f" --steps {2 * result.steps}"
    print(f"; all is in {folder}\ngo on:  mbrl train --run-dir {folder}{more}")
    print(f"look:   mbrl eval {folder};  mbrl play {folder};  mbrl diagnose {folder}")


@app.command(name="eval")
def evaluate(
    run: Run,
    episodes: Annotated[int, _option("N", "how many; 10")] = 10,
    seed: Seed = None,
    reward: Reward = None,
    termination: Reward = None,
    json_: Json = False,
    device: Device = "cpu",
) -> None:
    """Act with a run's newest model, learn nothing: the returns of some episodes."""
    from mbrl_node import agent

    if episodes < 1:
        raise agent.RunError(f"--episodes: {episodes} is below 1")
    seen = agent.evaluate(
        run,
        episodes,
        agent.SEED if seed is None else seed,
        reward=reward,
        termination=termination,
        device=device,
    )
    values = [episode.total for episode in seen]
    summary = {
        "mean": fmean(values),
        "std": pstdev(values),
        "min": min(values),
        "max": max(values),
    }
    if json_:
        rows = [{"return": e.total, "steps": e.steps, "terminated": e.terminated} for e in seen]
        print(json.dumps({"run": str(run), "episodes": rows, **summary}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{run}, {episodes} episodes")
    for column in ("episode", "return", "steps", "end"):
        table.add_column(column, justify="right")
    for number, e in enumerate(seen, 1):
        end = "terminated" if e.terminated else "truncated"
        table.add_row(str(number), f"{e.total:.1f}", str(e.steps), end)
    console = Console()
    console.print(table)
    console.print("  ".join(f"{name} {value:.1f}" for name, value in summary.items()))


@app.command
def play(
    run: Run,
    video: Annotated[Path | None, _option("FILE", "MP4; default: play.mp4 in RUN")] = None,
    episodes: Annotated[int, _option("N", "how many; 1")] = 1,
    seed: Seed = None,
    reward: Reward = None,
    termination: Reward = None,
    device: Device = "cpu",
) -> None:
    """Act with a run's newest model, learn nothing, and film it."""
    from mbrl_node import agent

    path = agent.record(
        run,
        video,
        episodes,
        agent.SEED if seed is None else seed,
        reward=reward,
        termination=termination,
        device=device,
    )
    print(f"written: {path}")


@app.command
def diagnose(
    run: Run,
    robot: Annotated[str | None, _option("NAME", "or file, where the run does not tell")] = None,
    task: TaskName = None,
    reward: Reward = None,
    termination: Reward = None,
    json_: Json = False,
) -> None:
    """Judge a run's newest model: tables, and a report with figures in RUN/diagnose."""
    from rich.console import Console

    from mbrl_node import agent
    from mbrl_node.diagnose import diagnose as judge

    system, what = agent.system_and_task(run, robot, reward, termination, task)
    found = judge(run, system, what, None if json_ else Console())
    if json_:
        print(json.dumps(found))


@app.command
def report(
    run: Run,
    output: Annotated[Path | None, _option("FILE", "HTML; default: report.html in RUN")] = None,
    robot: Annotated[str | None, _option("NAME", "or file, where the run does not tell")] = None,
    task: TaskName = None,
    json_: Json = False,
) -> None:
    """Write a run's story as one HTML file: learning, model, faults, timing, configuration."""
    from mbrl_node.commands import report as command_

    command_.report(run, output, robot, task, json_)


@app.command
def models(
    run: Run,
    all_: Annotated[bool, _option("", "not only the newest 20", "all")] = False,
    json_: Json = False,
) -> None:
    """The versions of a run's model: metrics, which is in use, and why others are not."""
    from mbrl_node.commands import model_versions

    model_versions.models(run, all_, json_)


@app.command
def promote(
    run: Run,
    version: Annotated[int, Positional, arg(metavar="VERSION", help="of its model")],
) -> None:
    """Make an older or refused version of a run's model the one in use, as a new version."""
    from mbrl_node.commands import model_versions

    model_versions.promote(run, version)


@app.command
def rollback(run: Run) -> None:
    """Take a run's newest model back: the accepted version before it is in use again."""
    from mbrl_node.commands import model_versions

    model_versions.rollback(run)


@app.command
def runs(json_: Json = False) -> None:
    """The runs in the default folder and in runs/: robot, transitions, versions."""
    from mbrl_node.commands import run_list

    run_list.runs(json_)


@app.command
def export(
    run: Run,
    mcap: Annotated[Path | None, _option("FOLDER", "a bag of rosbag2, made new")] = None,
    npz: Annotated[Path | None, _option("FILE", "arrays of NumPy")] = None,
    parquet: Annotated[Path | None, _option("FILE", "a table, one row a transition")] = None,
    minari: Annotated[str | None, _option("NAME", "a Minari dataset, such as robot/run-v0")] = None,
    robot: Annotated[str | None, _option("NAME", "or file, where the run does not tell")] = None,
    task: TaskName = None,
) -> None:
    """Write a run's transitions as a bag, a table, or a dataset."""
    from mbrl_node.commands import exchange

    exchange.export(run, robot, mcap, npz, parquet, minari, task)


@app.command(name="import")
def import_(
    bag: Annotated[
        Path, Positional, arg(metavar="BAG", help="a bag's folder, or its .mcap or .db3 file")
    ],
    robot: Annotated[str, _option("NAME", "or file, of the robot that was recorded")],
    run_dir: Annotated[
        Path | None, _option("FOLDER", "default: a new one in $XDG_DATA_HOME/mbrl/runs")
    ] = None,
    task: Annotated[str, _option("NAME", "or file, of what it did; default: its file's own")] = "",
) -> None:
    """Make transitions from a recorded bag, for a run to learn from."""
    from mbrl_node.commands import exchange

    exchange.import_bag(bag, robot, run_dir, task)


@app.command(name="init-robot")
def init_robot(
    urdf: Annotated[Path, Positional, arg(metavar="URDF", help="the robot's file for ROS")],
    output: Annotated[Path | None, _option("FILE", "default: URDF's name and .yaml, here")] = None,
    command: Annotated[
        Literal["effort", "velocity", "position"] | None,
        _option("KIND", "effort, velocity or position; there is a guess"),
    ] = None,
    rate: Annotated[float, _option("HZ", "of control; 25")] = 25.0,
    joints: Annotated[str | None, _option("A,B", "those that are driven; there is a guess")] = None,
) -> None:
    """Write a robot's file, with comments, from its URDF."""
    from mbrl_node.commands import init_robot as command_

    names = None if joints is None else [name for name in joints.split(",") if name]
    command_.init_robot(urdf, output, command, rate, names)


@app.command
def check(
    robot: Annotated[str, Positional, arg(metavar="FILE", help="a robot's file, or its name")],
    task: Annotated[str, _option("NAME", "one of its tasks, or a task's file")] = "",
    live: Annotated[bool, _option("", "beside the running topics; nothing is published")] = False,
    seconds: Annotated[float, _option("S", "how long --live listens; 5")] = 5.0,
    json_: Json = False,
) -> None:
    """Is a robot's file right, and does it fit the running robot? Exit code 1 if not."""
    from mbrl_node.commands import check as command_

    if not command_.check(robot, task, live, seconds, json_):
        raise SystemExit(1)


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


def main() -> None:
    """The command."""
    logging.basicConfig(format="mbrl: %(message)s")
    logging.getLogger("mbrl_node.planning").setLevel(logging.INFO)  # what it plans with
    sys.path.insert(0, os.getcwd())  # where module:function and module:ID are looked for, too
    try:
        command: Callable[..., None] = app.cli
        command(prog="mbrl", config=(tyro.conf.FlagCreatePairsOff,))
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except Exception as error:
        if not _is_for_the_user(error):
            raise
        print(f"mbrl: {error}", file=sys.stderr)
        raise SystemExit(USAGE) from None


def _is_for_the_user(error: Exception) -> bool:
    """Whether its message says all, and a traceback nothing more."""
    from mbrl_node.spec import SpecError

    if isinstance(error, SpecError):
        return True  # the rest takes seconds to import
    from mbrl_node.agent import RunError, SettingsError
    from mbrl_node.data import StoreError
    from mbrl_node.data.exchange import ExchangeError
    from mbrl_node.learning import VersionError
    from mbrl_node.learning.diagnostics import DiagnosisError
    from mbrl_node.report import ReportError

    own = RunError | SettingsError | StoreError | VersionError | DiagnosisError | ReportError
    return isinstance(error, own | ExchangeError)


if __name__ == "__main__":
    main()
