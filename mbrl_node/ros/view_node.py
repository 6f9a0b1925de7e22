"""The live view's node: from the robot's topics to a page in the browser, and from its buttons to
services.

It only listens and calls: nobody waits for it, and it may die at any time. While no browser shows
the page it hears of the robot once a second, of events and of nothing else.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from mbrl_msgs.msg import ControllerManagerActivity, ControllerStatus, Event, LearnerStatus
from rclpy.node import Node
from std_msgs.msg import String

from mbrl_node.ros.graph import LEARNER, OURS
from mbrl_node.ros.logs import forward_logs
from mbrl_node.ros.parameters import declare, declare_robot
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.ros.qos import EVENTS, LATEST
from mbrl_node.ros.stamps import seconds
from mbrl_node.spec import RobotSpec, load_spec

if TYPE_CHECKING:
    from mbrl_node.ros.view_calls import Calls
    from mbrl_node.ros.view_sights import Sights
    from mbrl_node.view.page import Page

FRAME = 0.05  # s from one picture of the robot to the next
PLANS, CURVES, WORDS = 2, 10, 20  # pictures from one look at them to the next


class ViewNode(Node):
    """Messages come in one thread, the page is drawn in the main thread."""

    def __init__(self) -> None:
        super().__init__("mbrl_view")
        self._end_logs = forward_logs(self)
        self._spec = self._declared()
        port = declare(
            self, "port", 8080, "of the page, or the next that is free; 0: any", limits=(0, 65535)
        )
        self._page, self._calls, foresight = self._make_page(port)
        self._foresight = foresight
        self._sights: Sights | None = None
        self._status: tuple[float, ControllerStatus] | None = None
        self._learner: tuple[float, LearnerStatus] | None = None
        self._seconds: deque[tuple[ControllerStatus, LearnerStatus | None]] = deque()
        self._controllers: ControllerManagerActivity | None = None
        self._subscribe()
        self.get_logger().info(f"the live view is at {self._page.url}")

    def _declared(self) -> RobotSpec:
        """The robot, with its `sim` section: that names its URDF."""
        declare_robot(self)
        robot, task = (self.get_parameter(name).value for name in ("robot", "task"))
        return load_spec(robot, task=task)

    def _make_page(self, port: int) -> tuple[Page, Calls, Any]:
        try:
            from mbrl_node.ros.view_calls import Calls
            from mbrl_node.view.foresight import Foresight
            from mbrl_node.view.page import Page
            from mbrl_node.view.urdf import load_urdf, urdf_file
        except ImportError as error:
            raise ConfigurationError(
                f"the live view needs viser ({error}): pip install 'mbrl-node[viz]', or launch "
                "with view:=false"
            ) from None
        calls = Calls(self, self._spec, lambda text, ok: page.answer(text, ok))
        page = Page(self._spec, calls, port)
        path = urdf_file(self._spec)
        urdf = load_urdf(self._spec, path) if path else None
        if urdf is not None:
            page.show_robot(urdf)
        return page, calls, Foresight()

    def _subscribe(self) -> None:
        self.create_subscription(ControllerStatus, f"{OURS}/status", self._on_status, 10)
        self.create_subscription(LearnerStatus, f"{LEARNER}/status", self._on_learner, 10)
        self.create_subscription(
            ControllerManagerActivity, f"{OURS}/activity", self._on_activity, LATEST
        )
        for name in (OURS, LEARNER):
            self.create_subscription(Event, f"{name}/events", self._on_event, EVENTS)
        if not self._page.scene.has_robot:
            self.create_subscription(String, "robot_description", self._on_description, LATEST)

    def _on_status(self, message: ControllerStatus) -> None:
        if message.robot != self._spec.name:
            return
        self._status = time.monotonic(), message
        self._seconds.append((message, self._learner[1] if self._learner else None))

    def _on_learner(self, message: LearnerStatus) -> None:
        if message.robot == self._spec.name:
            self._learner = time.monotonic(), message

    def _on_activity(self, message: ControllerManagerActivity) -> None:
        self._controllers = message

    def _on_event(self, message: Event) -> None:
        from mbrl_node.view.texts import Happening

        stamp = seconds(message.stamp)
        self._page.show_event(Happening(stamp, message.kind, message.text))

    def _on_description(self, message: String) -> None:
        from mbrl_node.view.urdf import load_urdf

        urdf = load_urdf(self._spec, message.data)
        if urdf is not None and not self._page.scene.has_robot:
            self._page.show_robot(urdf)

    def run(self, stop: threading.Event) -> None:
        """Draws while somebody looks, until told to stop."""
        frame = 0
        while not stop.is_set():
            begin = time.monotonic()
            self._remember()
            if not self._page.looked_at:
                self._look_away()
                frame = 0
                self._page.changed.wait(0.5)
                self._page.changed.clear()
                continue
            try:
                self._look(frame)
            except Exception as error:  # the next picture may be better
                self.get_logger().error(
                    f"a picture failed: {type(error).__name__}: {error}", throttle_duration_sec=5.0
                )
            frame += 1
            stop.wait(max(0.0, begin + FRAME - time.monotonic()))

    def _remember(self) -> None:
        """What each second was like, whether somebody looks or not."""
        while self._seconds:
            status, learner = self._seconds.popleft()
            stamp = status.header.stamp
            self._page.figures.add(status, learner, seconds(stamp))

    def _look_away(self) -> None:
        if self._sights is not None:
            self._sights.close()
            self._sights = None
            self._foresight.forget()
            self._page.scene.clear()

    def _look(self, frame: int) -> None:
        """One picture, and what is told less often."""
        if self._sights is None:
            from mbrl_node.ros.view_sights import Sights

            self._sights = Sights(self, self._spec)
        scene = self._page.scene
        if (state := self._sights.state()) is not None:
            self._foresight.measured(*state)
            scene.show_state(state[1])
        if frame % PLANS == 0:
            if (plan := self._sights.plan()) is not None:
                self._foresight.predicted(plan)
            if (candidates := self._sights.candidates()) is not None:
                scene.show_candidates(self._foresight, candidates)
            scene.show_foresight(self._foresight)
        if frame % CURVES == 0:
            self._page.figures.draw_foresight(self._foresight)
        if frame % WORDS == 0:
            self._tell()
        self._calls.look()

    def _tell(self) -> None:
        now = time.monotonic()
        for newest, show in (
            (self._status, self._page.show_status),
            (self._learner, self._page.show_learner),
        ):
            show(newest[1] if newest else None, now - newest[0] if newest else 0.0)
        if self._controllers is not None and self._status is not None:
            names = [c.name for c in self._controllers.controllers]
            self._page.show_controllers(names, self._status[1].active_controller)
        self._page.figures.draw()
        self._page.show_events()

    def close(self) -> None:
        """Ends serving."""
        self._page.close()
        self._end_logs()
