"""`mbrl`: learning without ROS, what was learned, robots' files, and this machine.

What cannot work is one line on stderr and exit code 2. Ctrl-C ends training in good order.
"""

# Nothing large is imported before it is known what to do: `mbrl --help` is not to take seconds.
from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, UseAppendAction, arg

USAGE = 2  # exit code: it cannot work as it was called
COMMANDS: dict[str, Callable[..., None]] = {}  # by name


def _option(metavar: str | None, text: str, name: str | None = None) -> Any:
    return arg(name=name, metavar=metavar, help=text, help_behavior_hint="")


def _place(metavar: str, text: str) -> Any:
    return arg(metavar=metavar, help=text, help_behavior_hint="")


app = tyro.extras.SubcommandApp()
Run = Annotated[Path, Positional, _place("RUN", "the run's folder")]
Pairs = Annotated[tuple[str, ...], UseAppendAction]
Reward = Annotated[
    str | None,
    _option("MODULE:FUNCTION", "the reward R(s, a, s'); default: the robot's, or learned"),
]
Termination = Annotated[
    str | None, _option("MODULE:FUNCTION", "whether a state ends an episode; default: likewise")
]
Json = Annotated[bool, _option(None, "print one JSON object on stdout, and nothing else", "json")]
Device = Annotated[str, _option("NAME", "torch's device, cpu or cuda; default: cpu")]
Robot = Annotated[str | None, _option("NAME", "a robot, or its file; default: the run's own")]
TaskName = Annotated[
    str | None, _option("NAME", "a task, or its file; default: that of the newest session")
]
Seed = Annotated[
    int | None, _option("N", "seed of the starts; default: one that training never uses")
]
Episodes = Annotated[int, _option("N", "how many episodes")]


def _command(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a function a command; the first line of its docstring is its line in the overview."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        COMMANDS[name] = function
        return app.command(name=name)(function)

    return register


@_command("train")
def train(
    env: Annotated[str | None, _option("ID", "a Gymnasium environment's, or MODULE:ID")] = None,
    steps: Annotated[
        int | None, _option("N", "steps of the environment, in total; default: 10000")
    ] = None,
    seed: Annotated[int | None, _option("N", "seed of everything random; default: 0")] = None,
    run_dir: Annotated[
        Path | None, _option("FOLDER", "the run's folder; default: a new one in runs/")
    ] = None,
    set_: Annotated[Pairs, _option("KEY=VALUE", "a setting, such as model.members=1", "set")] = (),
    config: Annotated[
        Path | None, _option("FILE", "settings in YAML, in the sections of config/mbrl.yaml")
    ] = None,
    planner: Annotated[
        str | None, _option("NAME", "the planner: mppi, icem, cem or random_shooting")
    ] = None,
    env_set: Annotated[Pairs, _option("KEY=VALUE", "what the environment is made with")] = (),
    angles: Annotated[
        tuple[int, ...], _option("COLUMN", "columns of the observation that are angles, in rad")
    ] = (),
    quaternions: Annotated[
        tuple[int, ...], _option("COLUMN", "columns of x, y, z, w of each orientation")
    ] = (),
    reward: Reward = None,
    termination: Termination = None,
    json_: Json = False,
    device: Device = "cpu",
) -> None:
    """Learn in a Gymnasium environment, or go on in a run's folder."""
    from mbrl_node.commands import learning

    given = set_, config, planner, env_set, angles, quaternions
    learning.train(env, steps, seed, run_dir, *given, reward, termination, device, json_)


@_command("eval")
def evaluate(
    run: Run,
    episodes: Episodes = 10,
    seed: Seed = None,
    reward: Reward = None,
    termination: Termination = None,
    json_: Json = False,
    device: Device = "cpu",
) -> None:
    """Act with a run's newest model: the returns of some episodes."""
    from mbrl_node.commands import learning

    learning.evaluate(run, episodes, seed, reward, termination, json_, device)


@_command("play")
def play(
    run: Run,
    video: Annotated[
        Path | None, _option("FILE", "the film, MP4; default: play.mp4 in RUN")
    ] = None,
    episodes: Episodes = 1,
    seed: Seed = None,
    reward: Reward = None,
    termination: Termination = None,
    json_: Json = False,
    device: Device = "cpu",
) -> None:
    """Act with a run's newest model, and film it."""
    from mbrl_node.commands import learning

    learning.play(run, video, episodes, seed, reward, termination, json_, device)


@_command("diagnose")
def diagnose(
    run: Run,
    robot: Robot = None,
    task: TaskName = None,
    reward: Reward = None,
    termination: Termination = None,
    json_: Json = False,
) -> None:
    """Judge a run's newest model: tables, and figures in RUN/diagnose."""
    from mbrl_node.commands import learning

    learning.diagnose(run, robot, task, reward, termination, json_)


@_command("report")
def report(
    run: Run,
    output: Annotated[
        Path | None, _option("FILE", "the page, HTML; default: report.html in RUN")
    ] = None,
    robot: Robot = None,
    task: TaskName = None,
    json_: Json = False,
) -> None:
    """Write a run's story as one HTML file.

    Learning, model, faults, timing, configuration.
    """
    from mbrl_node.commands import report as command_

    command_.report(run, output, robot, task, json_)


@_command("models")
def models(
    run: Run,
    all_: Annotated[bool, _option(None, "not only the newest 20", "all")] = False,
    json_: Json = False,
) -> None:
    """List the versions of a run's model, and why some are not in use."""
    from mbrl_node.commands import model_versions

    model_versions.models(run, all_, json_)


@_command("promote")
def promote(
    run: Run,
    version: Annotated[
        int, Positional, _place("VERSION", "a version of its model, kept or refused")
    ],
    json_: Json = False,
) -> None:
    """Put an older or refused version of a run's model in use again."""
    from mbrl_node.commands import model_versions

    model_versions.promote(run, version, json_)


@_command("rollback")
def rollback(run: Run, json_: Json = False) -> None:
    """Take a run's newest model back: the accepted one before is in use."""
    from mbrl_node.commands import model_versions

    model_versions.rollback(run, json_)


@_command("runs")
def runs(json_: Json = False) -> None:
    """List the runs in the default folder and in runs/."""
    from mbrl_node.commands import run_list

    run_list.runs(json_)


@_command("export")
def export(
    run: Run,
    mcap: Annotated[Path | None, _option("FOLDER", "a bag of rosbag2, made new")] = None,
    npz: Annotated[Path | None, _option("FILE", "arrays of NumPy")] = None,
    parquet: Annotated[Path | None, _option("FILE", "a table, one row a transition")] = None,
    minari: Annotated[str | None, _option("NAME", "a Minari dataset, such as robot/run-v0")] = None,
    robot: Robot = None,
    task: TaskName = None,
    json_: Json = False,
) -> None:
    """Write a run's transitions as a bag, a table, or a dataset."""
    from mbrl_node.commands import exchange

    exchange.export(run, robot, mcap, npz, parquet, minari, task, json_)


@_command("import")
def import_(
    bag: Annotated[Path, Positional, _place("BAG", "a bag's folder, or its .mcap or .db3 file")],
    robot: Annotated[str, _option("NAME", "the robot that was recorded, or its file")],
    run_dir: Annotated[
        Path | None, _option("FOLDER", "the run's; default: a new one in $XDG_DATA_HOME/mbrl/runs")
    ] = None,
    task: Annotated[
        str, _option("NAME", "the task that it did, or its file; default: the robot's own")
    ] = "",
    json_: Json = False,
) -> None:
    """Make transitions from a recorded bag, for a run to learn from."""
    from mbrl_node.commands import exchange

    exchange.import_bag(bag, robot, run_dir, task, json_)


@_command("init-robot")
def init_robot(
    urdf: Annotated[Path, Positional, _place("URDF", "the robot's file for ROS")],
    output: Annotated[
        Path | None, _option("FILE", "the robot's file; default: URDF's name and .yaml, here")
    ] = None,
    command: Annotated[
        Literal["effort", "velocity", "position"] | None,
        _option("KIND", "what commands are: effort, velocity or position; default: a guess"),
    ] = None,
    rate: Annotated[float, _option("HZ", "how often it is controlled; default: 25")] = 25.0,
    joints: Annotated[
        str | None, _option("A,B", "joints that are driven; default: a guess")
    ] = None,
    json_: Json = False,
) -> None:
    """Write a robot's file, with comments, from its URDF."""
    from mbrl_node.commands import init_robot as command_

    names = None if joints is None else [name for name in joints.split(",") if name]
    command_.init_robot(urdf, output, command, rate, names, json_)


@_command("check")
def check(
    robot: Annotated[str, Positional, _place("FILE", "a robot's file, or its name")],
    task: Annotated[str, _option("NAME", "one of its tasks, or a task's file")] = "",
    live: Annotated[
        bool, _option(None, "listen to the running topics, too; nothing is published")
    ] = False,
    seconds: Annotated[float, _option("S", "how long --live listens; default: 5")] = 5.0,
    json_: Json = False,
) -> None:
    """Say whether a robot's file is right, and fits the running robot.

    Exit code 1 if not.
    """
    from mbrl_node.commands import check as command_

    if not command_.check(robot, task, live, seconds, json_):
        raise SystemExit(1)


@_command("switch")
def switch(
    name: Annotated[
        str | None, Positional, _place("CONTROLLER", "the one that is to act; default: list them")
    ] = None,
    node: Annotated[
        str, _option("NAME", "the controller's node; default: /mbrl_controller")
    ] = "/mbrl_controller",
    json_: Json = False,
) -> None:
    """Swap the controller of a running node, or list those it has."""
    from mbrl_node.commands import switch as command_

    command_.switch(name, node, json_)


@_command("doctor")
def doctor(json_: Json = False) -> None:
    """Examine this machine: is everything here, and how is it mended.

    Exit code 1 if there is a problem.
    """
    from mbrl_node.commands.doctor import doctor as command_

    if not command_(json_):
        raise SystemExit(1)


@_command("bench")
def bench(
    name: Annotated[
        str | None, Positional, _place("NAME", "a benchmark; what follows goes to it")
    ] = None,
    json_: Json = False,
) -> None:
    """List the benchmarks, or run one in the checkout."""
    from mbrl_node.commands import bench as command_

    command_.listed(json_)  # with a name it does not come here, see `main`


@_command("completion")
def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish"], Positional, _place("SHELL", "bash, zsh or fish")
    ],
) -> None:
    """Print what makes a shell complete mbrl's commands and options.

    For bash, in this shell or in ~/.bashrc:  eval "$(mbrl completion bash)"
    """
    from mbrl_node.commands import completion as command_

    command_.completion(shell, _run)


def _run(words: list[str]) -> None:
    app.cli(prog="mbrl", args=words, config=(tyro.conf.FlagCreatePairsOff,))


def main() -> None:
    """The command."""
    logging.basicConfig(format="mbrl: %(message)s")
    logging.getLogger("mbrl_node.planning").setLevel(logging.INFO)  # what it plans with
    sys.path.insert(0, os.getcwd())  # where module:function and module:ID are looked for, too
    try:
        _start(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("mbrl: interrupted", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except BrokenPipeError:  # who reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    except Exception as error:
        from mbrl_node.commands.errors import for_the_user

        text = for_the_user(error)
        if text is None:
            raise
        print(f"mbrl: {text}", file=sys.stderr)
        raise SystemExit(USAGE) from None


def _start(words: list[str]) -> None:
    from mbrl_node.commands.mistakes import as_sentences
    from mbrl_node.commands.overview import overview

    if words in ([], ["-h"], ["--help"]):
        print(overview(COMMANDS), file=sys.stdout if words else sys.stderr)
        raise SystemExit(0 if words else USAGE)
    if words[0] == "bench" and words[1:] and not words[1].startswith("-"):
        from mbrl_node.commands import bench as command_

        command_.run(words[1], words[2:])
    with as_sentences(COMMANDS, words):
        _run(words)


if __name__ == "__main__":
    main()
