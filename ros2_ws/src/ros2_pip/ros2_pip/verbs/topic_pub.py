"""`ros2 topic pub`: publish a message, once or at a rate."""

from __future__ import annotations

import argparse
import time
from typing import Any

import rclpy

from .. import graph
from ..cli import Failure
from ..messages import fill, parse_yaml
from ..qos import add_qos_arguments, profile_from_arguments


def add_verb(verbs: Any) -> None:
    """Add the arguments of `ros2 topic pub`."""
    verb = verbs.add_parser("pub", help="Publish a message to a topic")
    verb.add_argument("topic_name", help="Name of the ROS topic to publish to (e.g. '/chatter')")
    verb.add_argument("message_type", help="Type of the ROS message (e.g. 'std_msgs/msg/String')")
    verb.add_argument(
        "values",
        nargs="?",
        default="{}",
        help="Values to fill the message with in YAML format (e.g. 'data: Hello World')",
    )
    verb.add_argument(
        "-r",
        "--rate",
        metavar="N",
        type=positive_float,
        default=1.0,
        help="Publishing rate in Hz (default: 1)",
    )
    verb.add_argument(
        "-p",
        "--print",
        metavar="N",
        type=int,
        default=1,
        dest="print_nth",
        help="Only print every N-th published message (default: 1)",
    )
    group = verb.add_mutually_exclusive_group()
    group.add_argument("-1", "--once", action="store_true", help="Publish one message and exit")
    group.add_argument(
        "-t", "--times", type=int, default=0, help="Publish this number of times and then exit"
    )
    verb.add_argument(
        "-w",
        "--wait-matching-subscriptions",
        type=int,
        metavar="N",
        help="Wait until finding the specified number of matching subscriptions "
        '(default: 1 with "-1" or "-t", else 0)',
    )
    verb.add_argument(
        "--max-wait-time-secs",
        type=float,
        metavar="N",
        help="How long to wait for them (default: for ever)",
    )
    verb.add_argument(
        "--keep-alive",
        metavar="N",
        type=float,
        default=0.1,
        help="Keep publishing node alive for N seconds after the last msg (default: 0.1)",
    )
    verb.add_argument("-n", "--node-name", help="Name of the created publishing node")
    add_qos_arguments(verb, "publish", "default")
    verb.set_defaults(main=publish)


def positive_float(text: str) -> float:
    """A number above zero, for argparse."""
    value = float(text)
    if value <= 0.0:
        raise argparse.ArgumentTypeError("value must be positive")
    return value


def publish(args: argparse.Namespace) -> None:
    """Publish the message.

    Raises:
        Failure: The message cannot be made, or nobody listens in time.
    """
    times = 1 if args.once else args.times
    wanted = args.wait_matching_subscriptions
    if wanted is None:
        wanted = 1 if times else 0
    message_type = graph.load_type(args.message_type, "msg")
    values = parse_yaml(args.values)
    with graph.cli_node(args.node_name) as node:
        message = message_type()
        fill(message, values, node.get_clock().now().to_msg())
        publisher = node.create_publisher(
            message_type, args.topic_name, profile_from_arguments(args)
        )
        _wait_for_subscriptions(publisher, wanted, args.max_wait_time_secs)
        print("publisher: beginning loop", flush=True)
        start = time.monotonic()
        count = 0
        while rclpy.ok() and (times == 0 or count < times):
            count += 1
            fill(message, values, node.get_clock().now().to_msg())
            if args.print_nth and count % args.print_nth == 0:
                print(f"publishing #{count}: {message!r}\n", flush=True)
            publisher.publish(message)
            if times == 0 or count < times:
                time.sleep(max(0.0, start + count / args.rate - time.monotonic()))
        if rclpy.ok():
            time.sleep(args.keep_alive)


def _wait_for_subscriptions(publisher: Any, wanted: int, limit_s: float | None) -> None:
    start, told = time.monotonic(), 0.0
    while rclpy.ok() and publisher.get_subscription_count() < wanted:
        now = time.monotonic()
        if limit_s is not None and now - start > limit_s:
            raise Failure(
                f"Timed out waiting for subscribers: Expected {wanted} subscribers but only got "
                f"{publisher.get_subscription_count()} subscribers"
            )
        if now - told > 1.0:
            print(f"Waiting for at least {wanted} matching subscription(s)...", flush=True)
            told = now
        time.sleep(0.02)
