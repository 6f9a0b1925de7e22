"""`mbrl switch` beside a node with the real services of the controller manager."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.srv")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402

from mbrl_node.control import ControllerManager, Hold, RandomActions  # noqa: E402
from mbrl_node.ros import switching  # noqa: E402
from mbrl_node.ros.manager_services import ManagerServices  # noqa: E402
from mbrl_node.ros.switching import Controllers, SwitchFailed  # noqa: E402
from mbrl_node.spec import load_spec  # noqa: E402

SPEC = load_spec("cartpole")


class Waiting(Hold):
    """Cannot act yet."""

    @property
    def not_ready(self) -> str:
        return "waits for a model"


class Slow(Hold):
    """Takes as long to be activated as a test wants."""

    seconds = 0.0

    def activate(self) -> None:
        time.sleep(self.seconds)


@pytest.fixture(scope="module")
def node():
    """/rig/mbrl_controller."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("mbrl_controller", namespace="rig", context=context)
    random = RandomActions("random", SPEC)
    waiting, slow, hold = Waiting("mppi", SPEC), Slow("slow", SPEC), Hold("hold", SPEC)
    manager = ControllerManager([random, waiting, slow, hold], "random", "hold")
    services = ManagerServices(node, manager, lambda name: None, lambda: None)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield "/rig/mbrl_controller"
    executor.shutdown()
    thread.join(5)
    services.close()
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """A machine may be slower than 5 s."""
    monkeypatch.setattr(switching, "PATIENCE", 60.0)


def test_the_controllers_are_listed_and_swapped(mbrl, node, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    code, out, err = mbrl("switch", "--node", node)
    assert (code, err) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert ["random", "RandomActions", "active", ""] in rows
    assert ["mppi", "Waiting", "inactive", "waits for a model"] in rows

    code, out, _ = mbrl("switch", "hold", "--node", node.removeprefix("/"))
    assert (code, out) == (0, f"{node}: switched from 'random' to 'hold'\n")
    code, out, _ = mbrl("switch", "hold", "--node", node)
    assert (code, out) == (0, f"{node}: 'hold' is active already\n")

    code, out, _ = mbrl("switch", "random", "--node", node, "--json")
    assert code == 0
    assert json.loads(out) == {
        "node": node,
        "before": "hold",
        "now": "random",
        "message": "switched from 'hold' to 'random'",
    }
    code, out, _ = mbrl("switch", "--node", node, "--json")
    listed = json.loads(out)
    assert (listed["active"], len(listed["controllers"])) == ("random", 4)


def test_what_the_node_refuses_is_told_in_its_words(mbrl, node):
    for name, reason in (("nope", "no controller 'nope'"), ("mppi", "waits for a model")):
        code, out, err = mbrl("switch", name, "--node", node)
        assert (code, out) == (2, "")
        assert err.startswith(f"mbrl: {node} refuses: ") and reason in err


def test_without_such_a_node_the_domain_and_those_that_are_heard_are_told(node):
    domain = os.environ["ROS_DOMAIN_ID"]
    with Controllers("/nobody", 3.0) as controllers, pytest.raises(SwitchFailed) as error:
        controllers.all()
    assert f"no node /nobody is heard on ROS_DOMAIN_ID {domain}" in str(error.value)
    assert "within 3 s, but /rig/mbrl_controller" in str(error.value)


def test_a_slow_node_is_not_waited_for_longer_than_it_is_said(node, monkeypatch):
    monkeypatch.setattr(Slow, "seconds", 4.0)
    with Controllers(node, 60.0) as controllers:
        controllers.all()  # it is heard
        controllers.patience = 2.0
        with pytest.raises(SwitchFailed) as error:
            controllers.activate("slow")
        assert "refuses: 'slow' takes longer than 1 s to be activated" in str(error.value)
        stuck = threading.Event()
        monkeypatch.setattr(ControllerManager, "loaded", lambda self: stuck.wait(20) and [])
        controllers.patience = 0.5
        with pytest.raises(SwitchFailed) as error:
            controllers.all()
        stuck.set()
    assert "is there, but has not answered within 0.5 s" in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--node", "a b"], "--node: 'a b' is no name of a node"), (["a", "b"], "'b'")],
)
def test_a_mistake_is_one_line(mbrl, options, words):
    code, out, err = mbrl("switch", *options)
    assert (code, out) == (2, "") and words in err and len(err.splitlines()) == 1


def test_without_ros_it_says_so(mbrl, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = mbrl("switch")
    assert code == 2 and "switch needs ROS 2 and the workspace, and rclpy is not here" in err
