"""A shell that has a ROS 2 of its own: it is used, and no other is installed."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def ros(clone: Any, tmp_path: Path) -> dict[str, str]:
    """What sourcing an installed ROS 2 sets, with the files that mark one."""
    prefix = tmp_path / "opt/ros/jazzy"
    marker = prefix / "share/ament_index/resource_index/packages/rclpy"
    marker.parent.mkdir(parents=True)
    marker.write_text("")
    clone.add_python("python3")
    return {
        "ROS_DISTRO": "jazzy",
        "AMENT_PREFIX_PATH": str(prefix),
        "LD_LIBRARY_PATH": f"{prefix}/lib",
        "STUB_VERSION": "3.12",
        "STUB_LAUNCH": "yes",
    }


def test_its_python_sees_its_packages_and_no_wheels_of_ros_are_installed(
    clone: Any, ros: dict[str, str]
) -> None:
    result = clone.source(**ros)
    assert result.returncode == 0, result.stderr
    assert f"python3 -m venv --system-site-packages {clone.root}/.venv" in clone.calls
    assert clone.count("-e .[sim,viz,data,build,dev]") == 1
    assert clone.count("ros-jazzy") == 0
    assert clone.count("relocate_ros_wheels") == 0


def test_its_environment_stays_under_the_workspace(clone: Any, ros: dict[str, str]) -> None:
    got = clone.source(then="env", **ros).stdout.splitlines()
    install = f"{clone.root}/ros2_ws/install/mbrl"
    assert f"AMENT_PREFIX_PATH={install}:{ros['AMENT_PREFIX_PATH']}" in got
    assert f"LD_LIBRARY_PATH={ros['LD_LIBRARY_PATH']}" in got
    assert f"PATH={clone.root}/.venv/bin:{clone.bin}" in got
    assert not any(line.startswith("_ROS_WHEELS") for line in got)


def test_sourcing_again_in_the_same_shell_makes_nothing(clone: Any, ros: dict[str, str]) -> None:
    result = clone.source(then='. "$ROOT/setup.bash"', **ros)
    assert result.returncode == 0
    assert (clone.pip_runs, clone.colcon_runs) == (1, 1)


@pytest.mark.parametrize(("official", "skips"), [("yes", 1), ("no", 0)])
def test_the_stand_in_for_ros2_is_built_only_where_the_official_one_is_absent(
    clone: Any, ros: dict[str, str], official: str, skips: int
) -> None:
    clone.source(**{**ros, "STUB_LAUNCH": official})
    assert clone.count("--packages-skip ros2_pip") == skips
    assert clone.colcon_runs == 1


def test_another_distribution_is_a_warning(clone: Any, ros: dict[str, str]) -> None:
    result = clone.source(**{**ros, "ROS_DISTRO": "rolling"})
    assert result.returncode == 0
    assert "setup: warning: ROS 2 rolling is sourced; this is tested with jazzy" in result.stderr


def test_a_python_that_cannot_import_rclpy_is_an_error(clone: Any, ros: dict[str, str]) -> None:
    result = clone.source(**ros, STUB_RCLPY="no")
    assert result.returncode == 1
    assert f"{clone.bin}/python3 (Python 3.12) cannot import rclpy: ModuleNotFound" in result.stderr
    assert "deactivate conda or another venv" in result.stderr


def test_a_ros_2_on_an_old_python_is_an_error(clone: Any, ros: dict[str, str]) -> None:
    result = clone.source(**{**ros, "ROS_DISTRO": "humble", "STUB_VERSION": "3.10"})
    assert result.returncode == 1
    assert "ROS 2 humble uses Python 3.10; this needs Python 3.11 or 3.12" in result.stderr


def test_a_name_alone_is_no_ros_2(clone: Any) -> None:
    result = clone.source(ROS_DISTRO="jazzy")
    assert result.returncode == 0, result.stderr
    assert clone.count("ros-jazzy") == 1


def test_changing_between_the_two_makes_the_venv_anew(clone: Any, ros: dict[str, str]) -> None:
    clone.source()
    result = clone.source(**ros)
    assert result.returncode == 0, result.stderr
    assert "removing .venv" in result.stderr
    assert (clone.pip_runs, clone.colcon_runs) == (2, 2)
