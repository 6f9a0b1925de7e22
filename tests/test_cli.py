"""The command `mbrl`, from its arguments to what it prints and leaves behind."""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mbrl_node import cli
from mbrl_node.data import RunStore

SMALL = [
    *("--set", "model.members=2"),
    *("--set", "model.hidden=[16, 16]"),
    *("--set", "mppi.samples=10"),
    *("--set", "mppi.horizon=0.25"),
    *("--set", "learner.gradient_steps=5"),
]


def test_train_go_on_eval_play_and_diagnose(mbrl):
    train = ["train", "--env", "Pendulum-v1", "--run-dir", "run", *SMALL]
    code, out, _ = mbrl(*train, "--steps", 220)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("step 200/220  episode 1  return -")
    assert lines[1].startswith("done after 220 steps and 1 episodes, mean return of the last 1: -")
    assert lines[2] == "go on:  mbrl train --run-dir run --steps 440"

    code, out, _ = mbrl("train", "--run-dir", "run", "--steps", 430)
    assert code == 0
    assert "done after 430 steps and 2 episodes" in out

    code, out, _ = mbrl("eval", "run", "--episodes", 2, "--json")
    assert code == 0
    result = json.loads(out)
    returns = [episode["return"] for episode in result["episodes"]]
    assert len(returns) == 2
    assert result["min"] == min(returns) <= result["mean"] <= result["max"] == max(returns) < 0
    assert result["episodes"][0]["steps"] == 200

    code, out, _ = mbrl("eval", "run", "--episodes", 1)
    assert code == 0
    assert f"mean {returns[0]:.1f}" in out  # the same start, the same model

    code, out, _ = mbrl("play", "run", "--video", "film.mp4")
    assert (code, out) == (0, "written: film.mp4\n")
    assert Path("film.mp4").stat().st_size > 10_000

    code, out, _ = mbrl("diagnose", "run", "--json")
    assert code == 0
    assert json.loads(out)["facts"]["transitions"] == 430
    assert Path("run/diagnose/report.html").exists()
    code, _, err = mbrl("diagnose", "run", "--task", "other")
    assert (code, err) == (
        2,
        "mbrl: run: is a run of Pendulum-v1: --task needs --robot beside it\n",
    )


def test_a_run_of_a_learner_node_is_diagnosed_by_the_name_of_its_robot(mbrl):
    mbrl("train", "--env", "sim:mbrl/Cartpole-v0", "--run-dir", "run", "--steps", 60, *SMALL)
    Path("run/run.json").unlink()  # only `mbrl train` writes it
    code, out, _ = mbrl("diagnose", "run", "--json")
    assert code == 0
    assert json.loads(out)["facts"]["robot"] == "cartpole"
    code, _, err = mbrl("diagnose", "run", "--robot", "cartpol")
    assert code == 2
    assert "did you mean 'cartpole'?" in err


def test_without_a_folder_a_new_one_is_made_in_runs(mbrl):
    code, out, _ = mbrl("train", "--env", "Pendulum-v1", "--steps", 3)
    (folder,) = Path("runs").iterdir()
    assert code == 0
    assert folder.name.startswith("Pendulum-v1-")
    assert f"all is in {folder}" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("train", "an environment is needed"),
        ("train --env Pendulm-v1", "Did you mean: `Pendulum`?"),
        ("train --env mbrl/cartpol-v0", "are sim:mbrl/"),
        ("train --env nosuch:Thing-v0", "No module named 'nosuch'"),
        ("train --env CartPole-v1", "action space is Discrete(2)"),
        ("train --env Pendulum-v1 --env-set mass=1", "unexpected keyword argument 'mass'"),
        ("train --env Pendulum-v1 --angles 3", "columns are 0 to 2, not 3"),
        ("train --env Pendulum-v1 --quaternions 0 1 2", "3 columns are not four for each"),
        ("train --env Pendulum-v1 --steps 0", "steps: 0 is below 1"),
        ("train --env Pendulum-v1 --set model.member=1", "did you mean 'members'?"),
        ("train --env Pendulum-v1 --set mppi.covariance=[1,2,3]", "covariance"),
        ("train --env Pendulum-v1 --planner ice", "did you mean 'icem'?"),
        ("train --env Pendulum-v1 --config no.yaml", "no.yaml: cannot be read"),
        ("train --env Pendulum-v1 --device gpu", "device 'gpu' cannot be used"),
        ("train --env Pendulum-v1 --reward rewards", "'rewards' is not MODULE:FUNCTION"),
        ("train --env Pendulum-v1 --reward math:nothing", "math:nothing: cannot be imported"),
        ("train --env Pendulum-v1 --termination math:pi", "math:pi: is not a function"),
        ("eval nowhere", "nowhere: no such folder"),
        ("eval .", "has no run.json"),
        ("eval . --episodes 0", "0 is below 1"),
        ("play nowhere", "nowhere: no such folder"),
        ("diagnose nowhere", "nowhere"),
        ("eval nowhere --seed -1", "--seed: -1 is below 0"),
        ("train --env Pendulum-v1 --seed -1", "--seed: -1 is below 0"),
        ("diagnose .", "has no transitions.db"),
        ("init-robot robot.urdf", "robot.urdf: cannot be read: No such file or directory"),
        ("check cartpole --live --seconds -1", "--seconds: -1 is not above 0"),
    ],
)
def test_what_cannot_work_is_one_line_and_exit_code_2(mbrl, arguments, words):
    code, out, err = mbrl(*arguments.split())
    assert code == 2
    assert out == ""
    assert words in err
    assert err.startswith("mbrl: ")
    assert len(err.splitlines()) == 1
    assert not any(Path().iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("trian", "'trian' is no command; did you mean 'train'?"),
        ("nothing", "'nothing' is no command; `mbrl --help` lists them"),
        ("train --stps 3", "--stps is no option of train; did you mean '--steps'?"),
        ("runs --zzz", "--zzz is no option of runs; `mbrl runs --help` explains its options"),
        ("eval", "eval needs RUN; `mbrl eval --help` explains it"),
        ("eval run more", "eval does not know what to do with 'more'"),
        ("init-robot", "init-robot needs URDF"),
        ("import bag", "import needs --robot"),
        ("train --steps", "--steps needs a value"),
        ("train --steps many", "--steps: 'many' is not a whole number"),
        ("promote run first", "VERSION: 'first' is not a whole number"),
        ("check cartpole --seconds soon", "--seconds: 'soon' is not a number"),
        ("init-robot a --command foo", "--command: 'foo' is none of effort, position, velocity"),
    ],
)
def test_a_command_line_that_is_not_understood_is_one_sentence(mbrl, arguments, words):
    code, out, err = mbrl(*arguments.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"mbrl: {words}") and len(err.splitlines()) == 1


def test_help_has_each_command_in_one_line_and_takes_no_time(mbrl):
    code, out, err = mbrl("--help")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    for name in cli.COMMANDS:
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1
    assert max(map(len, lines)) <= 80
    assert mbrl() == (2, "", out)

    program = "import sys; sys.argv[1:] = ['--help']; from mbrl_node.cli import main; main()"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5  # s of CPU


def test_what_is_missing_is_named_and_the_doctor_with_it(mbrl, monkeypatch):
    monkeypatch.setattr(
        "mbrl_node.commands.bench.listed",
        lambda as_json: importlib.import_module("no_such_package"),
    )
    code, out, err = mbrl("bench")
    assert (code, out) == (2, "")
    assert err == "mbrl: no_such_package is not installed; `mbrl doctor` says how to mend it\n"


def test_ctrl_c_and_a_reader_who_has_seen_enough_end_it_without_a_traceback(tmp_path):
    program = (
        "import sys; from mbrl_node import cli; from mbrl_node.commands import bench\n"
        "sys.argv = ['mbrl', 'bench']\n"
        "def listed(as_json): {}\n"
        "bench.listed = listed; cli.main()"
    )
    for what, code, said in (
        ("raise KeyboardInterrupt", 130, "mbrl: interrupted\n"),
        ("[print('line ' * 100) for _ in range(10_000)]", 141, ""),
    ):
        with subprocess.Popen(
            [sys.executable, "-c", program.format(what)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            process.stdout.close()
            assert process.stderr.read() == said
        assert process.returncode == code


def test_with_json_there_is_one_object_on_stdout_and_nothing_else(tmp_path):
    """In a process of its own: what libraries in C print counts, too."""
    run = ["--run-dir", "run", "--steps", "60", *SMALL]
    commands = {
        "returns": ["train", "--env", "sim:mbrl/Cartpole-v0", *run],
        "transitions": ["export", "run", "--npz", "x.npz", "--mcap", "bag"],
        "added": ["import", "bag", "--robot", "cartpole", "--run-dir", "again"],
        "taken_back": ["rollback", "run"],
        "promoted": ["promote", "run", "1"],
    }
    program = (
        "import sys; from mbrl_node import cli\n"
        f"for arguments in {list(commands.values())}:\n"
        "    sys.argv = ['mbrl', *arguments, '--json']\n"
        "    cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for key, line in zip(commands, done.stdout.splitlines(), strict=True):
        assert key in json.loads(line)


@pytest.mark.parametrize("arguments", ["check cartpole", "init-robot no.urdf", "--help"])
def test_what_is_about_a_file_is_done_without_what_takes_long_to_import(tmp_path, arguments):
    program = (
        "import sys; from mbrl_node import cli\n"
        f"sys.argv = ['mbrl', *{arguments.split()}]\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'gymnasium' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)


def test_functions_are_looked_for_where_the_command_runs(mbrl):
    Path("my_task.py").write_text("def reward(s, a, s2):\n    return -s2[..., 2] ** 2\n")
    arguments = ["--env", "Pendulum-v1", "--run-dir", "run", "--reward", "my_task:reward"]
    assert mbrl("train", *arguments, "--steps", 30, *SMALL)[0] == 0
    assert json.loads(Path("run/run.json").read_text())["reward"] == "my_task:reward"
    sys.modules.pop("my_task")


def test_a_killed_run_has_lost_nothing_and_goes_on(mbrl):
    with started("--steps", "100000") as process:
        for _ in range(2):
            assert process.stdout.readline().startswith("step ")
        process.kill()
        process.wait()
    before = stored()
    assert len(before) >= 400
    steps = len(before) + 30
    code, out, _ = mbrl("train", "--run-dir", "run", "--steps", steps)
    assert code == 0
    assert f"done after {steps} steps" in out
    after = stored()
    assert [row for row in after if row in set(before)] == before
    # Each session's transitions are numbered without a gap.
    for session in {row[0] for row in after}:
        numbers = [row[1] for row in after if row[0] == session]
        assert numbers == list(range(len(numbers)))


def test_ctrl_c_ends_training_with_a_summary(mbrl):
    with started("--steps", "100000") as process:
        assert process.stdout.readline().startswith("step 200/100000")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in err
    steps = len(stored())
    assert f"stopped after {steps} steps" in out
    assert "go on:  mbrl train --run-dir run\n" in out
    assert mbrl("eval", "run", "--episodes", 1)[0] == 0


def started(*arguments):
    """`mbrl train` as a process, in the folder `run`."""
    command = [sys.executable, "-m", "mbrl_node.cli", "train", "--env", "Pendulum-v1"]
    return subprocess.Popen(
        [*command, "--run-dir", "run", *SMALL, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def stored():
    """Session, number and reward of all transitions."""
    store = RunStore(Path("run/transitions.db"), read_only=True)
    return store.records()[["session", "sequence", "reward"]].tolist()
