"""`ros2 service`: list and call services."""

from __future__ import annotations

import argparse
import time

import rclpy

from .. import graph
from ..cli import Failure, add_subverbs
from ..messages import fill, parse_yaml


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `ros2 service`."""
    verbs = add_subverbs(parser)
    verb = verbs.add_parser("list", help="Output a list of available services")
    verb.add_argument(
        "-t", "--show-types", action="store_true", help="Additionally show the service type"
    )
    verb.add_argument(
        "-c", "--count-services", action="store_true", help="Only display the number of services"
    )
    verb.add_argument(
        "--include-hidden-services", action="store_true", help="Consider hidden services as well"
    )
    verb.set_defaults(main=list_services)

    verb = verbs.add_parser("type", help="Output a service's type")
    verb.add_argument("service_name", help="Name of the ROS service to get type")
    verb.set_defaults(main=print_type)

    verb = verbs.add_parser("find", help="Output a list of available services of a given type")
    verb.add_argument("service_type", help="Name of the ROS service type")
    verb.set_defaults(main=find)

    verb = verbs.add_parser("call", help="Call a service")
    verb.add_argument("service_name", help="Name of the ROS service to call to")
    verb.add_argument("service_type", help="Type of the ROS service (e.g. 'std_srvs/srv/Empty')")
    verb.add_argument(
        "values",
        nargs="?",
        default="{}",
        help="Values to fill the service request with in YAML format (e.g. '{a: 1, b: 2}')",
    )
    verb.add_argument(
        "-r", "--rate", metavar="N", type=float, help="Repeat the call at a specific rate in Hz"
    )
    verb.set_defaults(main=call)


def list_services(args: argparse.Namespace) -> None:
    """Print the services."""
    with graph.cli_node() as node:
        graph.settle(node)
        services = [
            (name, types)
            for name, types in sorted(node.get_service_names_and_types())
            if args.include_hidden_services or not graph.is_hidden(name)
        ]
    if args.count_services:
        print(len(services))
        return
    for name, types in services:
        print(f"{name} [{', '.join(types)}]" if args.show_types else name)


def print_type(args: argparse.Namespace) -> int:
    """Print the type of a service."""
    name = graph.absolute(args.service_name)
    with graph.cli_node() as node:
        types = graph.settle(node, lambda: dict(node.get_service_names_and_types()).get(name))
    for type_name in types or []:
        print(type_name)
    return 0 if types else 1


def find(args: argparse.Namespace) -> None:
    """Print the services of a type."""
    with graph.cli_node() as node:
        graph.settle(node)
        for name, types in sorted(node.get_service_names_and_types()):
            if args.service_type in types and not graph.is_hidden(name):
                print(name)


def call(args: argparse.Namespace) -> None:
    """Call a service, waiting for it as long as it takes, and print request and response.

    Raises:
        Failure: The type or the values do not fit.
    """
    service_type = graph.load_type(args.service_type, "srv")
    if args.rate is not None and args.rate <= 0:
        raise Failure("rate must be greater than zero")
    request = service_type.Request()
    fill(request, parse_yaml(args.values))
    with graph.cli_node() as node:
        client = node.create_client(service_type, graph.absolute(args.service_name))
        if not client.wait_for_service(timeout_sec=0.2):
            print("waiting for service to become available...", flush=True)
            while not client.wait_for_service(timeout_sec=1.0):
                if not rclpy.ok():
                    return
        while rclpy.ok():
            print(f"requester: making request: {request!r}\n", flush=True)
            start = time.monotonic()
            future = client.call_async(request)
            rclpy.spin_until_future_complete(node, future)
            if not future.done():
                return
            print(f"response:\n{future.result()!r}\n", flush=True)
            if args.rate is None:
                return
            time.sleep(max(0.0, start + 1.0 / args.rate - time.monotonic()))
