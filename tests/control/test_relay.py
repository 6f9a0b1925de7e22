"""Commands from elsewhere: passed on while they are young, and what happens when they stop."""

import threading

import numpy as np
import pytest

from mbrl_node.control import Observation, Relay, RelayConfig
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole").with_overrides(
    action={
        "fields": [
            {"name": "force", "joint": "slider_to_cart", "min": 1, "max": 5, "safe": 2, "unit": "N"}
        ]
    }
)
AT = Observation(0, 0, np.zeros(4))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def relay(name: str, timeout: float = 0.5) -> tuple[Relay, Clock]:
    clock = Clock()
    return Relay(name, SPEC, RelayConfig(timeout=timeout), name == "external", clock), clock


def act(controller: Relay) -> list[float]:
    return controller.update(AT, np.zeros(1)).tolist()


@pytest.mark.parametrize("name", ["teleop", "external"])
def test_the_newest_command_is_passed_on_as_it_is(name):
    controller, clock = relay(name)
    for value in (1.0, 99.0):  # limits are the safety filter's
        controller.receive([value], clock.now)
        assert act(controller) == [value]
    clock.now += 0.49
    assert act(controller) == [99.0]


def test_a_stick_that_was_let_go_is_the_safe_command_and_no_failure():
    controller, clock = relay("teleop")
    assert controller.not_ready == "" and act(controller) == [2.0]
    controller.receive([3.0], clock.now)
    clock.now += 0.5
    assert act(controller) == [2.0]
    controller.receive([4.0], clock.now)
    assert act(controller) == [4.0]


def test_external_commands_that_stop_are_a_failure_with_the_time_since_the_last():
    controller, clock = relay("external")
    assert controller.not_ready == "waits for a command"
    with pytest.raises(RuntimeError, match="no command came yet"):
        act(controller)
    controller.receive([3.0], clock.now)
    assert controller.not_ready == ""
    clock.now += 0.52
    with pytest.raises(RuntimeError, match=r"no command for 0\.52 s"):
        act(controller)
    assert controller.not_ready == ""  # so that nobody explores in its place
    controller.receive([4.0], clock.now)
    assert act(controller) == [4.0]


def test_what_came_before_it_was_deactivated_does_not_move_the_robot_later():
    for name in ("teleop", "external"):
        controller, clock = relay(name)
        controller.receive([3.0], clock.now)
        controller.activate()
        assert act(controller) == [3.0]  # the stick is held
        controller.deactivate()
        controller.activate()
        if name == "external":
            with pytest.raises(RuntimeError, match="no command"):
                act(controller)
        else:
            assert act(controller) == [2.0]
        controller.receive([3.0], clock.now)
        assert act(controller) == [3.0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "a command of 1 values was expected, got 0"),
        ([1.0, 2.0], "a command of 1 values was expected, got 2"),
        ([[1.0]], "a command of 1 values was expected"),
        ([np.nan], r"\[nan\] is not finite"),
        ([-np.inf], "is not finite"),
    ],
)
def test_a_command_that_cannot_be_used_is_refused_and_the_one_before_stays(values, words):
    controller, clock = relay("external")
    controller.receive([3.0], clock.now)
    with pytest.raises(ValueError, match=words):
        controller.receive(values, clock.now)
    assert act(controller) == [3.0]


def test_a_message_that_is_used_again_by_its_owner_changes_no_command():
    controller, clock = relay("teleop")
    values = np.array([3.0])
    controller.receive(values, clock.now)
    values[0] = 5.0
    assert act(controller) == [3.0]


def test_commands_may_come_from_another_thread():
    controller, clock = relay("external")
    controller.receive([1.0], clock.now)

    def send() -> None:
        for k in range(2000):
            controller.receive([1.0 + k % 4], clock.now)

    thread = threading.Thread(target=send)
    thread.start()
    assert all(act(controller)[0] in (1.0, 2.0, 3.0, 4.0) for _ in range(2000))
    thread.join()


def test_another_timeout_holds_for_the_command_that_is_there():
    controller, clock = relay("teleop")
    controller.receive([3.0], clock.now)
    clock.now += 0.6
    controller.set_config(RelayConfig(timeout=1.0))
    assert act(controller) == [3.0]


def test_a_timeout_that_makes_no_sense_is_refused():
    for wrong in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError):
            RelayConfig(timeout=wrong)
