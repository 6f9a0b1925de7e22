"""Planners and controllers that other distributions register, in the controller node."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from mbrl_msgs.srv import ListControllers

from .driven import Driven, write_robot

ENTRY_POINTS = """
[mbrl.planners]
mine = plugged:Mine
broken = no_such_module:Planner
[mbrl.controllers]
still = plugged:Still
pusher = plugged:Pusher
"""
PLUGGED = """
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mbrl_node.control import Controller, Hold
from mbrl_node.planning import RandomShooting

class Mine(RandomShooting):
    pass

class Still(Hold):
    pass

class Push(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    force: float = Field(0.0, ge=-1, le=1, description="how hard, N")

class Pusher(Controller):
    Config = Push

    def __init__(self, name, spec, config):
        super().__init__(name)
        self.set_config(config)

    def set_config(self, config):
        self.force = config.force

    def update(self, observation, last_action):
        return np.array([self.force])
"""


@pytest.fixture
def path(distribution) -> str:
    folder = distribution("plugged", ENTRY_POINTS, {"plugged.py": PLUGGED})
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


@pytest.fixture
def run(path):
    def run(*command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=90,
            env=os.environ | {"PYTHONPATH": path},
        )

    return run


def test_the_node_offers_plugins_with_their_parameters_and_leaves_out_what_is_broken(
    path, tmp_path
):
    robot, given = write_robot(tmp_path), {"mine__samples": 7, "pusher__force": 0.5}
    driven = Driven(robot, {"PYTHONPATH": path}, controller="pusher", **given)
    try:
        driven.wait_for(lambda: driven.commands[-1:] == [0.5], "the plugin's command")
        controllers = driven.call(ListControllers, "list_controllers").controller
        states = {c.name: c.state for c in controllers}
        assert states["pusher"] == "active" and states["still"] == states["mine"] == "inactive"
        assert "broken" not in states
        assert "planner 'broken' (no_such_module:Planner) of plugged 0.1: cannot be" in driven.text
        assert driven.get("mine.samples") == 7
        assert driven.set(pusher__force=-1.0) == ""
        driven.wait_for(lambda: driven.commands[-1] == -1.0, "the new command")
        assert "out of range" in driven.set(pusher__force=2.0)
    finally:
        driven.close()


def test_a_broken_plugin_that_is_to_act_ends_the_node_with_one_line(run):
    wrapper = "raise SystemExit(main('mbrl_node.ros.controller_node', 'ControllerNode'))"
    code = f"from mbrl_node.ros.process import main; {wrapper}"
    done = run(sys.executable, "-c", code, "--ros-args", "-p", "controller:=broken")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "No module named 'no_such_module'" in done.stderr


def test_the_launch_file_knows_the_same_controllers_as_the_node_and_those_of_plugins(run):
    from mbrl_node.ros.controllers import CONTROLLERS

    path = Path(__file__).parents[2] / "launch" / "bringup.launch.py"
    spec = importlib.util.spec_from_file_location("bringup", path)
    bringup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bringup)
    assert tuple(bringup.CONTROLLERS) == CONTROLLERS
    (argument,) = [a for a in bringup.ARGUMENTS if a.name == "controller"]
    assert argument.choices == ["", *CONTROLLERS, "mine", "broken", "still", "pusher"]
