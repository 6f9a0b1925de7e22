"""Bags and ROS's own messages: what is exported is what ROS reads, and the other way round."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")

from geometry_msgs.msg import PoseStamped
from mbrl_msgs.msg import Transition
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, Header

from mbrl_node.data import SessionTask, record_type, records_of
from mbrl_node.data.bags import write_bag
from mbrl_node.data.bags.bag import Bag
from mbrl_node.data.bags.storage import Topic
from mbrl_node.data.bags.types import Reader, own_types
from mbrl_node.ros.convert import transition_from_msg
from mbrl_node.ros.stamps import to_time
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole").with_overrides(
    targets=[
        {
            "topic": "/goal",
            "type": "geometry_msgs/msg/PoseStamped",
            "fields": [
                {"name": "goal", "path": "pose.position.x", "unit": "m", "min": -1, "max": 1}
            ],
        }
    ]
)
TASKS = {1_764_000_000 * 10**9: SessionTask.of(SPEC)}
START = 1_764_000_000 * 10**9


def run(steps=20):
    rng = np.random.default_rng(0)
    records, k = np.zeros(steps, record_type(4, 1, 1)), np.arange(steps)
    states = rng.normal(size=(steps + 1, 4))
    records["session"], records["sequence"], records["episode"] = START, k, 1
    records["step"] = k
    records["stamp"], records["next_stamp"] = 40_000_000 * k, 40_000_000 * (k + 1)
    records["state"], records["next_state"] = states[:-1], states[1:]
    records["action"] = records["action_requested"] = rng.normal(size=(steps, 1))
    records["reward"], records["truncated"] = rng.normal(size=steps), k == steps - 1
    records["controller"], records["model_version"] = b"mppi", 3
    records["targets"] = np.where(k < 12, 0.5, -0.5)[:, None]
    return records


def test_what_is_exported_is_what_ros_reads(tmp_path):
    records = run()
    write_bag(tmp_path / "bag", SPEC, records, TASKS)
    found: dict[str, list] = {}
    kinds = {
        "/mbrl_controller/transitions": Transition,
        "/joint_states": JointState,
        "/effort_controller/commands": Float64MultiArray,
        "/goal": PoseStamped,
    }
    for topic, _, data in Bag(tmp_path / "bag").messages():
        found.setdefault(topic.name, []).append(deserialize_message(data, kinds[topic.name]))
    transitions = [transition_from_msg(msg, SPEC) for msg in found["/mbrl_controller/transitions"]]
    assert records_of(transitions, 4, 1, 1).tobytes() == records.tobytes()
    states = found["/joint_states"]
    assert len(states) == 21
    for state, expected in zip(states, records["state"], strict=False):
        assert state.name == ["slider_to_cart", "cart_to_pole"]
        assert [*state.position, *state.velocity] == expected.tolist()
    commands = [list(msg.data) for msg in found["/effort_controller/commands"]]
    assert commands == records["action"].tolist()
    goals = [(msg.pose.position.x, msg.pose.orientation.w) for msg in found["/goal"]]
    assert goals == [(0.5, 1.0), (-0.5, 1.0)]


def test_the_hash_of_a_transitions_type_is_that_of_the_built_message():
    (found,) = (
        path
        for prefix in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep)
        if (path := Path(prefix) / "share" / "mbrl_msgs" / "msg" / "Transition.json").exists()
    )
    (hashed, *_) = json.loads(found.read_text())["type_hashes"]
    assert hashed["type_name"] == "mbrl_msgs/msg/Transition"
    assert own_types().hash_rihs01("mbrl_msgs/msg/Transition") == hashed["hash_string"]


@pytest.mark.parametrize(
    "kind",
    [
        *("sensor_msgs/msg/JointState", "nav_msgs/msg/Odometry", "sensor_msgs/msg/Imu"),
        *("std_msgs/msg/Float64MultiArray", "geometry_msgs/msg/PoseArray"),
        "sensor_msgs/msg/PointCloud2",
        *("mbrl_msgs/msg/Transition", "sensor_msgs/msg/BatteryState"),
    ],
)
def test_the_fields_of_a_type_are_called_as_ros_calls_them(kind):
    package, _, name = kind.split("/")
    expected = getattr(importlib.import_module(f"{package}.msg"), name)
    found = Reader(Topic("/t", kind)).fields(kind)
    assert dict(found) == dict(expected.get_fields_and_field_types())


def test_what_ros_writes_is_read():
    msg = Odometry(header=Header(stamp=to_time(START + 5), frame_id="map"))
    msg.pose.pose.position.x, msg.twist.twist.angular.z = 1.5, -0.25
    msg.pose.covariance[7] = 4.0
    read = Reader(Topic("/odom", "nav_msgs/msg/Odometry"))(serialize_message(msg))
    assert (read.header.stamp.sec * 10**9 + read.header.stamp.nanosec) == START + 5
    assert (read.pose.pose.position.x, read.twist.twist.angular.z) == (1.5, -0.25)
    assert read.pose.covariance[7] == 4.0
