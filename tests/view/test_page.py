"""The page, driven in a real browser beside the launched system."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")
pytest.importorskip("viser")

from tests.ros.conftest import PATIENCE, System

NODE = "mbrl_view"
PICTURE = {"x": 320, "y": 20, "width": 330, "height": 560}  # between the panels
ADDRESS = re.compile(r"the live view is at (http://127\.0\.0\.1:\d+)")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The cart-pole with a goal, at half of real time so that a slow machine keeps up."""
    it = System(
        tmp_path_factory.mktemp("run"), "task:=move_to", "speed:=0.5", "view:=true", "seed:=1"
    )
    yield it
    it.close()


class Opened:
    """The page in a browser.

    Attributes:
        requests: where to.
    """

    def __init__(self, browser, system: System) -> None:
        system.wait_for(lambda: ADDRESS.search("".join(system.output)), "the page's address")
        self.url = ADDRESS.search("".join(system.output))[1]
        self.requests: list[str] = []
        self.page = browser.new_page(viewport={"width": 970, "height": 600})
        self.page.set_default_timeout(1e3 * PATIENCE)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.goto(self.url)

    def wait_for_text(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name).click()

    def swap(self, controller: str) -> None:
        self.page.get_by_role("combobox", name="Controller").click()
        self.page.get_by_role("option", name=controller, exact=True).click()
        self.press("Swap")

    def picture(self) -> bytes:
        return self.page.screenshot(clip=PICTURE)

    def wait_for_picture(self, condition: Callable[[bytes, bytes], bool], what: str) -> None:
        """Until it holds for a picture and the next."""
        deadline, before = time.monotonic() + PATIENCE, self.picture()
        while not condition(before, now := self.picture()):
            assert time.monotonic() < deadline, what
            before = now


@pytest.fixture(scope="module")
def opened(browser, system: System) -> Iterator[Opened]:
    yield Opened(browser, system)


def hears(system: System, topic: str) -> bool:
    """Whether the view listens to a topic."""
    infos = system.node.get_subscriptions_info_by_topic(topic)
    return NODE in [info.node_name for info in infos]


def test_it_loads_and_asks_nobody_else_for_anything(opened):
    opened.page.get_by_text(re.compile("(random|mppi) acts")).first.wait_for()
    hosts = {
        urlsplit(url).hostname for url in opened.requests if not url.startswith(("blob", "data"))
    }
    assert hosts == {"127.0.0.1"} and len(opened.requests) >= 2


def test_the_robot_moves_with_the_state_topics(opened, system):
    opened.wait_for_picture(lambda a, b: a != b, "the robot does not move")
    system.kill("sim", signal.SIGSTOP)
    opened.wait_for_picture(lambda a, b: a == b, "the robot moves though no state comes")
    still = opened.picture()
    system.kill("sim", signal.SIGCONT)
    opened.wait_for_picture(lambda a, b: still not in (a, b), "the robot does not move on")


def test_the_swap_button_changes_the_active_controller_in_the_graph(opened, system):
    for name in ("hold", "mppi"):
        opened.swap(name)
        system.wait_for(lambda name=name: system.controllers()[name].state == "active", name)
        opened.wait_for_text(f"{name} acts")


def test_a_goal_that_is_set_is_what_the_task_aims_at(opened, system):
    number = opened.page.locator("input[inputmode=decimal]")
    number.fill("1.25")
    number.press("Enter")
    opened.press("Set goal")
    system.wait_for(lambda: list(system.status[-1].targets) == [1.25], "the goal")
    opened.wait_for_text("x_goal 1.25")


def test_learning_is_paused_and_goes_on(opened):
    opened.press("Pause learning")
    opened.wait_for_text("paused: it stores, and does not learn")
    opened.press("Go on learning")
    opened.page.get_by_role("button", name="Pause learning").wait_for()


def test_the_e_stop_stops_the_robot_until_it_is_released(opened, system):
    opened.press("E-STOP")
    system.wait_for(lambda: system.status[-1].stopped, "the stop")
    assert system.commands[-1] == [0.0]
    opened.wait_for_text("STOPPED: ")
    opened.press("Release the stop")
    system.wait_for(lambda: not system.status[-1].stopped, "the release")
    assert any("emergency stop by its service" in line for line in system.output)


def test_a_controller_that_does_not_answer_is_told_and_the_page_goes_on_when_it_is_back(
    opened, system
):
    system.kill("controller", signal.SIGSTOP)
    opened.swap("hold")
    opened.wait_for_text("mbrl_controller has not answered in 3 s")
    opened.wait_for_text("controller does not answer")
    system.kill("controller", signal.SIGCONT)
    opened.wait_for_text("hold acts")


def test_while_nobody_looks_it_hears_of_the_robot_once_a_second_only(opened, system):
    rated = ("/joint_states", "/mbrl_controller/plan", "/mbrl_controller/markers")
    assert all(hears(system, topic) for topic in rated)
    opened.page.close()
    system.wait_for(lambda: not any(hears(system, topic) for topic in rated), "looking away")
    assert hears(system, "/mbrl_controller/status")
    assert not hears(system, "/clock")


def test_when_it_dies_nothing_else_notices(opened, system):
    system.kill("view")
    system.wait_for(lambda: "lib/mbrl/view " not in "".join(system.processes().values()), "its end")
    system.wait_for_more(system.transitions, 20, "transitions without it")
    assert system.process.poll() is None
    assert len({t.session for t in system.transitions}) == 1
