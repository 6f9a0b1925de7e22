"""`ros2 launch`: finding the file, and its arguments."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Ros2 = Callable[..., subprocess.CompletedProcess[str]]
LaunchFile = Callable[..., Path]

ROBOT = (
    "DeclareLaunchArgument('robot', default_value='cartpole', description='which robot'),"
    "DeclareLaunchArgument('mode', default_value='a', choices=['a', 'b'], description='how'),"
)
SAY = "LogInfo(msg=['robot is ', LaunchConfiguration('robot')])"


def assert_one_line(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert result.returncode == 1, result
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    for part in parts:
        assert part in lines[0]


def test_the_value_given_wins_over_the_default_and_the_last_one_given_wins(
    ros2: Ros2, launch_file: LaunchFile
) -> None:
    path = launch_file(ROBOT + SAY)
    assert "[INFO] [launch.user]: robot is cartpole" in ros2("launch", path).stdout
    result = ros2("launch", path, "robot:=x", "robot:=husky:=2")
    assert "[INFO] [launch.user]: robot is husky:=2" in result.stdout
    assert (result.returncode, result.stderr) == (0, "")


def test_the_first_lines_name_the_log_directory(
    ros2: Ros2,
    launch_file: LaunchFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ROS_LOG_DIR", raising=False)
    monkeypatch.setenv("ROS_HOME", str(tmp_path / "home"))
    lines = ros2("launch", launch_file(ROBOT + SAY)).stdout.splitlines()
    start = "[INFO] [launch]: All log files can be found below "
    assert lines[0].startswith(f"{start}{tmp_path}/home/log/")
    assert lines[1] == "[INFO] [launch]: Default logging verbosity is set to INFO"
    log = Path(lines[0].removeprefix(start), "launch.log").read_text()
    assert "[INFO] [launch.user]: robot is cartpole" in log


@pytest.mark.parametrize("word", ["robot", "robot=husky", ":=husky"])
def test_a_malformed_argument_is_an_error_in_one_line(
    ros2: Ros2, launch_file: LaunchFile, word: str
) -> None:
    assert_one_line(ros2("launch", launch_file(ROBOT), word), f"'{word}'", "<name>:=<value>")


def test_an_unknown_package_or_file_is_an_error_in_one_line(ros2: Ros2) -> None:
    assert_one_line(ros2("launch", "no_such_package", "a.launch.py"), "no_such_package")
    assert_one_line(ros2("launch", "ros2_pip", "no.launch.py"), "no.launch.py", "ros2_pip")
    assert_one_line(ros2("launch", "./no.launch.py"), "./no.launch.py")


def test_a_required_argument_that_is_missing_is_an_error_before_anything_starts(
    ros2: Ros2, launch_file: LaunchFile
) -> None:
    path = launch_file("LogInfo(msg='started'), DeclareLaunchArgument('map', description='where')")
    result = ros2("launch", path)
    assert_one_line(result, "'map'", "where")
    assert "started" not in result.stdout


def test_a_value_that_is_no_choice_is_an_error_that_lists_the_choices(
    ros2: Ros2, launch_file: LaunchFile
) -> None:
    assert_one_line(ros2("launch", launch_file(ROBOT), "mode:=c"), "mode", '"c"', "['a', 'b']")


def test_an_unknown_argument_is_a_warning_that_lists_the_known_ones(
    ros2: Ros2, launch_file: LaunchFile
) -> None:
    result = ros2("launch", launch_file(ROBOT + SAY), "robt:=husky")
    assert result.returncode == 0
    warning = next(line for line in result.stdout.splitlines() if "[WARNING]" in line)
    assert "'robt'" in warning
    assert "did you mean 'robot'" in warning
    assert "mode, robot" in warning


def test_an_error_in_the_launch_file_is_one_line_and_a_traceback_with_debug(
    ros2: Ros2, launch_file: LaunchFile
) -> None:
    path = launch_file("", before="raise RuntimeError('no such robot: x')")
    assert_one_line(ros2("launch", path), "no such robot: x")
    assert "Traceback" in ros2("launch", "-d", path).stderr
    path = launch_file("NoSuchThing()")
    assert_one_line(ros2("launch", path), "NameError", "NoSuchThing", f"{path}:")


def test_an_error_while_the_launch_runs_is_one_line_and_a_traceback_with_debug(
    ros2: Ros2, launch_file: LaunchFile
) -> None:
    path = launch_file(
        "OpaqueFunction(function=lambda c: (_ for _ in ()).throw(RuntimeError('bad spec')))"
    )
    assert_one_line(ros2("launch", path), "bad spec")
    assert "Traceback" in ros2("launch", "-d", path).stderr


def test_show_args_prints_arguments_of_includes_and_marks_conditional_ones(
    ros2: Ros2, launch_file: LaunchFile
) -> None:
    launch_file("DeclareLaunchArgument('speed', default_value=['1', '0'])", "inner.launch.py")
    path = launch_file(
        ROBOT
        + "DeclareLaunchArgument('map'),"
        + "IncludeLaunchDescription(PythonLaunchDescriptionSource("
        + "    __file__.rpartition('/')[0] + '/inner.launch.py')),"
        + "GroupAction([DeclareLaunchArgument('extra', default_value=LaunchConfiguration('mode'))],"
        + "    condition=IfCondition('false')),"
    )
    result = ros2("launch", path, "--show-args")
    assert result.returncode == 0, result.stderr
    assert result.stdout == (
        "Arguments (pass arguments as '<name>:=<value>'):\n"
        "\n    'robot':\n        which robot\n        (default: 'cartpole')\n"
        "\n    'mode':\n        how. Valid choices are: ['a', 'b']\n        (default: 'a')\n"
        "\n    'map':\n        no description given\n"
        "\n    'speed':\n        no description given\n        (default: '1' + '0')\n"
        "\n    'extra':*\n        no description given\n"
        "        (default: LaunchConfiguration('mode'))\n"
        "\n* argument(s) which are only used if specific conditions occur\n"
    )
    assert "DeclareLaunchArgument" in ros2("launch", "-p", path).stdout
