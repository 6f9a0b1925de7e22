"""The managed node, on the real process. The tests share one process and run in order."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from lifecycle_msgs.srv import GetAvailableTransitions

from .driven import MAX_STEP, NODE, Driven, ros2, write_model, write_robot

A_WHILE = 60  # states: longer than ten periods of control


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A robot's file and, beside it, a run with a model."""
    folder = tmp_path_factory.mktemp("managed")
    write_model(folder / "run", write_robot(folder))
    return folder


@pytest.fixture(scope="module")
def robot(folder: Path) -> Path:
    return folder / "slow_pole.yaml"


@pytest.fixture(scope="module")
def driven(folder: Path, robot: Path) -> Iterator[Driven]:
    it = Driven(robot, autostart=False, run_dir=str(folder / "run"), teleop__timeout=1000.0)
    yield it
    it.close()


def steps(commands: list[float]) -> list[float]:
    return [abs(b - a) for a, b in itertools.pairwise(commands)]


def test_without_autostart_it_waits_to_be_configured(driven):
    assert driven.state() == "unconfigured"
    assert f"{NODE}/switch_controller" not in driven.offered()
    code, text = ros2("lifecycle", "get", NODE)
    assert (code, text.split()) == (0, ["unconfigured", "[1]"])
    code, text = ros2("lifecycle", "list", NODE)
    assert code == 0 and "- configure [1]" in text and "activate" not in text


def test_a_transition_that_is_not_there_is_refused_with_a_message_and_nothing_else(driven):
    before = driven.offered()
    assert not driven.change("activate") and driven.state() == "unconfigured"
    line = driven.wait_for_line("refused: transition 3; from 'unconfigured'")
    assert "there are configure, shutdown" in line and "[ERROR]" in line
    code, text = ros2("lifecycle", "set", NODE, "deactivate")
    assert code == 1 and "configure" in text
    assert driven.offered() == before and driven.commands == []
    assert "failed" not in driven.text and "Traceback" not in driven.text


def test_a_configuration_that_fails_logs_why_and_leaves_nothing(driven, folder):
    before, models = driven.offered(), folder / "run" / "models"
    models.rename(folder / "elsewhere")
    assert not driven.change("configure") and driven.state() == "unconfigured"
    line = driven.wait_for_line("cannot configure:")
    assert "has no model of 'cartpole', and learn is false" in line and "[ERROR]" in line
    driven.wait_for(lambda: driven.offered() == before, "the end of what was made")
    (folder / "elsewhere").rename(models)


def test_while_inactive_it_offers_everything_and_commands_nothing(driven):
    assert ros2("lifecycle", "set", NODE, "configure")[0] == 0
    assert driven.state() == "inactive"
    for name in ("switch_controller", "status", "estop", "teleop"):
        driven.wait_for(lambda name=name: f"{NODE}/{name}" in driven.offered(), name)
    assert driven.node.count_publishers("/effort_controller/commands") == 1
    assert driven.set(controller="teleop") == ""
    driven.publish("teleop", 4.0)
    assert driven.commands_during(A_WHILE) == [] == driven.commands
    assert not driven.change("configure") and driven.state() == "inactive"


def test_activated_it_begins_from_the_safe_command(driven):
    assert driven.change("activate") and driven.state() == "active"
    driven.wait_for(lambda: driven.commands[-1:] == [4.0], "the command that teleop has")
    up = driven.commands[: driven.commands.index(4.0) + 1]
    assert abs(up[0]) <= MAX_STEP and max(steps(up)) == pytest.approx(MAX_STEP)


def test_deactivated_it_brings_the_robot_to_the_safe_command_and_falls_silent(driven):
    assert driven.commands[-1] == 4.0
    assert driven.change("deactivate") and driven.state() == "inactive"
    driven.wait_for(lambda: driven.commands[-1] == 0.0, "the safe command")
    down = driven.commands[-9:]
    assert down[0] == 4.0 and steps(down) == pytest.approx([MAX_STEP] * 8)
    driven.wait_for_line("stopped; the robot has its safe command")
    begin = len(driven.output)
    assert driven.commands_during(2 * A_WHILE) == []
    assert driven.output[begin:] == []  # nor does it report what it does not do


def test_activated_again_it_carries_no_old_command(driven):
    assert driven.get("teleop.timeout") == 1000.0  # the command of 4 N would count still
    begin = len(driven.commands)
    assert driven.change("activate")
    driven.wait_for_commands(5)
    assert set(driven.commands[begin:]) == {0.0}
    driven.publish("teleop", -1.0)
    driven.wait_for(lambda: driven.commands[-1] == -1.0, "a command of -1 N")


def test_cleaned_up_its_topics_and_services_vanish_and_configured_again_they_return(driven):
    offered = driven.offered()
    assert not driven.change("cleanup") and driven.state() == "active"
    for transition in ("deactivate", "cleanup"):
        assert driven.change(transition)
    assert driven.state() == "unconfigured"
    driven.wait_for(lambda: f"{NODE}/switch_controller" not in driven.offered(), "no services")
    left = [n for n in driven.offered() if n.endswith(("/status", "/estop", "/activity", "/plan"))]
    assert left == [] and driven.node.count_publishers("/effort_controller/commands") == 0
    assert driven.set(controller="mppi") == ""
    for transition in ("configure", "activate"):
        assert driven.change(transition)
    driven.wait_for(lambda: driven.offered() == offered, "the same topics and services again")
    driven.wait_for(lambda: driven.commands[-1] != 0.0, "commands of mppi")
    assert max(steps(driven.commands)) <= MAX_STEP + 1e-9


def test_shut_down_it_leaves_the_robot_safe_and_ends_with_0(driven):
    code, text = ros2("lifecycle", "set", NODE, "shutdown")
    assert code == 0, text
    assert driven.exit_code() == 0
    driven.wait_for(lambda: driven.commands[-1] == 0.0, "the safe command")
    assert max(steps(driven.commands)) <= MAX_STEP + 1e-9
    assert "Traceback" not in driven.text and "failed" not in driven.text


def test_what_was_never_configured_can_be_shut_down(robot):
    driven = Driven(robot, autostart=False)
    try:
        response = driven.call(GetAvailableTransitions, "get_available_transitions")
        numbers = {t.transition.label: t.transition.id for t in response.available_transitions}
        assert set(numbers) == {"configure", "shutdown"}
        assert ros2("lifecycle", "set", NODE, numbers["shutdown"])[0] == 0
        assert driven.exit_code() == 0 and driven.commands == []
    finally:
        driven.close()


def test_with_autostart_what_cannot_be_configured_ends_the_process_with_one_line(robot, tmp_path):
    driven = Driven(robot, run_dir=str(tmp_path))
    try:
        assert driven.exit_code() == 2
        (line,) = [line for line in driven.output if "error" in line.lower()]
        assert line == f"error: {tmp_path}: has no model of 'cartpole', and learn is false\n"
    finally:
        driven.close()
