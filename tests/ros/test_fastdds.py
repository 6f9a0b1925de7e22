"""Which profile Fast DDS gets; tests/ros/test_bringup.py looks at what comes of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from mbrl_node.ros.fastdds import use_udp

MANY = """
import os, time
import rclpy
from mbrl_node.ros.fastdds import use_udp
use_udp(os.environ)
nodes = []
for number in range(7):
    context = rclpy.Context()
    rclpy.init(context=context)
    nodes.append(rclpy.create_node(f"one_of_many_{number}", context=context))
def seen(node):
    return sum(name.startswith("one_of_many") for name in node.get_node_names())
until = time.monotonic() + 60
while min(map(seen, nodes)) < len(nodes) and time.monotonic() < until:
    time.sleep(0.1)
print([seen(node) for node in nodes])
"""
NAMES = {"FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"}


@pytest.fixture(autouse=True)
def rmw(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the middleware; it is Fast DDS."""

    def use(name: str) -> None:
        monkeypatch.setattr("rclpy.get_rmw_implementation_identifier", lambda: name)

    use("rmw_fastrtps_cpp")
    return use


@pytest.mark.parametrize(
    ("given", "expected", "profile"),
    [
        ({}, {}, "network"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"},) * 2 + ("network",),
        (
            {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"},
            {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT"},
            "this_machine",
        ),
        (
            {"ROS_LOCALHOST_ONLY": "1"},
            {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT"},
            "this_machine",
        ),
    ],
)
def test_messages_go_over_udp_as_far_as_the_user_wants(
    given: dict[str, str], expected: dict[str, str], profile: str
) -> None:
    environment = dict(given)
    use_udp(environment)
    files = {environment.pop(name) for name in NAMES}
    assert environment == expected
    (path,) = map(Path, files)
    assert path.stem == profile and path.is_file()


@pytest.mark.parametrize(
    "given",
    [
        *({name: "my.xml"} for name in NAMES),
        {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"},
        {"ROS_STATIC_PEERS": "10.0.0.2", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"},
    ],
)
def test_what_the_user_chose_stays(given: dict[str, str]) -> None:
    environment = dict(given)
    use_udp(environment)
    assert environment == given


def test_another_middleware_is_left_alone(rmw: Callable[[str], None]) -> None:
    rmw("rmw_cyclonedds_cpp")
    environment = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    use_udp(environment)
    assert environment == {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def test_a_file_of_profiles_in_the_working_directory_is_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("DEFAULT_FASTRTPS_PROFILES.xml").write_text("<profiles/>")
    environment: dict[str, str] = {}
    use_udp(environment)
    assert environment == {}


def test_every_node_finds_every_other_one_however_many_there_are() -> None:
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, check=False)
    assert done.stdout == f"{[7] * 7}\n", done.stderr
