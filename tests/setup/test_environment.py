"""What sourcing setup.bash does to the caller's shell."""

import shutil
from pathlib import Path
from typing import Any

import pytest

PATHS = "PATH PYTHONPATH LD_LIBRARY_PATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH"
PRINT_PATHS = "env | grep -E '^(" + PATHS.replace(" ", "|") + ")=' | sort"


def variables(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def test_the_first_call_makes_all_and_says_so_in_short_lines(clone: Any, shell: str) -> None:
    result = clone.source(shell=shell)
    assert result.returncode == 0, result.stderr
    lines = result.stderr.splitlines()
    assert [" ".join(line.split()[:3]) for line in lines] == [
        "setup: creating .venv",
        "setup: installing dependencies",
        "setup: building ros2_ws",
        "setup: ready in",
    ]
    assert result.stdout == ""
    assert (clone.pip_runs, clone.colcon_runs) == (1, 1)


def test_the_second_call_runs_neither_pip_nor_colcon_and_says_nothing(
    clone: Any, shell: str
) -> None:
    clone.source(shell=shell)
    calls = len(clone.calls)
    result = clone.source(shell=shell)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert len(clone.calls) == calls  # no Python was started at all


def test_the_environment_is_that_of_the_wheels_and_the_workspace(clone: Any, shell: str) -> None:
    got = variables(clone.source(shell=shell, then="env").stdout)
    venv = f"{clone.root}/.venv"
    assert got["VIRTUAL_ENV"] == venv
    assert got["PATH"] == f"{venv}/bin:{clone.bin}"
    assert got["AMENT_PREFIX_PATH"] == f"{clone.root}/ros2_ws/install/mbrl:{venv}"
    assert got["CMAKE_PREFIX_PATH"] == venv
    assert got["LD_LIBRARY_PATH"] == (
        f"{venv}/lib:{venv}/lib/python3.11/site-packages/ros_rclpy.libs"
    )
    assert got["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] == "1"
    assert (got["ROS_DISTRO"], got["ROS_VERSION"]) == ("jazzy", "2")
    assert got["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_sourcing_again_leaves_the_paths_as_they_are(clone: Any, shell: str) -> None:
    again = f'. "$ROOT/setup.bash"; {PRINT_PATHS}; echo; . "$ROOT/setup.bash"; {PRINT_PATHS}'
    result = clone.run(again, shell=shell, LD_LIBRARY_PATH="/mine", PYTHONPATH="/my/python")
    first, second = result.stdout.split("\n\n")
    assert first.strip() == second.strip()
    assert variables(first)["LD_LIBRARY_PATH"].endswith("ros_rclpy.libs:/mine")
    assert variables(first)["PYTHONPATH"] == "/my/python"


def test_a_chosen_discovery_range_is_kept(clone: Any) -> None:
    then = "echo $ROS_AUTOMATIC_DISCOVERY_RANGE"
    assert clone.source(then=then, ROS_AUTOMATIC_DISCOVERY_RANGE="SUBNET").stdout == "SUBNET\n"
    assert clone.source(then=then, ROS_LOCALHOST_ONLY="1").stdout == "\n"


STATE = {
    "bash": "set -o; shopt; declare -F; alias; trap; pwd; echo $IFS $#; compgen -v | sort",
    "zsh": "setopt; print -l ${(ok)functions}; alias; trap; pwd; echo $IFS $#; "
    "print -l ${(ok)parameters}",
}
# What is meant to be new, and what the shells themselves count or note.
EXPECTED_NEW = f"""
    VIRTUAL_ENV ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION _ROS_WHEELS_BOOTSTRAP_COMPLETE
    ROS_AUTOMATIC_DISCOVERY_RANGE BASH_LINENO BASH_REMATCH PIPESTATUS COLUMNS LINES {PATHS}
""".split()


def test_the_shell_keeps_its_options_functions_variables_and_folder(clone: Any, shell: str) -> None:
    state = STATE[shell]
    script = f'set -- one two; set -eu; {state}; echo "====="; . "$ROOT/setup.bash"; {state}'
    result = clone.run(script, shell=shell)
    assert result.returncode == 0, result.stderr
    before, after = (set(part.splitlines()) for part in result.stdout.split("=====\n"))
    assert {line.strip() for line in after ^ before} <= set(EXPECTED_NEW)


@pytest.mark.parametrize("options", ["", "set -u; "])
def test_a_failure_returns_non_zero_and_leaves_the_shell_usable(
    clone: Any, shell: str, options: str
) -> None:
    script = options + 'set -e; . "$ROOT/setup.bash" || echo "rc $?"; echo still here; env'
    result = clone.run(script, shell=shell, STUB_VERSION="3.9")
    assert result.stdout.startswith("rc 1\nstill here\n")
    assert "VIRTUAL_ENV" not in result.stdout


def test_it_works_from_any_folder_and_by_any_path(clone: Any, shell: str, tmp_path: Path) -> None:
    clone.source()
    (tmp_path / "link").symlink_to(clone.root)
    for cwd, path in ((clone.root, "./setup.bash"), (clone.root / "scripts", "../setup.bash")):
        result = clone.run(f". {path} && echo $VIRTUAL_ENV", shell=shell, cwd=cwd)
        assert result.stdout == f"{clone.root}/.venv\n"
    result = clone.run(". ./link/setup.bash && echo $VIRTUAL_ENV", shell=shell, cwd=tmp_path)
    assert (result.stdout, result.stderr) == (f"{clone.root}/.venv\n", "")


def test_executed_instead_of_sourced_it_builds_and_says_to_source_it(
    clone: Any, shell: str
) -> None:
    result = clone.run(f'{shell} "$ROOT/setup.bash"', shell=shell)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr.endswith(f"source it:  . {clone.root}/setup.bash\n")
    assert clone.colcon_runs == 1
    assert clone.run(f'{shell} "$ROOT/setup.bash"', shell=shell, CC="none").returncode == 0


def test_another_shell_is_told_what_to_use(clone: Any) -> None:
    result = clone.run('. "$ROOT/setup.bash"; echo $?', shell="dash")
    assert result.stdout == "1\n"
    assert "neither bash nor zsh" in result.stderr


def test_a_clone_sourced_after_another_is_not_taken_for_a_ros_2(clone: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(clone.root, other)
    result = clone.source(then=f". {other}/setup.bash; {PRINT_PATHS}")
    assert result.returncode == 0, result.stderr
    assert str(clone.root) not in result.stdout
    assert variables(result.stdout)["PATH"] == f"{other}/.venv/bin:{clone.bin}"
