"""Quality of service: the options `--qos-…`, and the profile that fits the other side."""

from __future__ import annotations

import argparse

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import (
    QoSDurabilityPolicy,
    QoSHistoryPolicy,
    QoSLivelinessPolicy,
    QoSPresetProfiles,
    QoSProfile,
    QoSReliabilityPolicy,
)


def add_qos_arguments(parser: argparse.ArgumentParser, who: str, default: str) -> None:
    """Add the options `--qos-…`.

    Args:
        parser: The parser.
        who: `publish` or `subscribe`, for the help.
        default: The preset to begin with.
    """
    parser.set_defaults(default_qos_profile=default)
    parser.add_argument(
        "--qos-profile",
        choices=QoSPresetProfiles.short_keys(),
        help=f"Quality of service preset profile to {who} with (default: {default})",
    )
    parser.add_argument("--qos-depth", metavar="N", type=int, help=f"Queue size to {who} with")
    for name, policy in (
        ("history", QoSHistoryPolicy),
        ("reliability", QoSReliabilityPolicy),
        ("durability", QoSDurabilityPolicy),
        ("liveliness", QoSLivelinessPolicy),
    ):
        parser.add_argument(
            f"--qos-{name}",
            choices=policy.short_keys(),
            help=f"Quality of service {name} setting to {who} with",
        )
    parser.add_argument(
        "--qos-liveliness-lease-duration-seconds",
        type=float,
        metavar="SECONDS",
        help=f"Quality of service liveliness lease duration to {who} with",
    )


def profile_from_arguments(args: argparse.Namespace) -> QoSProfile:
    """The profile that the options ask for."""
    profile = QoSPresetProfiles.get_from_short_key(args.qos_profile or args.default_qos_profile)
    if args.qos_depth is not None:
        profile.depth = args.qos_depth
    elif profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL and profile.depth == 0:
        profile.depth = 1
    if args.qos_history:
        profile.history = QoSHistoryPolicy.get_from_short_key(args.qos_history)
    if args.qos_reliability:
        profile.reliability = QoSReliabilityPolicy.get_from_short_key(args.qos_reliability)
    if args.qos_durability:
        profile.durability = QoSDurabilityPolicy.get_from_short_key(args.qos_durability)
        if profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL and profile.depth == 0:
            profile.depth = 1
    if args.qos_liveliness:
        profile.liveliness = QoSLivelinessPolicy.get_from_short_key(args.qos_liveliness)
    if args.qos_liveliness_lease_duration_seconds is not None:
        profile.liveliness_lease_duration = Duration(
            seconds=args.qos_liveliness_lease_duration_seconds
        )
    return profile


def matching_profile(node: Node, topic: str, args: argparse.Namespace) -> QoSProfile:
    """The profile for a subscription: what the options say, or else what all publishers offer."""
    profile = profile_from_arguments(args)
    chosen = (
        args.qos_profile,
        args.qos_depth,
        args.qos_history,
        args.qos_reliability,
        args.qos_durability,
    )
    publishers = node.get_publishers_info_by_topic(topic)
    if any(option is not None for option in chosen) or not publishers:
        return profile
    reliable = all(
        info.qos_profile.reliability == QoSReliabilityPolicy.RELIABLE for info in publishers
    )
    durable = all(
        info.qos_profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL for info in publishers
    )
    profile.reliability = (
        QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT
    )
    profile.durability = (
        QoSDurabilityPolicy.TRANSIENT_LOCAL if durable else QoSDurabilityPolicy.VOLATILE
    )
    if durable:  # a keep-last depth below theirs would lose what they kept
        profile.depth = max([profile.depth, *(info.qos_profile.depth for info in publishers)])
    return profile
