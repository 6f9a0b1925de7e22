"""Parameters, topics and services, as the real nodes declare them.

The nodes are made in this process, for the cart-pole's task `move_to`, whose file has no settings
that would hide a default; they are configured, and never run.
"""

from __future__ import annotations

import contextlib
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor, ParameterType
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from mbrl_node.ros.controller_node import ControllerNode
from mbrl_node.ros.learner_node import LearnerNode
from mbrl_node.ros.view_node import ViewNode
from scripts.reference.markdown import code, page, table
from sim.node import SimNode
from sim.record_node import RecordNode

ROBOT, TASK = "cartpole", "move_to"
NOT_OURS = ("rcl_interfaces", "type_description_interfaces")
TYPES = {
    ParameterType.PARAMETER_BOOL: "bool",
    ParameterType.PARAMETER_INTEGER: "int",
    ParameterType.PARAMETER_DOUBLE: "float",
    ParameterType.PARAMETER_STRING: "string",
    ParameterType.PARAMETER_INTEGER_ARRAY: "list of int",
    ParameterType.PARAMETER_DOUBLE_ARRAY: "list of float",
    ParameterType.PARAMETER_STRING_ARRAY: "list of string",
}
MEANINGS = tomllib.loads((Path(__file__).parent / "meanings.toml").read_text(encoding="utf-8"))
PARAMETERS = """\
Every parameter of every node. Give them in a file, `params:=FILE`
([config/mbrl.yaml](../../config/mbrl.yaml) has those of planners, model and learner), or for one
robot under `settings` in its file. *While it runs*: may be set with `ros2 param set` at any time;
the whole group of a prefix is checked, and takes effect between two ticks. The others are read
once. A value of the wrong type or out of its range is refused with a sentence.

A controller that was loaded under another name (`mppi_fast`,
[controllers.md](../controllers.md#loading-another)) has the parameters of its kind under its own
name, and `NAME.type`; a plugin has those of its `Config`."""
TOPICS = """\
Every topic and service of the launched system. **★**: its name and type are the robot's, from its
file; here those of the cart-pole with `task:=move_to`. `R` is reliable, `B` best effort; `T` means
that the last messages are kept for who comes later (transient local), `V` that they are not. The
number is the depth of the queue. What the messages hold is in [messages.md](messages.md)."""
MORE = """\
While somebody looks, the live view hears the robot's states and the plans as well; and where the
robot's file names no URDF, `/robot_description`. Where controller_manager_msgs is installed, the
controller's services and its topic `activity` are there under its types as well
([controllers.md](../controllers.md)). A deadman switch is the topic of the parameter
`deadman.topic` (std_msgs/msg/Bool, best effort). Services of parameters and of type descriptions,
which every node of ROS 2 has, are left out."""


@contextlib.contextmanager
def nodes() -> Iterator[list[Any]]:
    """The simulator, the controller (configured), the learner, the live view and the film."""
    with tempfile.TemporaryDirectory() as run_dir:
        given = {"robot": ROBOT, "task": TASK, "run_dir": run_dir}
        words = [word for name, value in given.items() for word in ("-p", f"{name}:={value}")]
        rclpy.init(args=["--ros-args", "--log-level", "warn", *words])
        made: list[Any] = [SimNode(), ControllerNode(), LearnerNode(), ViewNode(), RecordNode()]
        try:
            made[1].trigger_configure()
            yield made
        finally:
            for node in made:
                node.close()
                node.destroy_node()
            rclpy.try_shutdown()


def parameters(made: list[Any]) -> str:
    """The page of all parameters."""
    return page("Parameters", PARAMETERS, [_of_node(node) for node in made])


def _of_node(node: Any) -> str:
    values = {
        name: parameter.value
        for name, parameter in node.get_parameters_by_prefix("").items()
        if not name.startswith(("start_type_description", "qos_overrides"))
    }
    groups: dict[str, list[list[str]]] = {}
    for descriptor in node.describe_parameters(list(values)):
        prefix, _, _ = descriptor.name.rpartition(".")
        groups.setdefault(prefix, []).append(_row(descriptor, values[descriptor.name]))
    head = ["parameter", "type", "default", "range", "while it runs", "effect"]
    texts = [
        (f"### {node.get_name()}: {prefix}\n\n" if prefix else "") + table(head, rows)
        for prefix, rows in sorted(groups.items())
    ]
    return f"## {node.get_name()}\n\n" + "\n\n".join(texts)


def _row(descriptor: ParameterDescriptor, value: Any) -> list[str]:
    name = descriptor.name
    default = {"robot": ROBOT, "task": "", "run_dir": ""}.get(name, value)
    meaning, live = descriptor.description, not descriptor.read_only
    if name == "use_sim_time":  # rclpy's own
        meaning, live = "the robot's time is that of /clock", False
    if not meaning:
        raise SystemExit(f"parameter {name} has no description: give its declaration one")
    kind = TYPES[descriptor.type]
    return [
        code(name),
        kind,
        code(_shown(default)),
        _range(descriptor),
        "✓" if live else "",
        meaning,
    ]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return "[" + ", ".join(_shown(item) for item in value) + "]"


def _range(descriptor: ParameterDescriptor) -> str:
    said = descriptor.additional_constraints
    ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
    if not ranges:
        return said
    low, high = ranges[0].from_value, ranges[0].to_value
    parts = [] if said.startswith("above") else [f"≥ {low:g}"]
    if high < 2**61 and "below" not in said:
        parts.append(f"≤ {high:,}" if isinstance(high, int) else f"≤ {high:g}")
    return ", ".join([*([said] if said else []), *parts])


def topics(made: list[Any]) -> str:
    """The page of all topics and services."""
    parts = []
    for node in made:
        rows = [["out", *_topic(p)] for p in node.publishers if not _foreign(p.msg_type)]
        rows += [["in", *_topic(s)] for s in node.subscriptions if not _foreign(s.msg_type)]
        text = f"## {node.get_name()}\n\n"
        text += table(["", "topic", "type", "QoS", "what it is"], _once(rows))
        own = [s for s in node.services if not _foreign(s.srv_type)]
        named = [(node.resolve_service_name(s.srv_name), s.srv_type) for s in own]
        served = [["serves", *_service(name, kind)] for name, kind in named]
        served += [
            ["calls", *_service(node.resolve_service_name(c.srv_name), c.srv_type)]
            for c in node.clients
        ]
        if served:
            text += "\n\n" + table(["", "service", "type", "what it does"], served)
        parts.append(text)
    rows = [[code(name), *about] for name, about in MEANINGS["lock_step"].items()]
    locked = "## In lock-step (`sync:=true`)\n\n" + table(["service", "type", "what it does"], rows)
    return page("Topics and services", TOPICS, [*parts, locked, MORE])


def _once(rows: list[list[str]]) -> list[list[str]]:
    """One row for a topic that is heard with two qualities of service."""
    merged: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        there = merged.setdefault((row[0], row[1]), row)
        if there is not row:
            there[3] += f" and {row[3]}"
    return list(merged.values())


def _topic(entity: Any) -> list[str]:
    meaning = _meaning("topics", entity.topic_name)
    qos = entity.qos_profile
    short = "R" if qos.reliability == ReliabilityPolicy.RELIABLE else "B"
    short += " T" if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL else " V"
    return [code(entity.topic_name), _type(entity.msg_type), f"{short} {qos.depth}", meaning]


def _service(name: str, kind: Any) -> list[str]:
    return [code(name), _type(kind), _meaning("services", name)]


def _meaning(section: str, name: str) -> str:
    if name not in MEANINGS[section]:
        raise SystemExit(f"{name} is not explained: add it to scripts/reference/meanings.toml")
    return str(MEANINGS[section][name])


def _type(kind: Any) -> str:
    package, sort, *_ = kind.__module__.split(".")
    name = f"{package}/{sort}/{kind.__name__}"
    if package != "mbrl_msgs":
        return name
    return f"[{name}](messages.md#{kind.__name__.lower()})"


def _foreign(kind: Any) -> bool:
    return kind.__module__.split(".")[0] in NOT_OURS
