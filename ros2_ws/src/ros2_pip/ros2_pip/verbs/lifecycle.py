"""`ros2 lifecycle`: the states of managed nodes."""

from __future__ import annotations

import argparse

from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions, GetState
from rclpy.node import Node

from .. import graph
from ..cli import Failure, add_subverbs

GET_STATE_TYPE = "lifecycle_msgs/srv/GetState"


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `ros2 lifecycle`."""
    verbs = add_subverbs(parser)
    verb = verbs.add_parser("get", help="Get lifecycle state for one or more nodes")
    verb.add_argument("node_name", nargs="?", help="Name of the ROS node (all by default)")
    verb.set_defaults(main=get)
    verb = verbs.add_parser("list", help="Output a list of available transitions")
    verb.add_argument("node_name", help="Name of the ROS node")
    verb.add_argument("-a", "--all", action="store_true", help="Display all existing transitions")
    verb.set_defaults(main=list_transitions)
    verb = verbs.add_parser("nodes", help="Output a list of nodes with lifecycle")
    verb.add_argument("-a", "--all", action="store_true", help="Display all nodes even hidden ones")
    verb.add_argument(
        "-c", "--count-nodes", action="store_true", help="Only display the number of nodes"
    )
    verb.set_defaults(main=nodes)
    verb = verbs.add_parser("set", help="Trigger lifecycle state transition")
    verb.add_argument("node_name", help="Name of the ROS node")
    verb.add_argument("transition", help="The lifecycle transition, its label or number")
    verb.set_defaults(main=set_state)


def _lifecycle_nodes(node: Node) -> list[str]:
    suffix = "/get_state"
    return sorted(
        name.removesuffix(suffix)
        for name, types in node.get_service_names_and_types()
        if name.endswith(suffix) and GET_STATE_TYPE in types
    )


def _find(node: Node, name: str) -> str:
    name = graph.absolute(name)
    if not graph.settle(node, lambda: name in _lifecycle_nodes(node)):
        raise Failure("Node not found")
    return name


def _state(node: Node, name: str) -> str:
    state = graph.call(node, GetState, f"{name}/get_state", GetState.Request()).current_state
    return f"{state.label} [{state.id}]"


def get(args: argparse.Namespace) -> None:
    """Print the state of a node, or of all managed nodes."""
    with graph.cli_node() as node:
        if args.node_name:
            print(_state(node, _find(node, args.node_name)))
            return
        graph.settle(node)
        for name in _lifecycle_nodes(node):
            print(f"{name}: {_state(node, name)}")


def list_transitions(args: argparse.Namespace) -> None:
    """Print the transitions that a node can make now, or all it has."""
    with graph.cli_node() as node:
        name = _find(node, args.node_name)
        service = "get_transition_graph" if args.all else "get_available_transitions"
        response = graph.call(
            node, GetAvailableTransitions, f"{name}/{service}", GetAvailableTransitions.Request()
        )
    for item in response.available_transitions:
        print(f"- {item.transition.label} [{item.transition.id}]")
        print(f"\tStart: {item.start_state.label}")
        print(f"\tGoal: {item.goal_state.label}")


def nodes(args: argparse.Namespace) -> None:
    """Print the managed nodes."""
    with graph.cli_node() as node:
        graph.settle(node)
        names = [name for name in _lifecycle_nodes(node) if args.all or not graph.is_hidden(name)]
    if args.count_nodes:
        print(len(names))
    elif names:
        print(*names, sep="\n")


def set_state(args: argparse.Namespace) -> None:
    """Make a node go to another state.

    Raises:
        Failure: There is no such node or transition, or it did not succeed.
    """
    with graph.cli_node() as node:
        name = _find(node, args.node_name)
        response = graph.call(
            node,
            GetAvailableTransitions,
            f"{name}/get_available_transitions",
            GetAvailableTransitions.Request(),
        )
        transitions = [item.transition for item in response.available_transitions]
        wanted = [t for t in transitions if args.transition in (t.label, str(t.id))]
        if not wanted:
            known = "".join(f"\n- {t.label} [{t.id}]" for t in transitions)
            raise Failure(f"Unknown transition requested, available ones are:{known}")
        request = ChangeState.Request(transition=wanted[0])
        response = graph.call(node, ChangeState, f"{name}/change_state", request, timeout_s=60.0)
    if not response.success:
        raise Failure("Transitioning failed")
    print("Transitioning successful")
