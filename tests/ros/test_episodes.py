"""Episodes of a robot that nobody resets but a person or a controller, on the real process and DDS.
The tests of a robot share one process and run in order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from mbrl_msgs.msg import ControllerStatus, Event
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from mbrl_node.ros.qos import EVENTS

from .driven import MAX_STEP, NODE, Driven, write_robot

GO = "an operator's go (~/go)"
A_WHILE = 30  # states: longer than five periods of control
ENVELOPE = [{"of": "x", "min": -2.0, "max": 2.0}]
RECOVERY = {
    "controller": "pd",
    "reference": {"x": 0.5},
    "until": [{"of": "x", "min": 0.3, "max": 0.7}],
    "hold_time": 0.2,
    "timeout": 3.0,
    "share": 0.4,
}


class Cart(Driven):
    """The robot stands where a test puts it; and what the node says of itself."""

    def __init__(self, robot: Path, **parameters: object) -> None:
        self.x, self.silent = 0.0, False
        self.status: list[ControllerStatus] = []
        self.events: list[Event] = []
        self.diagnosis: list[DiagnosticStatus] = []
        super().__init__(robot, controller="teleop", teleop__timeout=1000.0, **parameters)
        for kind, topic, store, qos in (
            (ControllerStatus, f"{NODE}/status", self.status.append, 10),
            (Event, f"{NODE}/events", self.events.append, EVENTS),
            (DiagnosticArray, "/diagnostics", self._diagnose, 10),
        ):
            self.node.create_subscription(kind, topic, store, qos)

    def _diagnose(self, msg: DiagnosticArray) -> None:
        self.diagnosis += [part for part in msg.status if part.name.endswith("controllers")]

    def _measure(self) -> None:
        msg = JointState(name=["slider_to_cart", "cart_to_pole"])
        msg.position, msg.velocity = [self.x, math.pi], [0.0, 0.0]
        msg.header.stamp = self.node.get_clock().now().to_msg()
        if not self.silent:
            self._state.publish(msg)
        self.measured += 1

    def ask(self, service: str) -> tuple[bool, str]:
        """Success and message of a Trigger."""
        response = self.call(Trigger, service)
        return response.success, response.message

    def wait_for_status(self, **fields: object) -> ControllerStatus:
        """A status of from now on that has these values."""
        begin = len(self.status)
        found: ControllerStatus = self.wait_for(
            lambda: next(
                (
                    s
                    for s in self.status[begin:]
                    if all(getattr(s, name) == value for name, value in fields.items())
                ),
                None,
            ),
            f"a status of {fields}",
        )
        return found

    def wait_for_command(self, value: float) -> None:
        self.wait_for(lambda: self.commands[-1:] == [pytest.approx(value)], f"{value} N")

    def obeys(self, value: float) -> None:
        """Waits until teleop acts, for which a command from before a break does not count."""

        def obeyed() -> bool:
            self.publish("teleop", value)
            return self.commands[-1:] == [value]

        self.wait_for(obeyed, f"{value} N")


_running: list[Cart] = []


def start(folder: Path, episode: dict[str, Any], **more: Any) -> Cart:
    """A robot with such episodes, after the end of the one before: they have the same name."""
    while _running:
        _running.pop().close()
    path = write_robot(folder)
    robot = yaml.safe_load(path.read_text())
    robot["state"][0]["timeout"] = 0.25
    robot |= {"envelope": ENVELOPE, "termination": [], "constraints": [], **more}
    robot["episode"] = {"length": 1e6, **episode}
    path.write_text(yaml.safe_dump(robot))
    _running.append(Cart(path))
    return _running[-1]


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    while _running:
        _running.pop().close()


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Cart:
    return start(tmp_path_factory.mktemp("hand"), {"reset_by_hand": True})


def test_at_the_start_the_robot_is_held_until_an_operator_says_go(by_hand):
    by_hand.publish("teleop", 2.0)
    by_hand.wait_for_line(f"safe command: waits for {GO}")
    status = by_hand.wait_for_status(waits_for=GO, safe_reason=f"waits for {GO}")
    assert not status.stopped and status.trust == 1.0 and status.acting_controller == "hold"
    by_hand.wait_for(
        lambda: any(GO in part.message and part.level == DiagnosticStatus.WARN
                    for part in by_hand.diagnosis),
        "a diagnosis that says what is waited for",
    )  # fmt: skip
    assert set(by_hand.commands) == {0.0}
    assert by_hand.ask("go") == (True, "episode 1 begins")
    by_hand.obeys(2.0)
    by_hand.wait_for_status(waits_for="", safe_reason="")
    assert by_hand.ask("go") == (False, "the robot does not wait for a go")


def test_beyond_a_hard_limit_it_is_held_until_it_is_back_and_an_operator_says_so(by_hand):
    by_hand.x = 2.5
    by_hand.wait_for_command(0.0)
    by_hand.wait_for_status(waits_for=GO, stopped=False, episode=2)
    assert by_hand.ask("go") == (False, "x = 2.5 m is beyond its hard limit 2")
    by_hand.x = 0.0
    begin = len(by_hand.commands)
    by_hand.commands_during(A_WHILE)
    assert set(by_hand.commands[begin:]) == {0.0}
    by_hand.wait_for(lambda: by_hand.ask("go")[0], "a go")
    by_hand.obeys(2.0)
    (event,) = [e for e in by_hand.events if e.kind == "episode"]
    assert event.text.startswith("episode 1 left its envelope (x = 2.5 m is beyond")
    assert event.text.endswith(f"; the robot waits for {GO}")


def test_while_an_operator_has_stopped_it_a_go_is_refused(by_hand):
    by_hand.x = 2.5
    by_hand.wait_for_status(waits_for=GO)
    by_hand.x = 0.0
    by_hand.ask("estop")
    by_hand.wait_for_status(waits_for="an operator's release (~/release_estop)", stopped=True)
    assert by_hand.ask("go") == (False, "emergency stop by its service")
    assert by_hand.ask("release_estop")[0]
    by_hand.wait_for_status(waits_for=GO, stopped=False)
    assert by_hand.commands[-1] == 0.0 and by_hand.ask("go")[0]
    by_hand.obeys(2.0)
    steps = [abs(b - a) for a, b in zip(by_hand.commands, by_hand.commands[1:], strict=False)]
    assert max(steps) <= MAX_STEP + 1e-9


def test_inactive_it_takes_no_go(by_hand):
    assert by_hand.change("deactivate")
    assert by_hand.ask("go") == (False, "the robot is not commanded now")
    assert by_hand.change("activate")
    by_hand.obeys(2.0)  # whoever activates it is there


@pytest.fixture(scope="module")
def recovering(tmp_path_factory: pytest.TempPathFactory) -> Cart:
    return start(tmp_path_factory.mktemp("recovery"), {"recovery": RECOVERY})


def test_beyond_a_hard_limit_pd_brings_it_back_and_the_next_episode_begins(recovering):
    recovering.obeys(1.0)
    recovering.x = 2.5
    recovering.wait_for_command(-2.0)  # 0.4 of 5 N; pd by itself asks for 4 N
    status = recovering.wait_for_status(waits_for="its recovery by 'pd'", safe_reason="")
    assert (status.acting_controller, status.stopped, status.episode) == ("pd", False, 2)
    assert recovering.get("controller") == "teleop"
    recovering.x = 0.6
    recovering.obeys(1.0)
    recovering.wait_for_status(waits_for="", acting_controller="teleop")
    texts = [event.text for event in recovering.events if event.kind == "episode"]
    assert texts[0].endswith("; the robot waits for its recovery by 'pd'")
    assert texts[1:] == ["the robot is back, and begins episode 2"]


def test_its_gains_are_those_of_the_parameters(recovering):
    assert recovering.set(pd__kp=[0.5]) == ""
    recovering.x = 2.5
    recovering.wait_for_command(-1.0)
    recovering.x = 0.6
    recovering.obeys(1.0)
    assert recovering.set(pd__kp=[2.0]) == ""


@pytest.mark.parametrize("cause", ["time", "state"])
def test_a_recovery_that_fails_leaves_the_robot_stopped_for_an_operator(recovering, cause):
    recovering.x = 2.5
    recovering.wait_for_command(-2.0)
    if cause == "time":
        recovering.x = 1.9
        reason = "the recovery failed: it took 3 s: x = 1.9 m is above 0.7"
    else:
        recovering.silent, reason = True, "the recovery failed: the state on /joint_states"
    recovering.wait_for_command(0.0)
    recovering.silent = False
    status = recovering.wait_for_status(
        stopped=True, waits_for="an operator's release (~/release_estop)"
    )
    assert status.safe_reason.startswith(reason)
    recovering.wait_for_line(f"safe command: {reason}")
    recovering.wait_for(
        lambda: recovering.diagnosis[-1].message.startswith(f"stopped: {reason}"), "a diagnosis"
    )
    recovering.wait_for(
        lambda: any(e.kind == "stop" and reason in e.text for e in recovering.events), "an event"
    )
    recovering.x = 0.6
    begin = len(recovering.commands)
    recovering.commands_during(A_WHILE)
    assert set(recovering.commands[begin:]) == {0.0}
    recovering.wait_for(lambda: recovering.ask("release_estop")[0], "a release")
    recovering.obeys(1.0)


def test_a_reference_for_a_controller_that_follows_none_is_a_mistake(tmp_path):
    recovery = RECOVERY | {"controller": "hold"}
    cart = start(tmp_path, {"recovery": recovery})
    assert cart.exit_code() == 2
    assert "cartpole: episode.recovery.reference: 'hold' follows no reference" in cart.text


def test_a_recovery_by_one_that_there_is_not_is_a_mistake(tmp_path):
    cart = start(tmp_path, {"recovery": RECOVERY | {"controller": "gone"}})
    assert cart.exit_code() == 2
    assert "cartpole: episode.recovery.controller: parameter gone.type: ''" in cart.text


def test_the_recovery_has_a_controller_of_its_own_loaded_and_trust_limits_all(tmp_path):
    recovery = RECOVERY | {"controller": "pd_home"}
    cart = start(tmp_path, {"recovery": recovery}, trust={"initial": 0.2})
    cart.publish("teleop", 4.0)
    cart.wait_for_command(1.0)
    assert cart.wait_for_status(acting_controller="teleop").trust == pytest.approx(0.2)
    assert cart.get("pd_home.kp") == [2.0]
    cart.x = 2.5
    cart.wait_for_command(-1.0)
    cart.x = 0.6
    cart.wait_for_status(waits_for="")
    assert all(-1.0 - 1e-9 <= command <= 1.0 + 1e-9 for command in cart.commands)
