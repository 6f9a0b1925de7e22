"""RobotSpec: what a robot's state, action and task are, from one YAML file.

`mbrl_node.spec.terms` (which needs torch) makes functions of its reward, termination, goal and
constraints.
"""

from mbrl_node.spec.errors import SpecError
from mbrl_node.spec.loading import load_spec, robot_directories
from mbrl_node.spec.plugins import PluginError
from mbrl_node.spec.robot import RobotSpec

__all__ = ["PluginError", "RobotSpec", "SpecError", "load_spec", "robot_directories"]
