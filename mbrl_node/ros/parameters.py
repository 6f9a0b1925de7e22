"""Pydantic configurations as ROS parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from mbrl_node.ros.process import ConfigurationError
from mbrl_node.spec import RobotSpec, load_spec

Value = TypeVar("Value")
Config = TypeVar("Config", bound=BaseModel)


def declare(
    node: Node,
    name: str,
    default: Value,
    description: str,
    live: bool = False,
    limits: tuple[float, float] | None = None,
    constraints: str = "",
) -> Value:
    """Declares a parameter and gives its value.

    Args:
        live: it may be set while the node runs; else at the start only.
        limits: the least and the greatest number it may be.
        constraints: what a value must be besides, for people to read.

    Raises:
        ConfigurationError: it was given with another type than the default's, or outside of its
            limits.
    """
    if node.has_parameter(name):
        known: Value = node.get_parameter(name).value
        return known
    descriptor = ParameterDescriptor(
        description=description, additional_constraints=constraints, read_only=not live
    )
    if limits is not None and isinstance(default, int) and not isinstance(default, bool):
        low, high = (int(max(-(2**62), min(x, 2**62))) for x in limits)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
    elif limits is not None:
        low_value, high_value = (float(max(-1e300, min(x, 1e300))) for x in limits)
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=low_value, to_value=high_value)
        ]
    try:
        value: Value = node.declare_parameter(name, default, descriptor).value
        return value
    except InvalidParameterTypeException as error:
        raise ConfigurationError(f"{node.get_name()}: parameter {error}") from error
    except InvalidParameterValueException as error:
        given = re.search(r"value \((.*)\) for parameter", str(error))
        raise ConfigurationError(
            f"{node.get_name()}: parameter {name}: {given[1] if given else 'it'}: {_range(limits)}"
        ) from error


def _range(limits: tuple[float, float] | None) -> str:
    low, high = limits or (-math.inf, math.inf)
    if math.isinf(high):
        return f"should be at least {low:g}"
    return f"should be between {low:g} and {high:g}"


def declare_config(
    node: Node,
    prefix: str,
    kind: type[Config],
    live: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Config:
    """Declares every field of a configuration as `prefix.field`, with its description and its
    range, and gives what was set.

    Args:
        settings: of the robot, by prefix: what is used where nothing was set.

    Raises:
        ConfigurationError: a value is of the wrong type or out of range; names the parameter.
    """
    values = {}
    usual = (settings or {}).get(prefix, {})
    if unknown := set(usual) - set(kind.model_fields):
        known = ", ".join(kind.model_fields)
        raise ConfigurationError(f"settings.{prefix}: {min(unknown)} is not known ({known})")
    for name, field in kind.model_fields.items():
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        if name in usual:
            default = float(usual[name]) if isinstance(default, float) else usual[name]
        values[name] = declare(
            node,
            f"{prefix}.{name}",
            default,
            field.description or "",
            live,
            _limits(field),
            _constraints(field),
        )
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(
            f"{node.get_name()}: parameter {_problem(prefix, error)}"
        ) from error


def _limits(field: FieldInfo) -> tuple[float, float] | None:
    """The range of a number; an open end counts as closed, validation is exact."""
    low, high = -math.inf, math.inf
    for constraint in field.metadata:
        if isinstance(constraint, Ge | Gt):
            low = float(constraint.ge if isinstance(constraint, Ge) else constraint.gt)  # type: ignore[arg-type]
        elif isinstance(constraint, Le | Lt):
            high = float(constraint.le if isinstance(constraint, Le) else constraint.lt)  # type: ignore[arg-type]
    single = isinstance(field.default, int | float) and not isinstance(field.default, bool)
    return (low, high) if single and (low, high) != (-math.inf, math.inf) else None


def _constraints(field: FieldInfo) -> str:
    """What a descriptor's range cannot say: a word of a choice, an end that is open."""
    said = []
    if get_origin(field.annotation) is Literal:
        said.append(f"one of {', '.join(get_args(field.annotation))}")
    for constraint in field.metadata:
        if isinstance(constraint, Gt):
            said.append(f"above {constraint.gt}")
        elif isinstance(constraint, Lt):
            said.append(f"below {constraint.lt}")
    return ", ".join(said)


def _problem(prefix: str, error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in (prefix, *problem["loc"]))
    return f"{where}: {problem['input']!r}: {problem['msg']}"


Commit = Callable[[], None]


@dataclass
class _Live:
    kind: type[BaseModel]
    prepare: Callable[[Any], Commit]


class LiveParameters:
    """Parameters that may be set while the node runs. A set that is not valid is refused with the
    reason, and changes nothing.

    Args:
        settings: of the robot, see `declare_config`.
    """

    def __init__(self, node: Node, settings: Mapping[str, Any]) -> None:
        self._node, self._settings = node, settings
        self._configs: dict[str, _Live] = {}
        self._values: dict[str, Callable[[Any], str]] = {}
        self._prepared: list[Commit] = []
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def declare(
        self, prefix: str, kind: type[Config], prepare: Callable[[Config], Commit]
    ) -> Config:
        """As `declare_config`.

        Args:
            prepare: called with the new configuration at each change, in the callback thread: gives
                what puts it into effect, or raises what is wrong with it.
        """
        config = declare_config(self._node, prefix, kind, True, self._settings)
        self._configs[prefix] = _Live(kind, prepare)
        return config

    def watch(self, name: str, change: Callable[[Any], str]) -> None:
        """Lets a declared parameter be set if `change` does it; it gives the reason why not, or
        ''."""
        self._values[name] = change

    def forget(self) -> None:
        """Nobody is there any more to whom a change matters; what was declared stays."""
        self._configs, self._values = {}, {}

    def _touched(self, parameters: Sequence[Parameter]) -> dict[str, dict[str, Any]]:
        """The values of each configuration that has a part in a change."""
        changed: dict[str, dict[str, Any]] = {}
        for parameter in parameters:
            prefix, _, field = parameter.name.rpartition(".")
            if prefix in self._configs and field in self._configs[prefix].kind.model_fields:
                changed.setdefault(prefix, {})[field] = parameter.value
        for prefix, values in changed.items():
            for field in self._configs[prefix].kind.model_fields:
                if field not in values:
                    values[field] = self._node.get_parameter(f"{prefix}.{field}").value
        return changed

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        self._prepared = []
        for prefix, values in self._touched(parameters).items():
            live = self._configs[prefix]
            try:
                self._prepared.append(live.prepare(live.kind.model_validate(values)))
            except ValidationError as error:
                return SetParametersResult(successful=False, reason=_problem(prefix, error))
            except Exception as error:  # whatever somebody else's code raises
                return SetParametersResult(successful=False, reason=f"{prefix}: {error}")
        for parameter in parameters:
            if parameter.name in self._values:
                reason = self._values[parameter.name](parameter.value)
                if reason:
                    return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Parameter]) -> None:
        prepared, self._prepared = self._prepared, []
        for commit in prepared:
            commit()


def settings_of(spec: RobotSpec) -> dict[str, Any]:
    """What is used where no parameter was set, by section: the robot's own settings; and one step
    of history, with which a delay of commands can be learned."""
    return {**spec.settings, "model": {"history": 2, **spec.settings.get("model", {})}}


def declare_robot(node: Node, simulates: bool = False) -> RobotSpec:
    """The robot and task that the parameters `robot`, `task` and `rate` choose.

    Args:
        simulates: whether the node needs the `sim` section, and the rate must fit it.

    Raises:
        SpecError: there is no such robot or task, or its file is wrong.
    """
    robot = declare(node, "robot", "cartpole", "robot name or path to its YAML file")
    task = declare(
        node, "task", "", "task name or path to its YAML file; empty: that of the robot's file"
    )
    rate = declare(
        node, "rate", 0.0, "control rate, Hz; 0: the robot's own", limits=(0.0, math.inf)
    )
    changes: dict[str, object] = {} if simulates else {"sim": None}
    if rate:
        changes["rate"] = rate
    return load_spec(robot, task=task).with_overrides(**changes)
