"""How our nodes' Fast DDS talks to others: over UDP alone, and quickly found.

Fast DDS prefers shared memory between processes of a machine. A process that is killed leaves its
part of that memory as it was: now and then the others then wait a second for it, or the process
that is started in its place never gets a message, though its subscriptions are matched
(github.com/eProsima/Fast-DDS/issues/5053, open in the version that is pinned here), and what it had
there is lost to the machine until it is restarted. Our messages are small, and UDP has none of
this. A Fast DDS participant also announces itself only every 3 s, and those that start together
often miss each other's first; ours say so five times a second.

What the user has set up for Fast DDS goes before all of this; another middleware is left alone.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

import rclpy

_PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
_USERS_FILES = ("DEFAULT_FASTDDS_PROFILES.xml", "DEFAULT_FASTRTPS_PROFILES.xml")
_USERS = (*_PROFILES, "FASTDDS_BUILTIN_TRANSPORTS", "ROS_STATIC_PEERS")


def use_udp(environment: MutableMapping[str, str]) -> None:
    """Chooses a profile for the participants that this process is going to have.

    With ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST, ROS 2 itself puts shared memory back in. So the
    profile keeps to this machine instead, and ROS 2 is told to leave it at that.

    Args:
        environment: of the process; its `os.environ`.
    """
    if not rclpy.get_rmw_implementation_identifier().startswith("rmw_fastrtps"):
        return
    if any(environment.get(name) for name in _USERS) or any(map(os.path.exists, _USERS_FILES)):
        return
    reach = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper()
    if environment.get("ROS_LOCALHOST_ONLY") == "1":
        reach = "LOCALHOST"
        del environment["ROS_LOCALHOST_ONLY"]
    if reach == "LOCALHOST":
        environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SYSTEM_DEFAULT"
    name = "this_machine.xml" if reach == "LOCALHOST" else "network.xml"
    environment.update(dict.fromkeys(_PROFILES, str(Path(__file__).with_name(name))))
