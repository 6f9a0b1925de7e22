"""The verbs of `ros2` against a node that `ros2 launch` has started, on real DDS."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Running

if importlib.util.find_spec("rclpy") is None:
    pytest.skip("rclpy is not installed", allow_module_level=True)

Ros2 = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., Running]

NODE = """
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool

rclpy.init()
node = LifecycleNode("unnamed")
limits = FloatingPointRange(from_value=1.0, to_value=100.0)
node.declare_parameter("rate", 10.0, ParameterDescriptor(
    description="Messages a second", floating_point_range=[limits]))
defaults = {"count": 1, "label": "", "gains.p": [0.0], "from_file": 0, "all": 0}
for name, default in defaults.items():
    node.declare_parameter(name, default)
durable = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
plan = node.create_publisher(Float64MultiArray, "plan", durable)
plan.publish(Float64MultiArray(data=[1.0, 2.5]))
chatter = node.create_publisher(String, "chatter", 10)
node.create_timer(1.0 / node.get_parameter("rate").value, lambda: chatter.publish(String(data="x")))
node.create_subscription(String, "heard", lambda m: print("heard", m.data, flush=True), 10)

def on_call(request, response):
    response.success, response.message = request.data, "done"
    return response

node.create_service(SetBool, "enable", on_call)
print("up", node.get_fully_qualified_name(), flush=True)
try:
    rclpy.spin(node)
except (KeyboardInterrupt, ExternalShutdownException):
    pass
"""

LAUNCH = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction
from launch.substitutions import LaunchConfiguration, ThisLaunchFileDir
from launch_ros.actions import Node, PushRosNamespace, SetParameter
from launch_ros.parameter_descriptions import ParameterValue

def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument("rate"),
        DeclareLaunchArgument("count"),
        SetParameter("all", 9),
        GroupAction([
            PushRosNamespace("robot"),
            Node(
                executable=EXECUTABLE,
                arguments=[FILE],
                name="talker",
                output="screen",
                parameters=[
                    [ThisLaunchFileDir(), "/parameters.yaml"],
                    {
                        "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
                        "count": LaunchConfiguration("count"),
                        "label": ParameterValue(LaunchConfiguration("count"), value_type=str),
                        "gains": {"p": [1, 2.5]},
                    },
                ],
                remappings=[("heard", "/heard_it")],
            ),
        ]),
    ])
"""


@pytest.fixture(scope="module")
def talker(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Running:
    """The launch that runs the node /robot/talker."""
    folder = tmp_path_factory.mktemp("talker")
    (folder / "node.py").write_text(NODE)
    (folder / "parameters.yaml").write_text("/**:\n  ros__parameters:\n    from_file: 5\n")
    launch = LAUNCH.replace("EXECUTABLE", repr(sys.executable))
    path = folder / "talker.launch.py"
    path.write_text(launch.replace("FILE", repr(str(folder / "node.py"))))
    running = start("launch", path, "rate:=20", "count:=7")
    running.wait_for("up /robot/talker")
    return running


@pytest.fixture
def ask(ros2: Ros2, talker: Running) -> Callable[..., str]:
    """Runs a verb that must succeed, and returns what it printed."""

    def run(*words: str) -> str:
        result = ros2(*words)
        assert result.returncode == 0, result
        return result.stdout

    return run


Ask = Callable[..., str]


def test_parameters_reach_the_node_with_their_types(ask: Ask) -> None:
    assert ask("param", "dump", "/robot/talker").strip().splitlines()[:2] == [
        "/robot/talker:",
        "  ros__parameters:",
    ]
    dump = ask("param", "dump", "robot/talker")
    for line in (
        "all: 9",
        "count: 7",
        "from_file: 5",
        "label: '7'",
        "rate: 20.0",
        "gains:\n      p:\n      - 1.0\n      - 2.5",
    ):
        assert f"    {line}\n" in dump


def test_param_get_set_and_describe_print_as_official(ask: Ask, ros2: Ros2) -> None:
    assert ask("param", "get", "/robot/talker", "count") == "Integer value is: 7\n"
    assert ask("param", "set", "/robot/talker", "rate", "2.5") == "Set parameter successful\n"
    assert ask("param", "get", "/robot/talker", "rate") == "Double value is: 2.5\n"
    refused = ros2("param", "set", "/robot/talker", "rate", "1000.0")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Setting parameter failed")
    assert ask("param", "describe", "/robot/talker", "rate") == (
        "Parameter name: rate\n  Type: double\n  Description: Messages a second\n"
        "  Constraints:\n    Min value: 1.0\n    Max value: 100.0\n"
    )
    assert "/robot/talker:\n  all\n  count\n" in ask("param", "list")


def test_topic_list_and_info_know_the_topics(ask: Ask) -> None:
    topics = ask("topic", "list", "-t").splitlines()
    assert "/robot/chatter [std_msgs/msg/String]" in topics
    assert "/robot/plan [std_msgs/msg/Float64MultiArray]" in topics
    info = ask("topic", "info", "-v", "/robot/plan")
    assert info.startswith("Type: std_msgs/msg/Float64MultiArray\n\nPublisher count: 1\n\n")
    assert "Node name: talker\nNode namespace: /robot\n" in info
    assert "Durability: TRANSIENT_LOCAL" in info
    assert info.endswith("Subscription count: 0\n\n")


def test_topic_echo_gets_what_was_published_before_on_a_durable_topic(ask: Ask) -> None:
    expected = "layout:\n  dim: []\n  data_offset: 0\ndata:\n- 1.0\n- 2.5\n---\n"
    assert ask("topic", "echo", "--once", "/robot/plan") == expected
    assert ask("topic", "echo", "--once", "--field", "data", "/robot/plan") == "- 1.0\n- 2.5\n---\n"


def test_topic_echo_and_hz_go_on_until_ctrl_c_and_end_quietly(start: Start, ask: Ask) -> None:
    echo = start("topic", "echo", "/robot/chatter")
    hz = start("topic", "hz", "-w", "5", "/robot/chatter")
    echo.wait_for("data: x\n---\ndata: x")
    hz.wait_for(r"average rate: [\d.]+\n\tmin: .*s max: .*s std dev: .*s window: \d")
    for running in (echo, hz):
        running.process.send_signal(signal.SIGINT)
        assert running.wait() == 0
        assert "Traceback" not in running.text


def test_topic_pub_reaches_the_node_through_its_remapping(ask: Ask, talker: Running) -> None:
    printed = ask("topic", "pub", "--once", "/heard_it", "std_msgs/msg/String", "data: hello")
    assert "publishing #1: std_msgs.msg.String(data='hello')\n" in printed
    talker.wait_for(r"\[python.*-1\] heard hello")


def test_service_list_type_and_call_know_the_service(ask: Ask, ros2: Ros2) -> None:
    assert "/robot/enable [std_srvs/srv/SetBool]" in ask("service", "list", "-t").splitlines()
    assert ask("service", "type", "/robot/enable") == "std_srvs/srv/SetBool\n"
    called = ask("service", "call", "/robot/enable", "std_srvs/srv/SetBool", "{data: true}")
    assert called.removeprefix("waiting for service to become available...\n") == (
        "requester: making request: std_srvs.srv.SetBool_Request(data=True)\n\n"
        "response:\nstd_srvs.srv.SetBool_Response(success=True, message='done')\n\n"
    )
    wrong = ros2("service", "call", "/robot/enable", "std_srvs/srv/SetBool", "{dat: true}")
    assert wrong.returncode == 1
    assert "'dat'" in wrong.stderr


def test_node_list_and_info_know_the_node(ask: Ask, ros2: Ros2) -> None:
    assert ask("node", "list") == "/robot/talker\n"
    info = ask("node", "info", "/robot/talker")
    assert info.startswith("/robot/talker\n  Subscribers:\n    /heard_it: std_msgs/msg/String\n")
    assert "  Service Servers:\n    /robot/enable: std_srvs/srv/SetBool\n" in info
    unknown = ros2("node", "info", "/nobody")
    assert (unknown.returncode, unknown.stderr) == (1, "Unable to find node '/nobody'\n")


def test_lifecycle_verbs_take_the_node_from_state_to_state(ask: Ask, ros2: Ros2) -> None:
    assert ask("lifecycle", "get", "/robot/talker") == "unconfigured [1]\n"
    assert "- configure [1]\n\tStart: unconfigured\n\tGoal: configuring\n" in ask(
        "lifecycle", "list", "/robot/talker"
    )
    assert ask("lifecycle", "set", "/robot/talker", "configure") == "Transitioning successful\n"
    assert ask("lifecycle", "get") == "/robot/talker: inactive [2]\n"
    assert "- activate [3]" in ros2("lifecycle", "set", "/robot/talker", "configure").stderr


def test_interface_and_pkg_verbs_read_the_index(ros2: Ros2) -> None:
    shown = ros2("interface", "show", "--no-comments", "std_msgs/msg/Header").stdout
    assert shown == (
        "builtin_interfaces/Time stamp\n\tint32 sec\n\tuint32 nanosec\nstring frame_id\n"
    )
    assert "std_srvs/srv/SetBool" in ros2("interface", "package", "std_srvs").stdout.splitlines()
    assert "ros2_pip" in ros2("pkg", "list").stdout.splitlines()
    prefix = ros2("pkg", "prefix", "ros2_pip").stdout.strip()
    assert Path(prefix, "share", "ros2_pip", "package.xml").is_file()
    assert ros2("run", "ros2_pip", "nothing").returncode == 1


@pytest.mark.parametrize("command", ["", "launch", "run", "topic", "topic echo", "param set"])
def test_every_command_explains_itself(ros2: Ros2, command: str) -> None:
    result = ros2(*command.split(), "-h")
    assert result.returncode == 0
    assert result.stdout.startswith("usage: ros2")
