"""A Fast DDS profile for the processes that `ros2 launch` and `ros2 run` start.

A Fast DDS participant answers a new one at once, often before that one is ready to listen, and
announces itself again only every 3 s. So nodes that start together, and the verbs of `ros2`, which
have no daemon here, would often wait that long for each other. The profile shortens the 3 s.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


def use_quick_discovery() -> None:
    """Put the profile into the environment, unless the user has chosen one."""
    files = ("DEFAULT_FASTDDS_PROFILES.xml", "DEFAULT_FASTRTPS_PROFILES.xml")
    if not any(os.environ.get(name) for name in VARIABLES) and not any(map(os.path.exists, files)):
        path = str(Path(__file__).with_name("quick_discovery.xml"))
        os.environ.update(dict.fromkeys(VARIABLES, path))
