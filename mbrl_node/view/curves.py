"""The curves beside the robot: prediction against what happened, learning, and time."""

from __future__ import annotations

import math
from typing import Any

import viser

from mbrl_node.spec import RobotSpec
from mbrl_node.view.foresight import Foresight
from mbrl_node.view.plots import Plot


class Figures:
    """Fed by what the nodes report once a second; drawn while somebody looks."""

    def __init__(self, gui: viser.GuiApi, spec: RobotSpec) -> None:
        self._fields = spec.state_fields
        names = tuple(f"{field.name} [{field.unit}]" for field in self._fields)
        self._begin: float | None = None
        self._episode, self._time = 0, 0.0
        shown = spec.state_names.index(spec.display.x) if spec.display and spec.display.x else 0
        first = next((k for k, field in enumerate(self._fields) if field.angle), shown)
        self._field = gui.add_dropdown("Field", names, initial_value=names[first])
        self._foresight = Plot(
            gui,
            "Prediction and what happened",
            ("happened", "was predicted", "is predicted"),
            "s from now",
            ("#495057", "#f08c00", "#2f9e44"),
            steady=True,
        )
        self._names = names
        self._returns = Plot(gui, "Return of each episode", ("return",), "episode", points=True)
        self._errors = Plot(
            gui,
            "Model error [%] over robot time [s]",
            ("one step", "H steps", "in use"),
            "s",
            logarithmic=True,
        )
        self._periods = Plot(
            gui, "Control period [ms]", ("longest", "mean", "shortest"), "s",
            ("#f08c00", "#1c7ed6", "#2f9e44"),
        )  # fmt: skip
        self._plans = Plot(
            gui, "Planner [ms]", ("a plan takes", "takes effect after"), "s",
            ("#1c7ed6", "#868e96"),
        )  # fmt: skip

    def add(self, status: Any, learner: Any | None, stamp: float) -> None:
        """What a second was like.

        Args:
            status: a mbrl_msgs/ControllerStatus.
            learner: the newest mbrl_msgs/LearnerStatus, if there is one.
            stamp: robot time, s.
        """
        if self._begin is None or stamp < self._time:
            self._begin, self._episode = stamp, 0
        self._time = stamp
        t = stamp - self._begin
        horizon = learner.horizon_error if learner is not None else math.nan
        errors = (status.held_out_error, horizon, status.prediction_error)
        self._errors.add(t, *(100 * error for error in errors))
        periods = (status.period_max, status.period_mean, status.period_min)
        self._periods.add(t, *(1e3 * period for period in periods))
        self._plans.add(t, 1e3 * status.plan_time, 1e3 * status.planning_delay)
        if status.episode > self._episode:
            if status.episode > 1 and not math.isnan(status.last_return):
                self._returns.add(status.episode - 1, status.last_return)
            self._episode = status.episode

    def draw(self) -> None:
        """Shows what was added."""
        for plot in (self._returns, self._errors, self._periods, self._plans):
            plot.draw()

    def draw_foresight(self, foresight: Foresight) -> None:
        """The chosen field of the state, before and after now."""
        column = self._names.index(self._field.value)
        curves = foresight.curves(column, self._fields[column].angle)
        if curves is not None:
            self._foresight.show(curves.time, curves.measured, curves.foretold, curves.ahead)
