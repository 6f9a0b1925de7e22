"""Each way that setup can fail: one line says what is wrong, and one what to do."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest


def error_of(result: Any) -> tuple[str, str]:
    """The error and the advice, which are the last two lines; the code must be 1."""
    assert result.returncode == 1
    error, advice = result.stderr.splitlines()[-2:]
    assert error.startswith("setup: error: ")
    return error.removeprefix("setup: error: "), advice.removeprefix("setup: ")


def test_no_compiler(clone: Any) -> None:
    (clone.bin / "g++").unlink()
    error, advice = error_of(clone.source())
    assert error == "missing: a C++ compiler."
    assert "apt-get install g++)" in advice
    assert not (clone.root / ".venv").exists()


def test_a_compiler_named_by_the_user_will_do(clone: Any) -> None:
    (clone.bin / "g++").rename(clone.bin / "my-g++")
    assert clone.source(CXX="my-g++ -pipe").returncode == 0


def test_no_python_h(clone: Any) -> None:
    error, advice = error_of(clone.source(STUB_HEADERS="no"))
    assert error == f"missing: Python.h for {clone.bin}/python3.11."
    assert "apt-get install python3.11-dev)" in advice


def test_all_that_is_missing_is_named_at_once(clone: Any) -> None:
    (clone.bin / "g++").unlink()
    error, advice = error_of(clone.source(STUB_HEADERS="no", STUB_VENV="no"))
    python = f"{clone.bin}/python3.11"
    assert error == (
        f"missing: a C++ compiler, Python.h for {python}, the venv module of {python}."
    )
    assert "apt-get install g++ python3.11-dev python3.11-venv)" in advice


def test_another_version_of_python(clone: Any) -> None:
    clone.add_python("python3")
    error, advice = error_of(clone.source(STUB_VERSION="3.12"))
    assert error.startswith("Python 3.11 is needed")
    assert f"found: {clone.bin}/python3.11 is 3.12, {clone.bin}/python3 is 3.12." in error
    assert "apt-get install python3 python3-venv python3-dev" in advice


def test_no_python_at_all(clone: Any) -> None:
    error, _ = error_of(clone.source(STUB_BROKEN="yes"))
    assert error.endswith("found: no python3 that runs.")


def test_a_python_that_fails_is_passed_over(clone: Any) -> None:
    clone.add_command("python3.11", "#!/usr/bin/env bash\nexit 127\n")  # as a shim of pyenv does
    clone.add_python("python3")
    result = clone.source()
    assert result.returncode == 0, result.stderr
    assert f"creating .venv with {clone.bin}/python3 " in result.stderr


def test_little_room_on_the_disk(clone: Any, low_disk_df: str) -> None:
    clone.add_command("df", low_disk_df)
    error, advice = error_of(clone.source())
    assert error.startswith("only 976 MiB are free on the disk of ")
    assert "need up to 6 GiB" in error
    assert advice.startswith("Make room")
    assert not (clone.root / ".venv").exists()


def test_a_folder_that_cannot_be_written(clone: Any) -> None:
    (clone.root / "ros2_ws/log").write_text("a file where the folder should be")
    error, advice = error_of(clone.source())
    assert error == f"cannot write in {clone.root}."
    assert "Make it writable" in advice


@pytest.mark.parametrize(
    ("pip_says", "error_says", "advice_says"),
    [
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError(...: Failed to "
            "establish a new connection: [Errno 111] Connection refused')\n"
            "ERROR: No matching distribution found for setuptools",
            "the Python package index cannot be reached.",
            "Check the network, the proxy (HTTPS_PROXY)",
        ),
        (
            "ERROR: Could not install packages: [Errno 28] No space left on device",
            "the disk is full.",
            "Make room",
        ),
        (
            "ERROR: No matching distribution found for ros-jazzy-rclpy",
            "no package for this machine",
            "The packages are for Linux on x86_64",
        ),
        ("ERROR: something else", "pip could not install the dependencies", "Mend that"),
    ],
    ids=["no network", "disk full", "another platform", "anything else"],
)
def test_pip_fails(clone: Any, pip_says: str, error_says: str, advice_says: str) -> None:
    result = clone.source(STUB_PIP=pip_says)
    error, advice = error_of(result)
    assert error.startswith(error_says)
    assert advice.startswith(advice_says)
    assert advice.endswith(f"Full log: {clone.root}/.venv/.setup/pip.log")
    assert clone.source().returncode == 0  # and the next one goes on


def test_the_rollout_in_cpp_cannot_be_built(clone: Any) -> None:
    result = clone.source(STUB_COMPILES="no")
    assert result.returncode == 0  # torch does what it would do
    warning = next(line for line in result.stderr.splitlines() if "warning" in line)
    assert "the rollout in C++ was not built" in warning and "pip install -v" in warning


def test_the_real_pip_without_an_index(clone: Any, real_environment: dict[str, str]) -> None:
    python = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    if sys.version_info[:2] != (3, 11) or not python.exists():
        pytest.skip("needs Python 3.11")
    clone.add_command("python3.11", f'#!/usr/bin/env bash\nexec {python} "$@"\n')
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    error, _ = error_of(clone.source(PIP_CONFIG_FILE=os.devnull, **nowhere))
    assert error == "the Python package index cannot be reached."


def test_the_build_fails(clone: Any) -> None:
    result = clone.source(STUB_COLCON="CMake Error: nothing works")
    error, advice = error_of(result)
    assert error == "the build of ros2_ws did not finish, its package mbrl_msgs failed (see above)."
    log = f"{clone.root}/ros2_ws/log/latest_build/mbrl_msgs/stdout_stderr.log"
    assert advice.endswith(f"Full log: {log}")
    assert "CMake Error: nothing works" in result.stderr
    assert "fine so far" not in result.stderr


@pytest.mark.parametrize("name", ["with blank", "with:colon", "it's", "$HOME"])
def test_a_path_that_colcon_cannot_build_in(clone: Any, name: str) -> None:
    clone.root = clone.root.rename(clone.root.parent / name)
    error, advice = error_of(clone.source())
    assert error.startswith(f"the path of this folder ({clone.root}) has a blank")
    assert advice.startswith("Move or clone it")
    assert clone.calls == []
