"""Does a robot's file fit the topics of the running robot? It is listened to; nothing is sent."""

from __future__ import annotations

import time
from collections.abc import Iterator

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile

from mbrl_node.ros.extract import compile_fields, field_types, message_class
from mbrl_node.ros.graph import OURS, Graph, names_of, types_of, undelivered
from mbrl_node.ros.heard import Heard, SimulatedTime, is_here
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.action import MessageActionTopic
from mbrl_node.spec.advice import Finding, finding, warning
from mbrl_node.spec.errors import show
from mbrl_node.spec.extract import TopicError, check_path

_TRIGGER = "std_srvs/srv/Trigger"


def message_findings(spec: RobotSpec) -> Iterator[Finding]:
    """Are the message types here, and have they a number at each path?"""
    for key, topics in (("state", spec.state), ("targets", spec.targets)):
        for i, topic in enumerate(topics):
            try:
                compile_fields(topic)
            except TopicError as error:
                yield finding("problem", (key, i, *error.at), error.text)
    action = spec.action
    try:
        message_class(action.type)
    except TopicError as error:
        yield finding("problem", ("action", *error.at), error.text)
        return
    for i, field in enumerate(action.fields if isinstance(action, MessageActionTopic) else ()):
        try:
            check_path(field_types, action.type, field.path)
        except LookupError as error:
            text = f"{show(field.path)} is not a number in {action.type}; {error.args[0]}"
            yield finding("problem", ("action", "fields", i, "path"), text)


def live_findings(spec: RobotSpec, seconds: float) -> list[Finding]:
    """Listens to the robot for so long; what fits, what does not, and what to change."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node(
        "mbrl_check", context=context, enable_rosout=False, start_parameter_services=False
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        clock = SimulatedTime(node)
        heard = [
            Heard(node, ("state", i), topic, clock)
            for i, topic in enumerate(spec.state)
            if is_here(topic.type)
        ]
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            executor.spin_once(left)
        graph = Graph(node)
        found = [f for topic in heard for f in topic.findings(graph, spec, seconds)]
        found += _on_commands(graph, spec)
        found += _on_targets(graph, spec)
        found += _on_reset(graph, spec)
        if clock.comes:
            found.append(
                Finding(
                    "warning",
                    "",
                    "/clock is published: the robot is simulated, or a bag is played",
                    "launch with use_sim_time:=true, or stop who publishes it",
                )
            )
        return found
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)


def _on_commands(graph: Graph, spec: RobotSpec) -> Iterator[Finding]:
    action, name = spec.action, graph.resolved(spec.action.topic)
    subscribers = graph.subscribers(name)
    if not subscribers:
        yield finding(
            "problem",
            ("action", "topic"),
            f"nobody listens to {name}",
            "start the robot's driver, or activate its controller; or name another topic",
        )
    elif action.type not in (kinds := types_of(subscribers)):
        yield finding(
            "problem",
            ("action", "type"),
            f"{names_of(subscribers)} takes {', '.join(kinds)} on {name}, not {action.type}",
            f"type: {kinds[0]}, and the fields that it has",
        )
    elif all(reasons := [undelivered(QoSProfile(depth=1), s.qos_profile) for s in subscribers]):
        text = f"{names_of(subscribers)} does not get commands on {name}: {reasons[0]}"
        yield finding("problem", ("action", "topic"), text, "its driver must ask for less")
    else:
        text = f"{names_of(subscribers)} listens to {name} as {action.type}"
        yield finding("ok", ("action", "topic"), text)
    others = graph.publishers(name)
    if foreign := [info for info in others if info.node_name != OURS]:
        yield finding(
            "problem",
            ("action", "topic"),
            f"{names_of(foreign)} publishes commands on {name}, too: the robot would obey both",
            "stop it before this node drives the robot",
        )
    elif others:
        yield warning(("action", "topic"), f"{OURS} is running, and drives the robot already")


def _on_targets(graph: Graph, spec: RobotSpec) -> Iterator[Finding]:
    for i, topic in enumerate(spec.targets):
        name = graph.resolved(topic.topic)
        publishers = graph.publishers(name)
        if not publishers:
            practises = spec.goal is not None and spec.goal.patience is not None
            until = (
                "the robot practises with its own" if practises else "it aims at the initial one"
            )
            text = f"nobody publishes {name} yet; until a target comes, {until}"
            yield finding("ok", ("targets", i, "topic"), text)
        elif topic.type not in (kinds := types_of(publishers)):
            text = (
                f"{names_of(publishers)} publishes {name} as {', '.join(kinds)}, not {topic.type}"
            )
            yield finding("problem", ("targets", i, "type"), text, f"type: {kinds[0]}")
        else:
            text = f"{name} is published by {names_of(publishers)} as {topic.type}"
            yield finding("ok", ("targets", i, "topic"), text)


def _on_reset(graph: Graph, spec: RobotSpec) -> Iterator[Finding]:
    wanted, at = spec.episode.reset_service, ("episode", "reset_service")
    if wanted is None:
        return
    name = graph.resolved(wanted)
    if name not in graph.services:
        triggers = sorted(
            service
            for service, kinds in graph.services.items()
            if _TRIGGER in kinds and "reset" in service
        )
        yield finding(
            "problem",
            at,
            f"there is no service {name}, for which each episode would wait",
            " or ".join([*(f"reset_service: {service}" for service in triggers)])
            or "remove it; or reset_by_hand: true, to put the robot back yourself",
        )
    elif _TRIGGER not in (kinds := graph.services[name]):
        text = f"{name} is a {', '.join(kinds)}, not a {_TRIGGER}"
        yield finding("problem", at, text, "a service of that type, or none")
    else:
        yield finding("ok", at, f"{name} is there")
