"""What needs neither a launch nor a graph: YAML to messages and back, rates, interface text."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

if importlib.util.find_spec("ros2_pip") is None:
    pytest.skip("the stand-in ros2_pip is not installed", allow_module_level=True)
pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseWithCovariance
from ros2_pip.cli import Failure
from ros2_pip.messages import fill, get_field, parse_yaml, to_csv, to_yaml
from ros2_pip.rates import RateMeter
from ros2_pip.verbs.interface import nested_type
from ros2_pip.verbs.launch import parse_arguments
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String


def filled(message: Any, text: str) -> Any:
    fill(message, parse_yaml(text), Time(sec=7))
    return message


def test_yaml_fills_nested_fields_arrays_and_stamps() -> None:
    message = filled(JointState(), "{header: auto, name: [a, b], position: [1, 2.5]}")
    assert message.header.stamp.sec == 7
    assert message.name == ["a", "b"]
    assert list(message.position) == [1.0, 2.5]
    message = filled(
        Float64MultiArray(), "{layout: {dim: [{label: x, size: 2}, {label: y}]}, data: [1]}"
    )
    assert [dim.label for dim in message.layout.dim] == ["x", "y"]
    message = filled(PoseWithCovariance(), "{pose: {position: {x: 1, y: 1e-3}}}")
    assert (message.pose.position.x, message.pose.position.y) == (1.0, 0.001)


@pytest.mark.parametrize(
    ("message", "text", "part"),
    [
        (String(), "{dat: x}", "'dat' is not a field (there: data)"),
        (JointState(), "{header: {stamp: {sec: x}}}", "'header.stamp.sec'"),
        (JointState(), "{position: 3}", "'position'"),
        (PoseWithCovariance(), "{covariance: [1, 2]}", "'covariance'"),
        (String(), "[1]", "dictionary"),
        (String(), "{a: ", "not valid YAML"),
    ],
)
def test_yaml_that_does_not_fit_says_where(message: Any, text: str, part: str) -> None:
    with pytest.raises(Failure) as caught:
        filled(message, text)
    assert part in str(caught.value)


def test_messages_are_printed_as_yaml_and_csv() -> None:
    message = filled(JointState(), "{name: [a, b, c], position: [1.0, 2.0]}")
    assert to_yaml(message, truncate=2) == (
        "header:\n  stamp:\n    sec: 0\n    nanosec: 0\n  frame_id: ''\n"
        "name:\n- a\n- b\n- '...'\nposition:\n- 1.0\n- 2.0\nvelocity: []\neffort: []\n"
    )
    assert to_csv(message) == "0,0,,a,b,c,1.0,2.0"
    assert "name: '<sequence type: string, length: 3>'" in to_yaml(message, no_arr=True)
    assert get_field(message, "position[1]") == 2.0
    with pytest.raises(Failure, match="'nope'"):
        get_field(message, "header.nope")


def test_a_rate_is_the_inverse_of_the_mean_interval() -> None:
    times = iter([0.0, 0.1, 0.3, 0.4])
    meter = RateMeter(2, lambda: next(times))
    assert meter.report() is None
    for _ in range(4):
        meter.add()
    assert meter.report() == (
        "average rate: 6.667\n\tmin: 0.100s max: 0.200s std dev: 0.05000s window: 2"
    )
    assert meter.report() is None


def test_the_fields_of_a_definition_that_are_messages_are_known() -> None:
    assert nested_type("MultiArrayDimension[] dim", "std_msgs") == (
        "std_msgs/msg/MultiArrayDimension"
    )
    assert nested_type("builtin_interfaces/Time stamp", "x") == "builtin_interfaces/msg/Time"
    for line in ("float64[<=3] data", "string<=10 name", "uint8 OK=1", "---", "", "# A comment"):
        assert nested_type(line, "x") is None


def test_the_last_of_several_launch_arguments_wins() -> None:
    assert parse_arguments(["a:=1", "b:=", "a:=2:=3"]) == {"a": "2:=3", "b": ""}
