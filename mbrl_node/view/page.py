"""The page: what stands where in it, and what its buttons do."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import viser

from mbrl_node.spec import RobotSpec
from mbrl_node.view.curves import Figures
from mbrl_node.view.goals import Goal, goals_of
from mbrl_node.view.scene import Scene
from mbrl_node.view.server import HOST, serve
from mbrl_node.view.texts import (
    Happening,
    answer_html,
    events_html,
    learner_html,
    mood_html,
    robot_html,
)
from mbrl_node.view.urdf import Urdf

EVENTS = 50  # that are shown
WIDTH = 310  # of a panel, pixels


class Operator(Protocol):
    """Whom the buttons tell. None of these waits; what came of it, `Page.answer` is told."""

    def swap(self, controller: str) -> None: ...
    def stop(self) -> None: ...
    def release(self) -> None: ...
    def go(self) -> None: ...
    def pause(self, paused: bool) -> None: ...
    def set_goal(self, goal: Goal, values: Sequence[float]) -> None: ...


class Page:
    """Served until `close`; any thread may fill it.

    Args:
        port: the first that is tried; 0: any.

    Attributes:
        changed: set when somebody opens the page or closes it.
    """

    def __init__(self, spec: RobotSpec, operator: Operator, port: int) -> None:
        self._spec, self._operator = spec, operator
        self.changed = threading.Event()
        self._server = serve(port)
        self._happenings: deque[Happening] = deque(maxlen=EVENTS)
        self._status: Any | None = None
        self._learner: Any | None = None
        self._goals = list(goals_of(spec))
        self._controllers: tuple[str, ...] = ()
        self.scene = Scene(self._server, spec, self._goals)
        gui = self._server.gui
        gui.set_panel_label(f"{spec.name}: {spec.task}")
        self._build_controls(gui)
        panel = gui.add_panel()
        with panel.add_tab("Curves", viser.Icon.CHART_LINE):
            self.figures = Figures(gui, spec)
        gui.main_panel.dock_right()
        gui.main_panel.set_width(WIDTH)
        panel.dock_left()
        panel.set_width(WIDTH)
        self._server.on_client_connect(self._on_change)
        self._server.on_client_disconnect(self._on_change)

    def _build_controls(self, gui: viser.GuiApi) -> None:
        operator = self._operator
        self._mood = gui.add_html(mood_html(None, 0.0))
        stop = gui.add_button("E-STOP", color="red", icon=viser.Icon.HAND_STOP)
        stop.on_click(lambda _: operator.stop())
        self._release = gui.add_button("Release the stop", color="gray", visible=False)
        self._release.on_click(lambda _: operator.release())
        self._go = gui.add_button("Go", color="green", visible=False)
        self._go.on_click(lambda _: operator.go())
        self._robot = gui.add_html("")
        self._answer = gui.add_html("")
        self._names: Any = gui.add_dropdown("Controller", ("",), hint="who is to be in command")
        self._swap = gui.add_button("Swap", icon=viser.Icon.SWITCH_HORIZONTAL, disabled=True)
        self._swap.on_click(lambda _: operator.swap(self._names.value))
        for goal in self._goals:
            with gui.add_folder("Goal"):
                self._add_goal(gui, goal)
        self._learning = gui.add_html(learner_html(None, 0.0))
        self._pause = gui.add_button("Pause learning", color="gray")
        self._pause.on_click(lambda _: operator.pause(not (self._learner and self._learner.paused)))
        with gui.add_folder("Events"):
            self._events = gui.add_html(events_html(()))

    def _add_goal(self, gui: viser.GuiApi, goal: Goal) -> None:
        numbers = []
        for field in goal.fields:
            middle = field.initial if field.initial is not None else (field.min + field.max) / 2
            span = field.max - field.min
            numbers.append(
                gui.add_number(
                    f"{field.name} [{field.unit}]",
                    round(middle, 3),
                    min=field.min,
                    max=field.max,
                    step=10.0 ** np.floor(np.log10(span / 50)),
                )
            )
        button = gui.add_button("Set goal", icon=viser.Icon.TARGET)
        button.on_click(lambda _: self._operator.set_goal(goal, [n.value for n in numbers]))
        if goal.columns:
            places = {axis: numbers[column - goal.first] for axis, column in goal.columns.items()}
            self.scene.add_gizmo(goal, places)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self._server.get_port()}"

    @property
    def looked_at(self) -> bool:
        """Whether a browser shows it."""
        return bool(self._server.get_clients())

    def _on_change(self, client: viser.ClientHandle) -> None:
        self.changed.set()

    def show_robot(self, urdf: Urdf) -> None:
        """From now on the robot is seen."""
        self.scene.show_robot(urdf)

    def show_status(self, status: Any | None, age: float) -> None:
        """What the controller says of itself.

        Args:
            status: the newest mbrl_msgs/ControllerStatus; None: none came.
            age: of it, s.
        """
        self._status = status
        self._mood.content = mood_html(status, age)
        self._robot.content = robot_html(status)
        self._release.visible = bool(status and status.stopped)
        self._go.visible = bool(status and "(~/go)" in status.waits_for)
        if status is not None:
            self.scene.show_targets(status.targets)

    def show_learner(self, status: Any | None, age: float) -> None:
        """What the learner says of itself, see `show_status`."""
        self._learner = status
        self._learning.content = learner_html(status, age)
        self._pause.label = "Go on learning" if status and status.paused else "Pause learning"

    def show_controllers(self, names: Iterable[str], active: str) -> None:
        """Those that can be swapped to; the choice is the active one until somebody chooses."""
        listed = tuple(names)
        if listed and listed != self._controllers:
            self._controllers = listed
            self._names.options = listed
            self._names.value = active if active in listed else listed[0]
            self._swap.disabled = False

    def show_event(self, happening: Happening) -> None:
        """Something has happened."""
        self._happenings.append(happening)

    def show_events(self) -> None:
        """The log as it is now, the newest first."""
        self._events.content = events_html(sorted(tuple(self._happenings), key=lambda h: -h.stamp))

    def answer(self, text: str, ok: bool) -> None:
        """What came of a button that was pressed."""
        self._answer.content = answer_html(f"{time.strftime('%H:%M:%S')} {text}", ok)

    def close(self) -> None:
        """Ends serving."""
        with contextlib.redirect_stdout(io.StringIO()):  # it would say so
            self._server.stop()
