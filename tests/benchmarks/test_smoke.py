"""The benchmarks that are quick enough run, and print one JSON object."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def quick(name: str) -> tuple[dict, str]:
    """The object that a benchmark prints in a quick run, and its progress."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("name", ["learning", "gym_tasks", "plan", "robots", "store"])
def test_a_quick_benchmark_prints_one_json_object(name):
    found, _ = quick(name)
    assert set(found) == {"machine", "results", "summary"} and found["results"]


def test_faults_are_caused_and_told_as_one_json_object():
    pytest.importorskip("rclpy")
    found, said = quick("faults")
    summary = found["summary"]
    assert summary["ok"] == summary["faults"] > 0, said


def test_a_robot_changes_and_what_comes_of_it_is_one_json_object():
    pytest.importorskip("rclpy")
    found, _ = quick("adapt")
    assert set(found["summary"]) == {"gain learning", "gain frozen"}


def test_side_by_side_says_how_mbrl_lib_is_installed_where_it_is_not(tmp_path):
    code = (
        "import sys; from pathlib import Path; from benchmarks import mbrl_lib;"
        "mbrl_lib._PACKAGES = Path('nowhere'); sys.argv = ['x', '--quick']; mbrl_lib.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "-r benchmarks/mbrl_lib.txt" in done.stderr


def test_plans_are_timed_without_their_peers_and_it_says_how_those_are_installed():
    code = (
        "import sys; from pathlib import Path; from benchmarks import mbrl_lib, plan;"
        "sys.modules |= {'pytorch_mppi': None, 'pytorch_icem': None};"
        "mbrl_lib._PACKAGES = Path('nowhere'); sys.argv = ['x', '--quick', '--json']; plan.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "plan" not in {row["what"] for row in found["results"]}
    assert set(found["summary"]["speedup"].values()) == {None}
    for install in ('-e ".[bench]"', "-r benchmarks/mbrl_lib.txt"):
        assert install in done.stderr
