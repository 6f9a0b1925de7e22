"""Controllers swapped, loaded and set up while they run, on the real process, under the types of
both mbrl_msgs and controller_manager_msgs. The tests share one process."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

from lifecycle_msgs.msg import State
from mbrl_msgs.msg import ControllerManagerActivity, ControllerStatus
from mbrl_msgs.srv import (
    ConfigureController,
    ListControllers,
    LoadController,
    SwitchController,
    UnloadController,
)

from mbrl_node.ros.qos import LATEST

from .driven import MAX_STEP, NODE, Conversation, Driven, ros2, write_model, write_robot

HERE = Path(__file__).parent
STRICT, BEST_EFFORT = SwitchController.Request.STRICT, SwitchController.Request.BEST_EFFORT
Control = Callable[..., tuple[int, str]]


@pytest.fixture(scope="session")
def other_types(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which controller_manager_msgs can be imported: that of ros2_control, or
    one with the same fields, built as setup.bash builds mbrl_msgs."""
    if importlib.util.find_spec("controller_manager_msgs") is not None:
        return {}
    colcon = shutil.which("colcon")
    if colcon is None:
        pytest.skip("neither controller_manager_msgs is installed nor what builds it")
    folder = tmp_path_factory.mktemp("other_types")
    build = subprocess.run(
        [
            *(sys.executable, colcon, "--log-base", folder / "log", "build", "--merge-install"),
            *("--base-paths", HERE / "controller_manager_msgs"),
            *("--build-base", folder / "build", "--install-base", folder),
            *("--cmake-args", "-GNinja", "-DBUILD_TESTING=OFF"),
        ],
        env={**os.environ, "COLCON_EXTENSION_BLOCKLIST": "colcon_core.argument_parser.defaults"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert build.returncode == 0, build.stdout
    python = sysconfig.get_path("purelib", vars={"base": str(folder)})
    paths = {
        "PYTHONPATH": python,
        "AMENT_PREFIX_PATH": str(folder),
        "LD_LIBRARY_PATH": str(folder / "lib"),
    }
    return {name: os.pathsep.join([path, os.environ.get(name, "")]) for name, path in paths.items()}


@pytest.fixture(scope="module")
def driven(
    tmp_path_factory: pytest.TempPathFactory, other_types: dict[str, str]
) -> Iterator[Driven]:
    """A controller with a model, at its default: active by itself, as mppi."""
    folder = tmp_path_factory.mktemp("switching")
    robot = write_robot(folder)
    write_model(folder / "run", robot)
    # A busy machine may be late for seconds.
    more: dict[str, object] = {"fallback__max_misses": 1000, "arm__type": "pd"}
    it = Driven(robot, other_types, run_dir=str(folder / "run"), **more)
    it.wait_for_commands(1)
    yield it
    it.close()


@pytest.fixture(scope="module")
def program(other_types: dict[str, str]) -> Iterator[Conversation]:
    it = Conversation([sys.executable, str(HERE / "ros2_control.py")], other_types)
    yield it
    it.close()


@pytest.fixture(scope="module")
def control(program: Conversation) -> Control:
    """`ros2 control -c /mbrl_controller`: exit code and output of a command."""
    return lambda *words: program("-c", NODE, *words)


@pytest.fixture(scope="module")
def status(driven: Driven) -> list[ControllerStatus]:
    """What the node tells once a second."""
    heard: list[ControllerStatus] = []
    driven.node.create_subscription(ControllerStatus, f"{NODE}/status", heard.append, 10)
    return heard


def switch(driven: Driven, *activate: str, deactivate: tuple[str, ...] = (), strict=STRICT) -> Any:
    return driven.call(
        SwitchController,
        "switch_controller",
        activate_controllers=list(activate),
        deactivate_controllers=list(deactivate),
        strictness=strict,
    )


def listed(driven: Driven) -> dict[str, Any]:
    """The answer of list_controllers, by name."""
    return {c.name: c for c in driven.call(ListControllers, "list_controllers").controller}


def active(driven: Driven) -> str:
    """The active controller, which the list and the parameter agree on."""
    (name,) = [c.name for c in listed(driven).values() if c.state == "active"]
    assert driven.get("controller") == name
    return name


def test_it_starts_by_itself_with_the_controller_of_its_parameter(driven):
    assert driven.state() == "active" and active(driven) == "mppi"
    names = set(listed(driven))
    assert names >= {"mppi", "icem", "cem", "random_shooting", "policy", "inverse_dynamics"}
    assert names >= {"pd", "teleop", "external", "random", "hold"}


def test_both_types_of_a_service_are_offered_at_the_same_time_and_say_the_same(driven, control):
    code, text = control("list_controllers")
    ours = [f"{c.name} {c.type} {c.state}" for c in listed(driven).values()]
    assert (code, text.splitlines()) == (0, ours)


def test_ros2_control_switches_and_the_parameter_follows(driven, control):
    words = ["--activate", "icem", "--deactivate", "mppi", "--strict"]
    assert control("switch_controllers", *words) == (0, "")
    assert active(driven) == "icem"
    assert control("set_controller_state", "icem", "inactive") == (0, "")
    assert active(driven) == "hold"  # one has to act
    assert control("set_controller_state", "mppi", "active") == (0, "")
    assert active(driven) == "mppi"


def test_ros2_control_is_told_that_a_switch_is_refused_and_the_log_says_why(driven, control):
    begin = len(driven.output)
    assert control("switch_controllers", "--activate", "nonsense", "--strict") == (1, "")
    line = driven.wait_for_line("refused: no controller 'nonsense'; there are mppi", begin)
    assert "[WARN]" in line and active(driven) == "mppi"


@pytest.mark.parametrize(
    ("activate", "deactivate", "strictness", "reason"),
    [
        (["nonsense"], (), STRICT, "no controller 'nonsense'; there are mppi, "),
        (["nonsense"], (), BEST_EFFORT, "no controller 'nonsense'; there are mppi, "),
        (["hold", "nonsense"], (), STRICT, "no controller 'nonsense'; there are mppi, "),
        (["hold"], ("random",), STRICT, "'random' is not active; 'mppi' is"),
        (["hold", "random"], (), STRICT, "one controller can be active at a time, not hold and"),
        (["external"], (), STRICT, "'external' waits for a command; 'mppi' goes on"),
        (["policy"], (), STRICT, "'policy' "),
    ],
)
def test_a_switch_that_does_not_fit_is_refused_with_the_reason(
    driven, activate, deactivate, strictness, reason
):
    response = switch(driven, *activate, deactivate=deactivate, strict=strictness)
    assert not response.ok and response.message.startswith(reason), response.message
    assert active(driven) == "mppi"


def test_best_effort_passes_over_what_does_not_fit(driven):
    response = switch(driven, "hold", "nonsense", deactivate=("random",), strict=BEST_EFFORT)
    assert response.ok and response.message == "switched from 'mppi' to 'hold'"
    assert active(driven) == "hold" and switch(driven, "mppi").ok


def test_a_switch_to_what_is_active_changes_nothing(driven):
    response = switch(driven, "mppi")
    assert response.ok and response.message == "'mppi' is active already"


def test_external_can_be_switched_to_once_somebody_commands(driven):
    driven.set(external__timeout=1000.0)
    driven.publish("external", 2.0)
    driven.wait_for(lambda: listed(driven)["external"].ready, "the command's arrival")
    assert switch(driven, "external").ok
    driven.wait_for(lambda: driven.commands[-1] == 2.0, "a command of 2 N")
    assert switch(driven, "mppi").ok


def test_the_parameter_switches_and_refuses_with_the_reason(driven):
    assert driven.set(controller="cem") == "" and active(driven) == "cem"
    assert driven.set(controller="nope").startswith("no controller 'nope'; there are mppi, ")
    assert driven.set(controller="policy").startswith("'policy' ")
    assert active(driven) == "cem"
    assert ros2("param", "set", NODE, "controller", "icem") == (0, "Set parameter successful\n")
    assert active(driven) == "icem"
    code, text = ros2("param", "set", NODE, "controller", "nope")
    assert code == 1 and "Setting parameter failed: no controller 'nope'" in text
    assert ros2("param", "get", NODE, "controller") == (0, "String value is: icem\n")
    assert driven.set(controller="mppi") == ""


def test_settings_of_a_planner_take_effect_while_it_plans(driven, status):
    assert driven.set(mppi__samples=33, mppi__iterations=2) == ""
    driven.wait_for(
        lambda: any((s.plan_samples, s.plan_iterations) == (33, 2) for s in status[-1:]),
        "a plan of 33 samples",
    )
    assert active(driven) == "mppi"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"mppi__samples": 0}, "Parameter mppi.samples out of range. Min: 1, Max: 1000000"),
        ({"mppi__samples": "many"}, "Wrong parameter type, expected 'Type.INTEGER'"),
        ({"mppi__samples": None}, "Static parameter cannot be undeclared"),
        ({"mppi__temperature": 0.0}, "mppi.temperature: 0.0: Input should be greater than 0"),
        ({"mppi__samples": 5, "mppi__temperature": 0.0}, "mppi.temperature: 0.0: "),
        ({"fallback__max_misses": 0}, "Parameter fallback.max_misses out of range. Min: 1"),
        ({"fallback__chain": ["pd", "holt"]}, "chain: there is no controller 'holt'"),
        ({"robot": "other"}, "Trying to set a read-only parameter: robot"),
        ({"seed": 5}, "Trying to set a read-only parameter: seed"),
        ({"no_such_parameter": 5}, "undeclared parameter"),
    ],
)
def test_what_cannot_be_set_is_refused_with_the_reason(driven, values, reason):
    refusal = driven.set(**values)
    assert refusal and reason in refusal
    assert driven.get("mppi.samples") == 33 and driven.get("mppi.temperature") == 0.1


def test_parameters_say_what_they_are(driven):
    code, text = ros2("param", "describe", NODE, "mppi.samples", "robot", "controller")
    assert code == 0
    samples, robot, controller = text.split("Parameter name: ")[1:]
    assert "Type: integer" in samples and "Description: action sequences" in samples
    assert "Min value: 1\n" in samples and "Read only" not in samples
    assert "Read only: true" in robot and "Read only" not in controller
    assert "external" in controller


def test_a_controller_is_loaded_set_up_switched_to_and_unloaded(driven, control, status):
    assert control("load_controller", "mppi_fast") == (0, "")
    assert "mppi_fast mppi unconfigured\n" in control("list_controllers")[1]
    refusal = switch(driven, "mppi_fast")
    assert not refusal.ok and refusal.message == "'mppi_fast' is not configured"
    assert control("set_controller_state", "mppi_fast", "inactive") == (0, "")
    assert "mppi_fast mppi inactive\n" in control("list_controllers")[1]
    assert driven.get("mppi_fast.samples") == 120  # its own, not those of mppi
    assert driven.set(mppi_fast__samples=21) == ""
    assert control("set_controller_state", "mppi_fast", "active") == (0, "")
    assert active(driven) == "mppi_fast"
    driven.wait_for(lambda: any(s.plan_samples == 21 for s in status[-1:]), "a plan of 21 samples")
    assert control("unload_controller", "mppi_fast") == (1, "")
    driven.wait_for_line("refused: 'mppi_fast' is active")
    assert control("switch_controllers", "--activate", "mppi", "--strict") == (0, "")
    assert control("unload_controller", "mppi_fast") == (0, "")
    assert "mppi_fast" not in listed(driven) and active(driven) == "mppi"
    assert control("load_controller", "mppi_fast", "--set-state", "active") == (0, "")
    assert active(driven) == "mppi_fast" and driven.get("mppi_fast.samples") == 21
    assert switch(driven, "mppi").ok
    assert driven.call(UnloadController, "unload_controller", name="mppi_fast").ok


def test_a_controller_of_any_name_is_of_the_kind_that_a_parameter_says(driven):
    def load(name: str = "swing") -> Any:
        return driven.call(LoadController, "load_controller", name=name)

    assert load("arm").ok and listed(driven)["arm"].type == "pd"  # given at the start
    response = load()
    assert (
        not response.ok
        and "parameter swing.type: '' is not one of random_shooting, cem" in response.message
    )
    assert driven.set(swing__type="random") == ""
    assert load().ok and listed(driven)["swing"].type == "random"
    response = driven.call(ConfigureController, "configure_controller", name="swing")
    assert response.ok and response.message == "'swing' is configured"
    assert driven.get("swing.hold") == driven.get("random.hold")
    assert switch(driven, "swing").ok and active(driven) == "swing"
    assert switch(driven, "mppi").ok
    assert driven.call(UnloadController, "unload_controller", name="swing").ok


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        (LoadController, "mppi", "there is a controller 'mppi' already"),
        (
            LoadController,
            "my/arm",
            "'my/arm' is no name for a controller: letters, digits, _ and -",
        ),
        (ConfigureController, "mppi", "'mppi' is active"),
        (ConfigureController, "cem", "'cem' is there from the start"),
        (ConfigureController, "nonsense", "no controller 'nonsense'; there are "),
        (UnloadController, "mppi", "'mppi' is active"),
        (UnloadController, "hold", "'hold' stands by for the others"),
        (UnloadController, "nonsense", "no controller 'nonsense'; there are "),
    ],
)
def test_what_cannot_be_loaded_configured_or_unloaded_is_refused(driven, kind, name, reason):
    service = {LoadController: "load", ConfigureController: "configure", UnloadController: "unload"}
    before = listed(driven)
    response = driven.call(kind, f"{service[kind]}_controller", name=name)
    assert not response.ok and response.message.startswith(reason), response.message
    assert listed(driven) == before


def test_a_service_can_be_called_by_hand(driven):
    kind = "mbrl_msgs/srv/SwitchController"
    request = "{activate_controllers: [hold], strictness: 2}"
    code, text = ros2("service", "call", f"{NODE}/switch_controller", kind, request)
    assert code == 0 and "ok=True" in text and "switched from 'mppi' to 'hold'" in text
    assert active(driven) == "hold" and switch(driven, "mppi").ok


def test_who_comes_late_hears_the_states_and_then_each_change(driven, control):
    assert switch(driven, "hold").ok
    heard: list[ControllerManagerActivity] = []
    driven.node.create_subscription(
        ControllerManagerActivity, f"{NODE}/activity", heard.append, LATEST
    )
    driven.wait_for(lambda: heard, "the states")
    states = {c.name: c.state for c in heard[-1].controllers}
    assert list(states) == list(listed(driven))
    assert (states["hold"].label, states["hold"].id) == ("active", State.PRIMARY_STATE_ACTIVE)
    assert states["mppi"].id == State.PRIMARY_STATE_INACTIVE
    _, theirs = control("activity")
    assert theirs.splitlines() == [f"{n} {s.label} {s.id}" for n, s in states.items()]
    assert switch(driven, "mppi").ok
    driven.wait_for(
        lambda: {c.name: c.state.label for c in heard[-1].controllers}["mppi"] == "active",
        "the change",
    )
    assert "mppi active 3\n" in control("activity")[1]


def test_requests_of_both_types_at_once_are_all_answered(driven, control):
    names = itertools.cycle(["hold", "random", "mppi"])
    client = driven.node.create_client(SwitchController, f"{NODE}/switch_controller")
    driven.wait_for(client.service_is_ready, "the service")
    # The service may know of the client later than the client of it; then of more than ten requests
    # the first are lost, as DDS keeps ten.
    futures = [client.call_async(SwitchController.Request(activate_controllers=["mppi"]))]
    driven.wait_for(futures[0].done, "the first answer")
    for name, theirs in itertools.islice(zip(names, ["cem", "icem"] * 15, strict=False), 30):
        request = SwitchController.Request(activate_controllers=[name], strictness=STRICT)
        futures.append(client.call_async(request))
        assert control("switch_controllers", "--activate", theirs, "--strict") == (0, "")
    driven.wait_for(lambda: all(f.done() for f in futures), "all answers")
    assert all(f.result().ok for f in futures), [f.result().message for f in futures]
    assert active(driven) in {"icem", "mppi"}


def test_all_the_while_no_command_has_changed_by_more_than_the_limit(driven):
    assert len(set(driven.commands)) > 10
    steps = [abs(b - a) for a, b in itertools.pairwise(driven.commands)]
    assert max(steps) <= MAX_STEP + 1e-9


def test_it_ends_cleanly(driven):
    assert driven.stop() == 0
    assert "Traceback" not in driven.text and "[ERROR]" not in driven.text
