"""Whether ROS 2 works here: imports, and a message to another process and back.

`python -m mbrl_node.ros.self_test`, which `mbrl doctor` runs with a domain of its own. The other
process is this module again, with the topic's name.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from statistics import median

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from mbrl_node.ros.fastdds import use_udp
from mbrl_node.ros.told import tell

ROUNDS = 50
PATIENCE = 40.0  # s until the other process is heard
LOST = 5.0  # s after which a message that did not come back is lost
_PACKAGES = (
    "geometry_msgs",
    "nav_msgs",
    "sensor_msgs",
    "std_msgs",
    "visualization_msgs",
    "mbrl_msgs",
)


def main() -> None:
    """Tells it, stage by stage."""
    use_udp(os.environ)  # the other process gets it, too
    rclpy.init()
    tell("rclpy", rclpy.__file__)
    tell("rmw", rclpy.get_rmw_implementation_identifier())
    tell("messages", _missing())
    topic = f"/mbrl_doctor_{os.getpid()}"
    other = subprocess.Popen([sys.executable, "-m", __spec__.name, topic])
    try:
        tell("round_trip", 1e3 * _round_trip(topic, other))
    finally:
        other.kill()
        other.wait()
        rclpy.shutdown()


def _missing() -> str:
    """Why messages cannot be imported; empty: they can."""
    for package in _PACKAGES:
        try:
            importlib.import_module(f"{package}.msg")
        except Exception as error:  # a library that does not fit is no ImportError
            return f"{package}: {str(error).partition(chr(10))[0]}"
    return ""


def _round_trip(topic: str, other: subprocess.Popen[bytes]) -> float:
    """The median of some, s.

    Raises:
        SystemExit: the other process is not heard.
    """
    from std_msgs.msg import Int64

    heard: list[int] = []
    node = Node("mbrl_doctor", enable_rosout=False, start_parameter_services=False)
    publisher = node.create_publisher(Int64, topic, 10)
    node.create_subscription(Int64, f"{topic}_back", lambda msg: heard.append(msg.data), 10)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    times: list[float] = []
    number, end = 0, time.monotonic() + PATIENCE
    while len(times) < ROUNDS:
        number += 1
        begin = time.monotonic()
        publisher.publish(Int64(data=number))
        # Until the first answer the other one may not have been there to hear the question.
        wait = begin + (LOST if times else 0.1)
        while number not in heard and time.monotonic() < wait:
            executor.spin_once(max(0.0, wait - time.monotonic()))
        if number in heard:
            times.append(time.monotonic() - begin)
        elif other.poll() is not None:
            raise SystemExit(f"the other process ended with exit code {other.returncode}")
        elif time.monotonic() > end:
            raise SystemExit(f"nothing came back within {PATIENCE:g} s")
    return median(times)


def echo(topic: str) -> None:
    """Sends back what comes on a topic, until it is ended."""
    from std_msgs.msg import Int64

    rclpy.init()
    node = Node("mbrl_doctor_echo", enable_rosout=False, start_parameter_services=False)
    back = node.create_publisher(Int64, f"{topic}_back", 10)
    node.create_subscription(Int64, topic, back.publish, 10)
    rclpy.spin(node)


if __name__ == "__main__":
    echo(sys.argv[1]) if len(sys.argv) > 1 else main()
