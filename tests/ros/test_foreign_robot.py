"""A robot whose node was written by others is checked and driven by its YAML file alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")

from mbrl_node.ros.live_check import live_findings, message_findings  # noqa: E402
from mbrl_node.spec import load_spec  # noqa: E402

from .conftest import PATIENCE, System  # noqa: E402

FOLDER = Path(__file__).parent / "foreign"
FILE = FOLDER / "boat.yaml"


@pytest.fixture(scope="module")
def boat() -> Iterator[subprocess.Popen]:
    process = subprocess.Popen([sys.executable, str(FOLDER / "boat.py")])
    yield process
    process.terminate()
    process.wait(PATIENCE)


def findings(file: Path, seconds: float = 1.0) -> dict[str, tuple[str, str, str]]:
    """What is found beside the running boat: level, text and change by place; the worst of each."""
    spec = load_spec(file)
    found = [*message_findings(spec), *live_findings(spec, seconds)]
    order = ["ok", "warning", "problem"]
    found.sort(key=lambda finding: order.index(finding.level))
    return {f.at: (f.level, f.text, f.change) for f in found}


def test_its_node_shares_no_code_with_this_project():
    tree = ast.parse((FOLDER / "boat.py").read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    assert imported == {
        *("contextlib", "math", "time", "rclpy", "geometry_msgs", "nav_msgs", "std_srvs")
    }


def test_its_file_is_the_one_that_the_documentation_shows():
    page = Path(__file__).parents[2] / "docs" / "your_robot.md"
    (shown,) = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert FILE.read_text().endswith(shown)


def test_a_file_that_fits_is_found_to_fit(boat):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = findings(FILE, 2.0)
        # How steadily messages come is up to this machine.
        bad = {at: f for at, f in found.items() if f[0] != "ok" and at != "state[0].timeout"}
        if not bad:
            break
    assert not bad
    assert "comes at" in found["rate"][1]
    assert found["state[0].fields[2]"][1] == "heading was -1.6 to -1.6 rad"
    assert "boat listens to /boat/thrust as geometry_msgs/msg/TwistStamped" in str(found)
    assert found["episode.reset_service"][1] == "/boat/back_to_berth is there"


WRONG = {  # what is done to the file; where the problem is found, what it says, what to change
    "topic": (
        ("topic: /boat/odometry", "topic: /boat/odom"),
        "state[0].topic",
        ("nobody publishes /boat/odom", "topic: /boat/odometry, which is of this type"),
    ),
    "type of commands": (
        ("type: geometry_msgs/msg/TwistStamped\n  frame: hull", "type: geometry_msgs/msg/Twist"),
        "action.type",
        ("boat takes geometry_msgs/msg/TwistStamped on /boat/thrust", "geometry_msgs/msg/Twist"),
    ),
    "path in a state": (
        ("path: twist.twist.linear.x", "path: twist.linear.x"),
        "state[0].fields[3].path",
        ("twist has twist, covariance", ""),
    ),
    "path in a command": (
        ("path: twist.angular.z, min", "path: twist.angular.yaw, min"),
        "action.fields[1].path",
        ("twist.angular has x, y, z", ""),
    ),
    "quality of service": (
        ("timeout: 0.3", "timeout: 0.3\n    qos: {reliability: reliable}"),
        "state[0].qos",
        ("it asks for reliable, and best_effort is offered", "{reliability: best_effort}"),
    ),
    "topic of commands": (
        ("topic: /boat/thrust", "topic: /boat/trust"),
        "action.topic",
        ("nobody listens to /boat/trust", "start the robot's driver"),
    ),
    "sign or unit": (
        ("of: turn, min: -4.0, max: 4.0", "of: heading, min: -1.5, max: 1.5"),
        "envelope[2]",
        ("heading was -1.6 to -1.6 rad: beyond its hard limit", "check sign and unit"),
    ),
    "reset": (
        ("/boat/back_to_berth", "/boat/reset"),
        "episode.reset_service",
        ("there is no service /boat/reset", "reset_by_hand: true"),
    ),
    "rate": (
        ("rate: 20.0", "rate: 200.0"),
        "rate",
        ("control is at 200 Hz: states would be used twice", "rate: "),
    ),
}


@pytest.mark.parametrize(("edit", "at", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_named_with_what_to_change(boat, tmp_path, edit, at, words):
    text = FILE.read_text()
    assert text.count(edit[0]) == 1
    path = tmp_path / "boat.yaml"
    path.write_text(text.replace(*edit))
    deadline = time.monotonic() + PATIENCE
    level, *said = "", "", ""
    while not all(map(str.__contains__, said, words)) and time.monotonic() < deadline:
        level, *said = findings(path).get(at, ("", "", ""))  # who is there is not known at once
    assert (words[0] in said[0], words[1] in said[1]) == (True, True), said
    assert level == "problem"


def test_it_is_driven_by_its_file_alone(boat, tmp_path):
    system = System(tmp_path / "run", f"robot:={FILE}", "sim:=false", "seed:=1")
    try:
        system.wait_for(lambda: any("SOLVED" in line for line in system.output), "a solved task")
        assert {t.controller for t in system.transitions} >= {"random", "mppi"}
        moved = max(t.state[3] for t in system.transitions)
        assert moved > 0.5  # m/s
        said, deadline = ("", "", ""), time.monotonic() + PATIENCE  # while it is driven
        while "mbrl_controller is running" not in said[1] and time.monotonic() < deadline:
            said = findings(FILE)["action.topic"]
        assert said[0] == "warning", said
        assert system.stop() == 0
    finally:
        system.close()
    assert "Traceback" not in "".join(system.output)
