"""`ros2 topic`: list, look at, listen to and publish topics."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import rclpy
from rclpy.node import Node

from .. import graph
from ..cli import Failure, add_subverbs
from ..messages import get_field, to_csv, to_yaml
from ..qos import add_qos_arguments, matching_profile
from ..rates import RateMeter
from . import topic_pub

DEFAULT_TRUNCATE_LENGTH = 128
DEFAULT_WINDOW = 10000


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `ros2 topic`."""
    verbs = add_subverbs(parser)
    verb = verbs.add_parser("list", help="Output a list of available topics")
    verb.add_argument(
        "-t", "--show-types", action="store_true", help="Additionally show the topic type"
    )
    verb.add_argument(
        "-c", "--count-topics", action="store_true", help="Only display the number of topics"
    )
    verb.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="List full details about each topic",
    )
    verb.add_argument(
        "--include-hidden-topics", action="store_true", help="Consider hidden topics as well"
    )
    verb.set_defaults(main=list_topics)

    verb = verbs.add_parser("type", help="Print a topic's type")
    verb.add_argument("topic_name", help="Name of the ROS topic to get type (e.g. '/chatter')")
    verb.set_defaults(main=print_type)

    verb = verbs.add_parser("find", help="Output a list of available topics of a given type")
    verb.add_argument("topic_type", help="Name of the ROS topic type (e.g. 'std_msgs/msg/String')")
    verb.set_defaults(main=find)

    verb = verbs.add_parser("info", help="Print information about a topic")
    verb.add_argument("topic_name", help="Name of the ROS topic to get info (e.g. '/chatter')")
    verb.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="Prints detailed information like the node name, node namespace, topic type, "
        "topic type hash, GUID, and QoS profile of the publishers and subscribers to this topic",
    )
    verb.set_defaults(main=info)

    verb = verbs.add_parser("echo", help="Output messages from a topic")
    _add_echo_arguments(verb)
    verb.set_defaults(main=echo)

    verb = verbs.add_parser("hz", help="Print the average receiving rate to screen")
    verb.add_argument("topic_name", help="Name of the ROS topic to listen to (e.g. '/chatter')")
    verb.add_argument(
        "-w",
        "--window",
        type=positive_int,
        default=DEFAULT_WINDOW,
        metavar="WINDOW",
        help=f"window size, in # of messages, for calculating rate (default: {DEFAULT_WINDOW})",
    )
    verb.add_argument(
        "--filter",
        metavar="EXPR",
        dest="filter_expr",
        help="only measure messages matching the specified Python expression of m, the message",
    )
    verb.add_argument(
        "--wall-time",
        action="store_true",
        help="calculates rate using wall time (here always so)",
    )
    add_qos_arguments(verb, "subscribe", "sensor_data")
    verb.set_defaults(main=hz)

    topic_pub.add_verb(verbs)


def _add_echo_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("topic_name", help="Name of the ROS topic to listen to (e.g. '/chatter')")
    verb.add_argument(
        "message_type", nargs="?", help="Type of the ROS message (e.g. 'std_msgs/msg/String')"
    )
    add_qos_arguments(verb, "subscribe", "sensor_data")
    verb.add_argument(
        "--csv",
        action="store_true",
        help="Output all recursive fields separated by commas (e.g. for plotting)",
    )
    verb.add_argument(
        "--field",
        metavar="FIELD",
        help="Echo a selected field of a message. Use '.' to select sub-fields "
        "(e.g. 'pose.pose.position.x')",
    )
    verb.add_argument(
        "-f",
        "--full-length",
        action="store_true",
        help="Output all elements for arrays, bytes, and string with a length > "
        "'--truncate-length'",
    )
    verb.add_argument(
        "-l",
        "--truncate-length",
        type=positive_int,
        default=DEFAULT_TRUNCATE_LENGTH,
        help="The length to truncate arrays, bytes, and string to "
        f"(default: {DEFAULT_TRUNCATE_LENGTH})",
    )
    verb.add_argument("--no-arr", action="store_true", help="Don't print array fields")
    verb.add_argument("--no-str", action="store_true", help="Don't print string fields")
    verb.add_argument(
        "--flow-style", action="store_true", help="Print collections in the block style"
    )
    verb.add_argument(
        "--no-lost-messages", action="store_true", help="Accepted; lost messages are not reported"
    )
    verb.add_argument("--raw", action="store_true", help="Echo the raw binary representation")
    verb.add_argument(
        "--filter",
        metavar="EXPR",
        dest="filter_expr",
        help="Python expression of m, the message, that chooses the messages to print",
    )
    verb.add_argument(
        "--once", action="store_true", help="Print the first message received and exit"
    )


def positive_int(text: str) -> int:
    """An integer above zero, for argparse."""
    value = int(text) if text.isdigit() else 0
    if value <= 0:
        raise argparse.ArgumentTypeError("value must be a positive integer")
    return value


def list_topics(args: argparse.Namespace) -> None:
    """Print the topics."""
    with graph.cli_node() as node:
        graph.settle(node)
        topics = [
            (name, types)
            for name, types in sorted(node.get_topic_names_and_types())
            if args.include_hidden_topics or not graph.is_hidden(name)
        ]
        if args.count_topics:
            print(len(topics))
        elif args.verbose:
            for title, word, count in (
                ("Published", "publisher", node.count_publishers),
                ("Subscribed", "subscriber", node.count_subscribers),
            ):
                print(f"{title} topics:")
                for name, types in topics:
                    if number := count(name):
                        plural = "s" if number > 1 else ""
                        print(f" * {name} [{', '.join(types)}] {number} {word}{plural}")
                print()
        else:
            for name, types in topics:
                print(f"{name} [{', '.join(types)}]" if args.show_types else name)


def print_type(args: argparse.Namespace) -> int:
    """Print the type of a topic."""
    with graph.cli_node() as node:
        types = graph.topic_types(node, args.topic_name)
    for name in types:
        print(name)
    return 0 if types else 1


def find(args: argparse.Namespace) -> None:
    """Print the topics of a type."""
    with graph.cli_node() as node:
        graph.settle(node)
        for name, types in sorted(node.get_topic_names_and_types()):
            if args.topic_type in types and not graph.is_hidden(name):
                print(name)


def info(args: argparse.Namespace) -> None:
    """Print what is known of a topic.

    Raises:
        Failure: There is no such topic.
    """
    topic = graph.absolute(args.topic_name)
    with graph.cli_node() as node:
        types = graph.topic_types(node, topic)
        if not types:
            raise Failure(f"Unknown topic '{args.topic_name}'")
        graph.settle(node)  # the others at its ends
        print(f"Type: {types[0] if len(types) == 1 else types}")
        end = "\n\n" if args.verbose else "\n"
        if args.verbose:
            print()
        for title, count, endpoints in (
            ("Publisher", node.count_publishers, node.get_publishers_info_by_topic),
            ("Subscription", node.count_subscribers, node.get_subscriptions_info_by_topic),
        ):
            print(f"{title} count: {count(topic)}", end=end)
            if args.verbose:
                for endpoint in endpoints(topic):
                    print(f"{endpoint}\n")


def find_message_type(node: Node, topic: str) -> Any:
    """Wait for a topic and load its type.

    Raises:
        Failure: The topic does not come, or has several types.
    """
    types = graph.topic_types(node, topic)
    if not types:
        print(f"WARNING: topic [{topic}] does not appear to be published yet", file=sys.stderr)
        raise Failure("Could not determine the type for the passed topic")
    if len(types) > 1:
        raise Failure(
            f"Cannot echo topic '{topic}', as it contains more than one type: [{', '.join(types)}]"
        )
    return graph.load_type(types[0], "msg")


def compile_filter(expression: str | None) -> Any:
    """The predicate of a message that the user's own Python expression says.

    Raises:
        Failure: It is not an expression.
    """
    if expression is None:
        return lambda message: True
    try:
        code = compile(expression, "--filter", "eval")
    except SyntaxError as error:
        raise Failure(f"--filter '{expression}': {error.msg}") from None
    return lambda message: eval(code, {"m": message})


def echo(args: argparse.Namespace) -> None:
    """Print the messages of a topic as they come."""
    accepts = compile_filter(args.filter_expr)
    truncate = None if args.full_length else args.truncate_length
    options = {"truncate": truncate, "no_arr": args.no_arr, "no_str": args.no_str}
    with graph.cli_node() as node:
        topic = graph.absolute(args.topic_name)
        if args.message_type:
            message_type = graph.load_type(args.message_type, "msg")
            graph.topic_types(node, topic)
        else:
            message_type = find_message_type(node, topic)
        if args.field and not args.raw:
            get_field(message_type(), args.field.split("[")[0])
        printed = rclpy.task.Future()

        def on_message(message: Any) -> None:
            if args.raw:
                print(message, "---", sep="\n", flush=True)
            elif not accepts(message) or printed.done():
                return
            else:
                value = get_field(message, args.field) if args.field else message
                if args.csv:
                    print(to_csv(value, **options), flush=True)
                else:
                    text = to_yaml(value, flow_style=args.flow_style, **options)
                    print(text.removesuffix("...\n"), end="---\n", flush=True)
            if args.once:
                printed.set_result(None)

        profile = matching_profile(node, topic, args)
        node.create_subscription(message_type, topic, on_message, profile, raw=args.raw)
        rclpy.spin_until_future_complete(node, printed)


def hz(args: argparse.Namespace) -> None:
    """Print the rate at which the messages of a topic come, once a second."""
    accepts = compile_filter(args.filter_expr)
    with graph.cli_node() as node:
        topic = graph.absolute(args.topic_name)
        message_type = find_message_type(node, topic)
        meter = RateMeter(args.window)
        raw = args.filter_expr is None

        def on_message(message: Any) -> None:
            if raw or accepts(message):
                meter.add()

        def report() -> None:
            if text := meter.report():
                print(text, flush=True)

        node.create_subscription(
            message_type, topic, on_message, matching_profile(node, topic, args), raw=raw
        )
        node.create_timer(1.0, report)
        rclpy.spin(node)
