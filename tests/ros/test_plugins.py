"""Planners and controllers that other distributions register, in the controller node."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

ENTRY_POINTS = """
[mbrl.planners]
mine = plugged:Mine
broken = no_such_module:Planner
[mbrl.controllers]
still = plugged:Still
"""
PLUGGED = """
from mbrl_node.control import Hold
from mbrl_node.planning import RandomShooting

class Mine(RandomShooting):
    pass

class Still(Hold):
    pass
"""
NODE = """
import rclpy, sys
from mbrl_node.ros.controller_node import ControllerNode

rclpy.init(args=sys.argv)
node = ControllerNode()
print("controllers", *node._manager.controllers)
print("samples", node.get_parameter("mine.samples").value)
"""


@pytest.fixture
def run(distribution):
    folder = distribution("plugged", ENTRY_POINTS, {"plugged.py": PLUGGED})
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])

    def run(*command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=90,
            env=os.environ | {"PYTHONPATH": path},
        )

    return run


def test_the_node_offers_plugins_with_their_parameters_and_leaves_out_what_is_broken(run):
    parameters = ["--ros-args", "-p", "controller:=still", "-p", "mine.samples:=7"]
    done = run(sys.executable, "-c", NODE, *parameters)
    assert done.returncode == 0, done.stderr
    order = "controllers still random_shooting cem icem mppi policy random hold mine"
    assert order in done.stdout and "samples 7" in done.stdout
    assert "planner 'broken' (no_such_module:Planner) of plugged 0.1: cannot be" in done.stderr


def test_a_broken_plugin_that_is_to_act_ends_the_node_with_one_line(run):
    wrapper = "raise SystemExit(main('mbrl_node.ros.controller_node', 'ControllerNode'))"
    code = f"from mbrl_node.ros.process import main; {wrapper}"
    done = run(sys.executable, "-c", code, "--ros-args", "-p", "controller:=broken")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "No module named 'no_such_module'" in done.stderr


def test_the_launch_file_knows_the_same_controllers_as_the_node_and_those_of_plugins(run):
    from mbrl_node.ros.controller_node import CONTROLLERS

    path = Path(__file__).parents[2] / "launch" / "bringup.launch.py"
    spec = importlib.util.spec_from_file_location("bringup", path)
    bringup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bringup)
    assert tuple(bringup.CONTROLLERS) == CONTROLLERS
    (argument,) = [a for a in bringup.ARGUMENTS if a.name == "controller"]
    assert argument.choices == [*CONTROLLERS, "mine", "broken", "still"]
