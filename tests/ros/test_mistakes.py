"""What a user gets wrong is one clear line and exit code 1."""

import os
import subprocess

import pytest

from mbrl_node.spec import load_spec

CARTPOLE = load_spec("cartpole").path.read_text()


def bringup(*arguments: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        ["ros2", "launch", "mbrl", "bringup.launch.py", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env=os.environ | environment,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("robot:=no_such_robot", ["no_such_robot", "cartpole"]),
        ("rate:=fast", ["argument rate", "'fast'"]),
        ("speed:=-1", ["argument speed", "-1"]),
        ("seed:=1.5", ["argument seed", "'1.5'"]),
        ("change:=60 mass pole", ["argument change", "'60 mass pole'", "TIME WHAT OF VALUE"]),
        ("controller:=pid", ["controller", "pid", "mppi"]),
        ("params:=/no/such/file.yaml", ["argument params", "/no/such/file.yaml"]),
        ("run_dir:=/proc/nowhere", ["argument run_dir", "/proc/nowhere"]),
        ("resume:=cartpole-20200101-000000", ["argument resume", "cartpole-20200101-000000"]),
        ("malformed", ["malformed"]),
    ],
)
def test_a_bad_argument_is_one_line_and_rc_1(argument, words):
    code, text = bringup(argument)
    assert code == 1 and "Traceback" not in text and "process started" not in text
    lines = [line for line in text.splitlines() if all(word in line for word in words)]
    assert lines, text


def test_a_wrong_field_in_the_robots_file_is_named_with_file_field_and_value(tmp_path):
    path = tmp_path / "my_robot.yaml"
    path.write_text(CARTPOLE.replace("max: 5.0", "max: -7.5"))
    code, text = bringup(f"robot:={path}")
    assert code == 1 and "Traceback" not in text
    assert "my_robot.yaml: action.fields[0].max: -7.5 is" in text


def test_a_wrong_parameter_ends_the_launch_with_rc_1(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("/**: {ros__parameters: {mppi: {samples: 0}}}\n")
    code, text = bringup(f"params:={path}", f"run_dir:={tmp_path / 'run'}")
    assert code == 1 and "Traceback" not in text
    assert "parameter mppi.samples: 0: " in text


def test_the_newest_run_of_the_robot_is_resumed(tmp_path):
    runs = tmp_path / "mbrl" / "runs"
    code, text = bringup("resume:=latest", XDG_DATA_HOME=str(tmp_path))
    assert code == 1 and f"argument resume: no run 'latest' of cartpole in {runs}" in text
    day = "20251125-120000"
    names = (
        "cartpole-20251125-130000",
        f"cartpole-{day}",
        f"cartpole-2-{day}",
        f"a-cartpole-{day}",
    )
    for number, name in enumerate(names):
        (runs / name).mkdir(parents=True)
        os.utime(runs / name, (number, number))
    code, text = bringup("resume:=latest", f"run_dir:={tmp_path}", XDG_DATA_HOME=str(tmp_path))
    assert code == 1 and "argument resume: a run_dir is given as well" in text
    code, text = bringup("resume:=latest", "duration:=0.2", XDG_DATA_HOME=str(tmp_path))
    assert code == 0 and f"run {runs / names[1]}: 0 transitions" in text
