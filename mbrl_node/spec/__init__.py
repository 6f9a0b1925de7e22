"""RobotSpec: what a robot's state, action and task are, from one YAML file. `terms` makes functions of its reward."""

from mbrl_node.spec.errors import SpecError
from mbrl_node.spec.loading import load_spec, robot_directories
from mbrl_node.spec.robot import RobotSpec

__all__ = ["RobotSpec", "SpecError", "load_spec", "robot_directories"]
