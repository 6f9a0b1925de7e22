"""What is made again, and when: the records that setup.bash keeps, its lock, and interruptions."""

import fcntl
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


@pytest.mark.parametrize(
    ("change", "pip_runs", "colcon_runs"),
    [
        (lambda root: append(root / "constraints.txt", "# other pins\n"), 2, 2),
        (lambda root: append(root / "pyproject.toml", "[project.scripts]\n"), 2, 2),
        (lambda root: append(root / "pyproject.toml", "[tool.other]\nx = 1\n"), 1, 1),
        (lambda root: append(root / "mbrl_node/planning/native/layer.h", "// changed\n"), 2, 2),
        (lambda root: append(root / "ros2_ws/src/mbrl_msgs/msg/Plan.msg", "int32 y\n"), 1, 2),
        (lambda root: (root / "ros2_ws/src/mbrl/package.xml").write_text("<package/>"), 1, 2),
        (lambda root: (root / "config/robots/pendulum.yaml").write_text(""), 1, 2),
        (lambda root: (root / "launch/bringup.launch.py").unlink(), 1, 2),
        (lambda root: append(root / "launch/bringup.launch.py", "# the file is linked\n"), 1, 1),
        (lambda root: (root / "ros2_ws/install/local_setup.bash").unlink(), 1, 2),
        (lambda root: (root / ".venv/.setup/unfinished").write_text(""), 2, 1),
        (lambda root: (root / ".venv/bin/python").unlink(), 2, 1),
    ],
    ids=[
        "other pins",
        "other dependencies",
        "settings of a tool",
        "the rollout in C++",
        "a message",
        "a package",
        "a new file in config",
        "one less in launch",
        "the text of a launch file",
        "no install folder",
        "pip was interrupted",
        "the Python is gone",
    ],
)
def test_what_changed_is_made_again_and_nothing_else(
    clone: Any, change: Any, pip_runs: int, colcon_runs: int
) -> None:
    clone.source()
    change(clone.root)
    for _ in range(2):  # and once is enough
        assert clone.source().returncode == 0
        assert (clone.pip_runs, clone.colcon_runs) == (pip_runs, colcon_runs)


def test_an_interrupted_build_starts_from_nothing(clone: Any) -> None:
    clone.source()
    (clone.root / "ros2_ws/build/half").write_text("a broken file")
    (clone.root / "ros2_ws/build/.setup-unfinished").write_text("")
    assert clone.source().returncode == 0
    assert not (clone.root / "ros2_ws/build/half").exists()
    assert clone.colcon_runs == 2


def test_a_build_that_failed_goes_on_where_it_was(clone: Any) -> None:
    clone.source(STUB_COLCON="error: no")
    (clone.root / "ros2_ws/build/object").write_text("as good as any")
    assert clone.source().returncode == 0
    assert (clone.root / "ros2_ws/build/object").exists()
    assert (clone.pip_runs, clone.colcon_runs) == (1, 2)


def test_a_build_that_fails_on_top_of_an_earlier_one_is_tried_from_scratch(clone: Any) -> None:
    clone.source()
    (clone.root / "ros2_ws/build/old").write_text("in the way")
    (clone.root / "ros2_ws/src/mbrl_msgs/msg/New.msg").write_text("")
    result = clone.source(STUB_COLCON_REFUSES="build/old")
    assert result.returncode == 0, result.stderr
    assert "building ros2_ws from scratch" in result.stderr
    assert clone.colcon_runs == 3


def test_a_folder_that_moved_is_made_anew(clone: Any) -> None:
    clone.source()
    clone.root = clone.root.rename(clone.root.parent / "moved")
    result = clone.source(then="echo $VIRTUAL_ENV")
    assert result.stdout == f"{clone.root}/.venv\n"
    assert "another Python, ROS 2 or folder" in result.stderr
    assert (clone.pip_runs, clone.colcon_runs) == (2, 2)


def test_a_venv_of_the_users_own_is_left_alone(clone: Any) -> None:
    (clone.root / ".venv").mkdir()
    (clone.root / ".venv/mine").write_text("")
    result = clone.source()
    assert result.returncode == 1
    assert "setup.bash did not make it" in result.stderr
    assert (clone.root / ".venv/mine").exists()


def test_links_to_removed_sources_are_removed_from_the_install_folder(clone: Any) -> None:
    clone.source()
    link = clone.root / "ros2_ws/install/old.launch.py"
    link.symlink_to("nowhere")
    (clone.root / "launch/new.launch.py").write_text("")
    clone.source()
    assert not link.is_symlink()


def test_a_second_shell_waits_for_the_first_and_says_so(clone: Any) -> None:
    lock = clone.root / "ros2_ws/log/setup.lock"
    lock.parent.mkdir()
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = subprocess.Popen(
            ["bash", "-c", '. "$ROOT/setup.bash"'],
            env={**clone.environment, "ROOT": str(clone.root)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stderr is not None
        assert second.stderr.readline() == (
            "setup: another shell is setting this up; waiting for it …\n"
        )
        assert clone.pip_runs == 0
    rest = second.communicate(timeout=120)[1]
    assert second.returncode == 0, rest
    assert clone.pip_runs == 1


def test_killed_while_pip_runs_it_leaves_no_process_and_starts_anew(clone: Any) -> None:
    slow = clone.bin / "python3.11"
    quick = slow.read_text()
    slow.write_text(quick.replace('[ -z "${STUB_PIP:-}" ] && exit', "exec sleep 60", 1))
    run = subprocess.Popen(
        ["bash", "-c", '. "$ROOT/setup.bash"'],
        env={**clone.environment, "ROOT": str(clone.root)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A test run in the background of a shell ignores SIGINT, and so would this shell.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert run.stderr is not None
    while "installing" not in run.stderr.readline():
        pass
    subprocess.run(["bash", "-c", f"kill -INT -- -{run.pid}"], check=True)
    rest = run.communicate(timeout=120)[1]  # ends only when nothing holds the pipe any more
    assert "interrupted; source setup.bash again" in rest
    slow.write_text(quick)
    result = clone.source()
    assert result.returncode == 0
    assert "removing .venv: its installation did not finish" in result.stderr
