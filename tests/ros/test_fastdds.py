"""Which profile Fast DDS gets; tests/ros/test_bringup.py looks at what comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbrl_node.ros.fastdds import use_udp

NAMES = {"FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"}


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


def test_a_file_of_profiles_in_the_working_directory_is_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("DEFAULT_FASTRTPS_PROFILES.xml").write_text("<profiles/>")
    environment: dict[str, str] = {}
    use_udp(environment)
    assert environment == {}
