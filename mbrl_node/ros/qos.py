"""Qualities of service that two nodes must agree on."""

from rclpy.qos import DurabilityPolicy, QoSProfile

# Late joiners get the past: enough of it for a learner that was away for minutes.
TRANSITIONS = QoSProfile(depth=10_000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Late joiners get the newest.
LATEST = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
