"""Pydantic configurations as ROS parameters."""

from __future__ import annotations

import logging
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node

from mbrl_node.ros.process import ConfigurationError
from mbrl_node.spec import RobotSpec, load_spec

Value = TypeVar("Value")
Config = TypeVar("Config", bound=BaseModel)


def declare(node: Node, name: str, default: Value, description: str) -> Value:
    """Declares a parameter that is set at the start only, and gives its value.

    Raises:
        ConfigurationError: it was given with another type than the default's.
    """
    try:
        descriptor = ParameterDescriptor(description=description, read_only=True)
        value: Value = node.declare_parameter(name, default, descriptor).value
        return value
    except InvalidParameterTypeException as error:
        raise ConfigurationError(f"{node.get_name()}: parameter {error}") from error


def declare_config(node: Node, prefix: str, kind: type[Config]) -> Config:
    """Declares every field of a configuration as `prefix.field`, and gives what was set.

    Raises:
        ConfigurationError: a value is of the wrong type or out of range; names the parameter.
    """
    values = {}
    for name, field in kind.model_fields.items():
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        values[name] = declare(node, f"{prefix}.{name}", default, field.description or "")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in (prefix, *problem["loc"]))
        raise ConfigurationError(
            f"{node.get_name()}: parameter {where}: {problem['input']!r}: {problem['msg']}"
        ) from error


def declare_robot(node: Node, simulates: bool = False) -> RobotSpec:
    """The robot that the parameters `robot` and `rate` choose.

    Args:
        simulates: whether the node needs the `sim` section, and the rate must fit it.

    Raises:
        SpecError: there is no such robot, or its file is wrong.
    """
    robot = declare(node, "robot", "cartpole", "robot name or path to its YAML file")
    rate = declare(node, "rate", 0.0, "control rate, Hz; 0: the robot's own")
    changes: dict[str, object] = {} if simulates else {"sim": None}
    if rate:
        changes["rate"] = rate
    return load_spec(robot).with_overrides(**changes)


class RosLogHandler(logging.Handler):
    """Sends the library's log messages to the node's logger."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Logs one message at its level."""
        if record.levelno >= logging.ERROR:
            self._logger.error(record.getMessage())
        elif record.levelno >= logging.WARNING:
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())


def forward_logs(node: Node) -> None:
    """From now on the library logs through this node."""
    logger = logging.getLogger("mbrl_node")
    logger.addHandler(RosLogHandler(node))
    logger.setLevel(logging.INFO)
    logger.propagate = False
