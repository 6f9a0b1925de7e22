"""What `mbrl check --live` finds beside a robot with joints, and beside all that can be wrong with
one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

rclpy = pytest.importorskip("rclpy")

from geometry_msgs.msg import PointStamped, PoseStamped  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from mbrl_node.ros.live_check import live_findings  # noqa: E402
from mbrl_node.spec import RobotSpec, load_spec  # noqa: E402

PATIENCE = 60.0  # s
CARTPOLE = {
    **yaml.safe_load(load_spec("cartpole").path.read_text()),
    "rate": 2.0,  # so slow that no machine is slower
    "sim": None,
}
CARTPOLE["state"][0]["timeout"] = 20.0


class Arm:
    """A node with a cart-pole's topics; what a test changes is so from then on."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("arm", context=self.context)
        self.joints = ["slider_to_cart", "cart_to_pole", "spare"]
        self.position, self.lag, self.stamped, self.stands = 0.5, 0.0, True, False
        self.stamp: Any = None
        self.states = self.node.create_publisher(JointState, "/joint_states", 10)
        self.node.create_timer(0.02, self._publish)
        self.node.create_subscription(
            Float64MultiArray, "/effort_controller/commands", lambda message: None, 1
        )
        self.node.create_service(Trigger, "/reset", lambda request, response: response)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def _publish(self) -> None:
        count = len(self.joints)
        message = JointState(name=self.joints, velocity=[0.0] * count)
        message.position = [self.position] * count
        if self.stamped:
            ns = time.time_ns() - round(self.lag * 1e9)
            stamp = rclpy.time.Time(nanoseconds=ns).to_msg()
            self.stamp = self.stamp if self.stamp and self.stands else stamp
            message.header.stamp = self.stamp
        self.states.publish(message)

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join(5)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def arm() -> Iterator[Arm]:
    it = Arm()
    yield it
    it.close()


def robot(**changes: Any) -> RobotSpec:
    data = {**CARTPOLE, **changes}
    return RobotSpec.from_dict({key: value for key, value in data.items() if value is not None})


def wait_for(spec: RobotSpec, expected: Callable[[list[Any]], bool]) -> list[Any]:
    """The findings when they are as expected; who is there is not known at once."""
    deadline = time.monotonic() + PATIENCE
    found: list[Any] = []
    while time.monotonic() < deadline:
        found = live_findings(spec, 0.7)
        if expected(found):
            return found
    pytest.fail("\n".join(f"{f.level} {f.at}: {f.text}" for f in found))


def finds(spec: RobotSpec, level: str, at: str, words: str, change: str = "") -> None:
    """It is found after a while."""
    wait_for(
        spec,
        lambda found: any(
            (f.level, f.at) == (level, at) and words in f.text and change in f.change for f in found
        ),
    )


def test_a_robot_that_fits_is_found_to_fit(arm):
    found = wait_for(robot(), lambda found: all(f.level == "ok" for f in found))
    texts = {f.at: f.text for f in found}
    assert "comes at" in texts["rate"]
    assert texts["state[0].fields[0]"] == "x was 0.5 to 0.5 m"
    assert texts["action.topic"].startswith("arm listens to /effort_controller/commands")
    assert texts["episode.reset_service"] == "/reset is there"
    assert "other joints, which are not used: spare" in str(found)


def test_the_command_prints_what_is_found_and_says_by_its_exit_code(arm, mbrl, tmp_path):
    arm.joints[0] = "slider_to_car"
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in CARTPOLE.items() if v is not None}))
    place, text = "state[0].fields[0].joint", ""
    deadline = time.monotonic() + PATIENCE
    while "did you mean" not in text and time.monotonic() < deadline:
        code, out, _ = mbrl("check", path, "--live", "--seconds", "1", "--json")
        text = {f["at"]: f["text"] for f in json.loads(out)["findings"]}.get(place, "")
        assert code == 1
    assert text == "/joint_states has no joint 'slider_to_cart'; did you mean 'slider_to_car'?"
    arm.joints[0] = "slider_to_cart"
    while code and time.monotonic() < deadline:
        code, out, _ = mbrl("check", path, "--live", "--seconds", "1")
    assert out.rstrip().endswith(f"{path} fits the running robot, 1 warning")


def test_a_robot_that_is_not_there_is_missed():
    found = live_findings(robot(), 0.5)
    problems = {f.at: f.text for f in found if f.level == "problem"}
    assert problems["state[0].topic"] == "nobody publishes /joint_states"
    assert problems["action.topic"] == "nobody listens to /effort_controller/commands"
    assert "there is no service /reset" in problems["episode.reset_service"]


def test_messages_that_lack_values_are_named(arm):
    arm.joints.append("cart_to_pole")
    finds(robot(), "problem", "state[0].fields", "it has joint 'cart_to_pole' 2 times")


def test_a_clock_that_is_wrong_is_told_from_one_that_is_late(arm):
    state = [{**CARTPOLE["state"][0], "timeout": 5.0}]
    arm.lag = 100.0
    finds(robot(state=state), "problem", "state[0]", "100 s behind this machine's clock", "NTP")
    arm.lag = -100.0
    finds(robot(state=state), "problem", "state[0]", "100 s ahead of this machine's clock")
    arm.lag = 2.0
    finds(robot(state=state), "warning", "state[0]", "2 s behind this machine's clock")
    arm.stands = True
    finds(robot(state=state), "warning", "state[0]", "stamps that are not newer")
    arm.stamped = False
    finds(robot(state=state), "warning", "state[0]", "has no stamps")


def test_a_simulated_clock_is_noticed(arm):
    clock = arm.node.create_publisher(Clock, "/clock", 10)

    def tick() -> None:
        now = rclpy.time.Time(nanoseconds=time.time_ns() - 1000 * 10**9)
        clock.publish(Clock(clock=now.to_msg()))

    arm.node.create_timer(0.02, tick)
    arm.lag = 1000.0
    finds(robot(), "ok", "state[0]", "/clock")
    finds(robot(), "warning", "", "/clock is published", "use_sim_time:=true")


def test_a_rate_that_is_too_low_is_found(arm):
    spec = robot(rate=500.0)
    finds(spec, "problem", "rate", "control is at 500 Hz: states would be used twice", "rate: ")
    state = [{**CARTPOLE["state"][0], "timeout": 0.001}]
    finds(robot(state=state), "problem", "state[0].timeout", "without one the robot is stopped")


def test_a_state_beyond_its_limits_is_found(arm):
    arm.position = 5.2
    spec = robot()
    finds(spec, "warning", "termination[0]", "x was 5.2 to 5.2 m, which is beyond its range")
    soft = [{"of": "x", "max": 6.0, "soft_max": 5.0}]
    finds(robot(envelope=soft), "warning", "envelope[0]", "beyond its soft limit")
    hard = [{"of": "x", "max": 5.0}]
    finds(robot(envelope=hard), "problem", "envelope[0]", "stopped from the start", "sign and unit")


def test_whoever_commands_the_robot_as_well_is_named(arm):
    arm.node.create_publisher(Float64MultiArray, "/effort_controller/commands", 1)
    finds(robot(), "problem", "action.topic", "arm publishes commands on", "stop it before")


def test_commands_that_would_not_arrive_are_found(arm):
    arm.node.create_subscription(
        Float64MultiArray,
        "/slow/commands",
        lambda message: None,
        QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
    )
    spec = robot(action={**CARTPOLE["action"], "topic": "/slow/commands"})
    finds(spec, "problem", "action.topic", "it asks for transient_local, and volatile is offered")


def test_a_first_command_that_is_a_jump_is_found(arm):
    arm.node.create_subscription(
        Float64MultiArray, "/position_controller/commands", lambda message: None, 1
    )
    action = {**CARTPOLE["action"], "topic": "/position_controller/commands"}
    words = "joint slider_to_cart is at 0.5, and the first command takes it to 0"
    finds(robot(action=action), "warning", "action.fields[0].safe", words)


def test_targets_are_found_or_waited_for(arm):
    field = {"name": "goal", "path": "point.x", "unit": "m", "min": -1.0, "max": 1.0}
    topic = {"topic": "/goal", "type": "geometry_msgs/msg/PointStamped", "fields": [field]}
    spec = robot(targets=[topic])
    finds(spec, "ok", "targets[0].topic", "nobody publishes /goal yet; until a target comes")
    arm.node.create_publisher(PointStamped, "/goal", 1)
    finds(spec, "ok", "targets[0].topic", "/goal is published by arm")
    arm.node.create_publisher(PoseStamped, "/pose", 1)
    spec = robot(targets=[{**topic, "topic": "/pose"}])
    finds(
        spec, "problem", "targets[0].type", "arm publishes /pose as geometry_msgs/msg/PoseStamped"
    )


def test_a_reset_service_of_another_type_is_found(arm):
    arm.node.create_service(SetBool, "/home", lambda request, response: response)
    spec = robot(episode={"length": 10.0, "reset_service": "/home"})
    finds(spec, "problem", "episode.reset_service", "/home is a std_srvs/srv/SetBool")
    spec = robot(episode={"length": 10.0, "reset_service": "/rset"})
    finds(spec, "problem", "episode.reset_service", "no service /rset", "reset_service: /reset")


def test_nothing_is_published_and_no_service_is_called(arm):
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for name, _ in arm.node.get_topic_names_and_types():
                for info in arm.node.get_publishers_info_by_topic(name):
                    if info.node_name == "mbrl_check":
                        seen.add(name)
            ended.wait(0.05)

    watching = threading.Thread(target=watch)
    watching.start()
    live_findings(robot(), 1.0)
    ended.set()
    watching.join()
    assert seen <= {"/parameter_events"}  # every node has that
