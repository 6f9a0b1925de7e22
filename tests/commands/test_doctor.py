"""`mbrl doctor` in a good, a bare and a broken environment; each is a real one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mbrl_node.commands.doctor import _examined, doctor, packages, ros
from mbrl_node.commands.doctor.checks import LEVELS, trial

ROOT = Path(__file__).parents[2]
DOCTOR = ("-m", "mbrl_node.commands.doctor")


def examined(python: str, *options: str, where: Path = ROOT, **environment: str):
    """Exit code, and the findings by name; of several of one name the worst."""
    done = subprocess.run(
        [python, *DOCTOR, "--json", *options],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    result = json.loads(done.stdout)
    worst: dict[str, dict[str, str]] = {}
    for check in sorted(result["checks"], key=lambda c: LEVELS.index(c["level"])):
        assert check["level"] in ("ok", "info") or check["mend"]
        worst[check["name"]] = check
    problems = [c for c in result["checks"] if c["level"] == "problem"]
    assert result["problems"] == len(problems)
    return done.returncode, worst


def test_a_good_environment_has_no_problem(tmp_path):
    pytest.importorskip("rclpy")
    pytest.importorskip("mbrl_msgs.msg")
    code, found = examined(sys.executable, **os.environ, XDG_DATA_HOME=str(tmp_path))
    assert code == 0, [c for c in found.values() if c["level"] == "problem"]
    assert {c["group"] for c in found.values()} == {
        *("Python", "computing", "ROS 2", "this machine")
    }
    for name in ("core packages", "torch", "simulator", "messages", "workspace", "run folder"):
        assert found[name]["level"] == "ok"
    assert "ms to another process and back" in found["DDS on loopback"]["text"]
    assert "times torch" in found["rollouts in C++"]["text"]
    assert found["GPU"]["level"] in ("ok", "info")
    assert found["discovery"]["text"] == "on this machine only (ROS_AUTOMATIC_DISCOVERY_RANGE)"
    assert not any(tmp_path.iterdir())  # it leaves nothing behind


def test_a_bare_environment_is_told_what_is_missing_and_how_to_get_it(tmp_path):
    venv = tmp_path / "venv"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", venv], check=True, env={"PATH": "/usr/bin"}
    )
    here = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    code, found = examined(str(venv / "bin" / "python"), **here)
    assert code == 1
    for name, word in (
        ("core packages", "torch"),
        ("torch", "No module named 'torch'"),
        ("ROS 2", "no rclpy in this Python"),
        ("workspace", "AMENT_PREFIX_PATH has no package mbrl"),
    ):
        assert found[name]["level"] == "problem" and word in found[name]["text"]
        assert f". {ROOT}/setup.bash" in found[name]["mend"]
    for name, word in (
        ("simulator", "No module named 'pybullet'"),
        ("extra sim", "not installed: pybullet; it is for the simulator"),
        ("extra viz", "it is for plots, films, curves and the live view"),
        ("discovery", "the whole network hears, and commands, this robot"),
    ):
        assert found[name]["level"] == "warning" and word in found[name]["text"]

    shown = subprocess.run(  # without rich, too
        [venv / "bin" / "python", *DOCTOR],
        cwd=ROOT,
        env=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "problem  torch" in shown.stdout and "mend: " in shown.stdout
    assert shown.stdout.splitlines()[-1].endswith("warnings")


def test_a_broken_environment_has_each_fault_named(tmp_path):
    pytest.importorskip("rclpy")
    copy = tmp_path / "copy"  # of the code, whose libraries can be damaged
    shutil.copytree(
        ROOT / "mbrl_node", copy / "mbrl_node", ignore=shutil.ignore_patterns("__pycache__")
    )
    native = copy / "mbrl_node" / "planning" / "native"
    for library in native.glob("_avx*.so"):
        library.write_bytes(b"no library" * 500)
    damaged = any(native.glob("_avx*.so"))
    (tmp_path / "data").write_text("a file, not a folder")
    prefixes = os.environ["AMENT_PREFIX_PATH"].split(os.pathsep)
    faults = {
        "AMENT_PREFIX_PATH": os.pathsep.join(p for p in prefixes if "ros2_ws" not in p),
        "RMW_IMPLEMENTATION": "rmw_nosuch",
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "ROS_DOMAIN_ID": "500",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "WORLD",
        "CXX": "/bin/false",
    }
    code, found = examined(sys.executable, where=copy, **{**os.environ, **faults})
    assert code == 1
    for name, text, mend in (
        ("ROS 2", "rmw_nosuch", "unset RMW_IMPLEMENTATION, or install rmw_nosuch"),
        ("workspace", "has no package mbrl and mbrl_msgs", "source"),
        ("DDS on loopback", "for want of ROS 2", "mend ROS 2 first"),
        ("run folder", f"{tmp_path / 'data'} is a file", "make it writable"),
        ("domain", "ROS_DOMAIN_ID is 500", "export ROS_DOMAIN_ID=0"),
        ("discovery", "WORLD, which ROS 2 does not know", "LOCALHOST"),
    ):
        assert found[name]["level"] == "problem"
        assert text in found[name]["text"] and mend in found[name]["mend"]
    assert found["C++ compiler"]["level"] == "warning"
    if damaged:
        assert found["rollouts in C++"]["level"] == "problem"
        assert "damaged: _avx" in found["rollouts in C++"]["text"]
        assert "pip install" in found["rollouts in C++"]["mend"]


@pytest.mark.parametrize(
    ("environment", "level", "text"),
    [
        ({}, "warning", "nothing keeps it here"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, "warning", "_RANGE is SUBNET"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, "problem", "do not find each other"),
        ({"ROS_LOCALHOST_ONLY": "1"}, "ok", "on this machine only"),
        (
            {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_STATIC_PEERS": "10.0.0.2"},
            "warning",
            "to 10.0.0.2",
        ),
    ],
)
def test_traffic_that_leaves_the_machine_is_warned_of(monkeypatch, environment, level, text):
    for name in ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    *_, found = ros.discovery()
    assert (found.name, found.level) == ("discovery", level) and text in found.text


def test_a_package_of_a_version_that_does_not_fit_is_a_problem(monkeypatch):
    pytest.importorskip("packaging")
    monkeypatch.setattr(packages, "_wanted", lambda: {"": [("numpy", "<1")]})
    (found,) = packages.core()
    assert found.level == "problem" and "and <1 is wanted" in found.text


def test_a_check_that_fails_itself_is_a_problem_and_the_others_go_on():
    def lines():
        """The weather."""
        raise RuntimeError("it rains")

    (found,) = _examined(lines)
    assert (found.name, found.level) == ("The weather", "problem")
    assert found.text == "could not be examined: RuntimeError: it rains"


def test_what_is_tried_may_crash_hang_or_print_whatever_it_likes():
    told = "from mbrl_node.ros.told import tell; print('noise'); tell('one', 1); "
    crash = trial("-c", told + "import os; os.abort()", limit=30)
    assert crash.facts == {"one": 1} and "SIGABRT" in crash.failure
    hang = trial("-c", told + "import time; time.sleep(60)", limit=1)
    assert "not done within 1 s" in hang.failure
    wrong = trial("-c", told + "raise SystemExit('this is why')", limit=30)
    assert (wrong.facts, wrong.failure) == ({"one": 1}, "this is why")
    assert trial("-c", told, limit=30).failure == ""


def test_ctrl_c_ends_what_is_under_way():
    pid = os.getpid()
    program = f"import os, signal, time; os.kill({pid}, signal.SIGINT); time.sleep(600)"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mbrl_node.commands.doctor.GROUPS", {"all": (lambda: _tried(program),)})
        with pytest.raises(KeyboardInterrupt):
            doctor()


def _tried(program):
    trial("-c", program, limit=300)
    return []


def test_an_option_that_doctor_does_not_have_is_exit_code_2():
    done = subprocess.run(
        [sys.executable, *DOCTOR, "--jso"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "--jso is no option of doctor" in done.stderr
