"""Where a robot's state comes from: topics of any type, and the numbers in their messages."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mbrl_node.spec import RobotSpec, SpecError
from mbrl_node.spec.topics import JointStateTopic, MessageTopic

Document = dict[str, Any]
QUATERNION = [{"name": f"q{c}", "path": f"pose.pose.orientation.{c}", "unit": "1"} for c in "xyzw"]


def field(path: str, **more: object) -> Document:
    return {"name": path.replace(".", "_").replace("[", "_").replace("]", ""), "path": path} | more


def rover(fields: list[Document], kind: str = "nav_msgs/msg/Odometry", **topic: object) -> Document:
    """A robot whose only state topic has these fields; the last is in its reward."""
    fields = [{"unit": "m"} | f for f in fields]
    state = {"topic": "/odom", "type": kind, "timeout": 0.5, "fields": fields} | topic
    command = {"name": "u", "joint": "j", "min": -1, "max": 1, "safe": 0, "unit": "m/s"}
    return {
        "name": "rover",
        "rate": 10,
        "state": [state],
        "action": {
            "topic": "/commands",
            "type": "std_msgs/msg/Float64MultiArray",
            "fields": [command],
        },
        "reward": [{"term": "square", "of": "u", "weight": -1}],
        "episode": {"length": 10},
    }


def problems_of(document: Document) -> list[str]:
    with pytest.raises(SpecError) as error:
        RobotSpec.from_dict(document, source="r.yaml")
    return [problem.removeprefix("r.yaml: ") for problem in error.value.problems]


def test_a_field_of_any_message_is_given_by_its_path() -> None:
    yaw = field("pose.pose.orientation.yaw", unit="rad", angle=True)
    qos = {"reliability": "reliable", "durability": "transient_local"}
    spec = RobotSpec.from_dict(
        rover([field("pose.pose.position.x"), yaw, field("a[2].b[0]")], qos=qos)
    )
    assert spec.state_names == ("pose_pose_position_x", "pose_pose_orientation_yaw", "a_2_b_0")
    assert spec.angle_mask.tolist() == [False, True, False]
    assert spec.quaternions == ()
    (topic,) = spec.state
    assert isinstance(topic, MessageTopic) and topic.lists == ("a", "a[2].b")
    assert topic.qos.durability == "transient_local"


def test_topics_of_both_kinds_make_one_state(document: Document) -> None:
    del document["sim"]
    document["state"].append(rover(QUATERNION)["state"][0])
    spec = RobotSpec.from_dict(document)
    assert [type(topic) for topic in spec.state] == [JointStateTopic, MessageTopic]
    assert spec.state_names == ("x", "theta", "x_dot", "theta_dot", "qx", "qy", "qz", "qw")
    assert spec.quaternions == ((4, 5, 6, 7),)
    assert spec.with_overrides(rate=20.0).state == spec.state


@pytest.mark.parametrize("order", ["wxyz", "zwyx"])
def test_the_four_numbers_of_an_orientation_may_come_in_any_order(order: str) -> None:
    fields = [field(f"orientation.{c}") for c in order]
    spec = RobotSpec.from_dict(rover([field("angular_velocity.z"), *fields], "sensor_msgs/msg/Imu"))
    assert spec.quaternions == (tuple(1 + order.index(c) for c in "xyzw"),)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([f"transforms[{k}].transform.rotation.{c}" for k in (0, 1) for c in "xyzw"], 2),
        ([f"rotation[3].{c}" for c in "xyzw"], 1),
        ([f"orientation.{c}" for c in "xyz"], 0),
        ([f"disorientation.{c}" for c in "xyzw"], 0),
        (["a.orientation.x", "a.orientation.y", "b.orientation.z", "b.orientation.w"], 0),
    ],
)
def test_what_is_an_orientation_is_seen_from_the_paths(paths: list[str], expected: int) -> None:
    spec = RobotSpec.from_dict(rover([field(path) for path in paths]))
    assert len(spec.quaternions) == expected


@pytest.mark.parametrize(
    ("fields", "topic", "problems"),
    [
        ([field("a..b", name="f")], {}, ["fields[0].path: 'a..b' is not a path in a message"]),
        ([field("a[-1]", name="f")], {}, ["fields[0].path: 'a[-1]' is not a path in a message"]),
        ([field("a[01]")], {}, ["fields[0].path: 'a[01]' is not a path in a message"]),
        (
            [field(f"a[{'9' * 5000}]", name="f")],
            {},
            [f"fields[0].path: 'a[{'9' * 53}...' is not a path in a message"],
        ),
        ([field("a", name="f"), field("a")], {}, ["'a' is already state[0].fields[0]; each is"]),
        ([field("a", angle=True)], {}, ["fields[0].unit: 'm' must be 'rad', a is an angle"]),
        (
            [field("rotation.yaw", unit="rad")],
            {},
            ["fields[0].angle: must be true: rotation.yaw + 2 pi is the same"],
        ),
        ([field("orientation.pitch")], {}, ["unit: 'm' must be 'rad', orientation.pitch is"]),
        (
            [field(f"rotation.{c}", unit="rad", angle=c == "z") for c in "xyzw"],
            {},
            ["fields[2].angle: true is not for rotation.z, of a quaternion"],
        ),
        (
            [field(f"rotation.{c}", model_input=c != "z") for c in "xyzw"],
            {},
            ["fields[2].model_input: false is not for rotation.z: a model looks at whole"],
        ),
        ([field("data[3]")], {"size": 3}, ["path: 'data[3]' is beyond the end of size 3"]),
        (
            [field("data")],
            {"size": 3},
            ["size: is of one list that all fields index; they index 0"],
        ),
        ([field("a[0]"), field("b[0]")], {"size": 3}, ["they index 2"]),
        ([field("data[3]")], {"size": 0}, ["size: 0 must be above 0"]),
        ([field("data[3]")], {"size": 4.0}, ["size: 4 is not a whole number"]),
        ([field("data", joint="a")], {}, ["fields[0].joint: is not a known key (name, unit,"]),
        (
            [field("data")],
            {"type": "odom"},
            ["type: 'odom' is not a message type, which is package"],
        ),
        (
            [field("position[0]")],
            {"type": "sensor_msgs/msg/JointState"},
            ["is read by joint: give each field joint and value, no path"],
        ),
        ([], {}, ["state[0].fields: is an empty list"]),
    ],
)
def test_a_mistake_in_a_topic_is_reported(
    fields: list[Document], topic: Document, problems: list[str]
) -> None:
    found = problems_of(rover(fields, **topic))
    assert len(found) == len(problems)
    for problem, expected in zip(found, problems, strict=True):
        assert problem.startswith("state[0].") and expected in problem


def test_the_hash_tells_paths_apart_and_not_the_way_messages_come() -> None:
    one = rover([field("data[1]", name="f")], "std_msgs/msg/Float64MultiArray")
    hashes = {RobotSpec.from_dict(one).hash}
    for more in ({"size": 5}, {"timeout": 2.0}, {"qos": {"reliability": "reliable"}}):
        other = copy.deepcopy(one)
        other["state"][0] |= more
        assert RobotSpec.from_dict(other).hash in hashes
    one["state"][0]["fields"][0]["path"] = "data[2]"
    assert RobotSpec.from_dict(one).hash not in hashes
