"""Qualities of service that two nodes must agree on. All are reliable; or what a
robot's file asks for."""

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from mbrl_node.spec.topics import Qos

# Late joiners get the newest; a learner gets the rest again, see `Delivery`.
TRANSITIONS = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# For a learner that is there.
AGAIN = QoSProfile(depth=1000)
# Whoever is told again says it again.
ACKNOWLEDGEMENTS = QoSProfile(depth=100)
# Late joiners get all of a usual run.
EVENTS = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Late joiners get the newest.
LATEST = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def qos_of(qos: Qos, depth: int) -> QoSProfile:
    """What a robot's file asks for, with a queue of this many messages."""
    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy[qos.reliability.upper()],
        durability=DurabilityPolicy[qos.durability.upper()],
    )
