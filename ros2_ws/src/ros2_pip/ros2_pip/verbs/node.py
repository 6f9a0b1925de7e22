"""`ros2 node`: the nodes of the graph."""

from __future__ import annotations

import argparse
import collections
import sys
from typing import Any

from .. import graph
from ..cli import Failure, add_subverbs


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `ros2 node`."""
    verbs = add_subverbs(parser)
    verb = verbs.add_parser("list", help="Output a list of available nodes")
    verb.add_argument("-a", "--all", action="store_true", help="Display all nodes even hidden ones")
    verb.add_argument(
        "-c", "--count-nodes", action="store_true", help="Only display the number of nodes"
    )
    verb.set_defaults(main=list_nodes)
    verb = verbs.add_parser("info", help="Output information about a node")
    verb.add_argument("node_name", help="Fully qualified node name to request information")
    verb.add_argument(
        "--include-hidden",
        action="store_true",
        help="Display hidden topics, services, and actions as well",
    )
    verb.set_defaults(main=info)


def list_nodes(args: argparse.Namespace) -> None:
    """Print the nodes."""
    with graph.cli_node() as node:
        graph.settle(node)
        names = [name for name in graph.node_names(node) if args.all or not graph.is_hidden(name)]
    if args.count_nodes:
        print(len(names))
        return
    if any(count > 1 for count in collections.Counter(names).values()):
        print(
            "WARNING: Be aware that there are nodes in the graph that share an exact name, which "
            "can have unintended side effects.",
            file=sys.stderr,
        )
    for name in names:
        print(name)


def info(args: argparse.Namespace) -> None:
    """Print topics and services of a node.

    Raises:
        Failure: There is no such node.
    """
    with graph.cli_node() as node:
        name = graph.absolute(args.node_name)
        if not graph.settle(node, lambda: name in graph.node_names(node)):
            raise Failure(f"Unable to find node '{args.node_name}'")
        graph.settle(node)
        namespace, _, base = name.rpartition("/")
        namespace = namespace or "/"
        subscribers = _ask(node.get_subscriber_names_and_types_by_node, base, namespace)
        publishers = _ask(node.get_publisher_names_and_types_by_node, base, namespace)
        servers = _ask(node.get_service_names_and_types_by_node, base, namespace)
        clients = _ask(node.get_client_names_and_types_by_node, base, namespace)
    print(name)
    for title, names in (
        ("Subscribers", subscribers),
        ("Publishers", publishers),
        ("Service Servers", servers),
        ("Service Clients", clients),
        ("Action Servers", _actions(servers)),
        ("Action Clients", _actions(clients)),
    ):
        print(f"  {title}:")
        shown = [
            f"    {item}: {', '.join(types)}"
            for item, types in names
            if args.include_hidden or not graph.is_hidden(item)
        ]
        print(*shown, sep="\n")


def _ask(function: Any, base: str, namespace: str) -> list[tuple[str, list[str]]]:
    return sorted(function(base, namespace))


def _actions(services: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """The actions among services: each has a hidden service `…/_action/send_goal`."""
    suffix, type_suffix = "/_action/send_goal", "_SendGoal"
    return [
        (name.removesuffix(suffix), [item.removesuffix(type_suffix) for item in types])
        for name, types in services
        if name.endswith(suffix)
    ]
