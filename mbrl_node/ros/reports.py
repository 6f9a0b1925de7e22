"""What the controller node publishes for those who look."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray
from mbrl_msgs.msg import ControllerStatus, Plan, Timing
from nav_msgs.msg import Path
from rclpy.node import Node
from visualization_msgs.msg import MarkerArray

from mbrl_node.control import ControllerManager, ControlLoop, PlanningController, TimedPlan
from mbrl_node.ros.convert import plan_to_msg
from mbrl_node.ros.diagnostics import Diagnostics, DiagnosticsConfig
from mbrl_node.ros.markers import markers, path
from mbrl_node.ros.model_intake import ModelIntake
from mbrl_node.ros.stamps import to_time
from mbrl_node.ros.status import status_line
from mbrl_node.ros.timing import TickTimes
from mbrl_node.spec import RobotSpec


class Reports:
    """Status, /diagnostics and timing once a second, and plans as they are made.

    Attributes:
        times: of ticks and plans; renewed when control begins anew.
        thresholds: of /diagnostics.
    """

    def __init__(self, node: Node, spec: RobotSpec, thresholds: DiagnosticsConfig) -> None:
        self._node, self._spec = node, spec
        self.times = TickTimes()
        self._judge = Diagnostics(node.get_name(), spec, thresholds)
        self._plans = node.create_publisher(Plan, "~/plan", 1)
        self._path = node.create_publisher(Path, "~/predicted_path", 1)
        self._markers = node.create_publisher(MarkerArray, "~/markers", 1)
        self._status = node.create_publisher(ControllerStatus, "~/status", 1)
        self._timing = node.create_publisher(Timing, "~/timing", 1)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 1)

    def judge_by(self, thresholds: DiagnosticsConfig) -> None:
        """From the next report on."""
        self._judge.config = thresholds

    def plans_wanted(self) -> bool:
        """Whether somebody looks at plans. For planning threads."""
        publishers = (self._plans, self._path, self._markers)
        return any(p.get_subscription_count() > 0 for p in publishers)

    def on_plan(self, controller: str, plan: TimedPlan) -> None:
        """A plan was made. For planning threads."""
        self.times.add_plan(plan)
        if plan.states is None:
            return
        self._plans.publish(plan_to_msg(plan, controller, self._spec))
        if self._spec.display is not None:
            self._path.publish(path(plan, self._spec))
            self._markers.publish(markers(plan, self._spec))

    def publish(
        self,
        status: ControllerStatus,
        loop: ControlLoop,
        manager: ControllerManager,
        models: ModelIntake,
        refused: Mapping[str, int],
        ages: Mapping[str, float],
        now: int,
    ) -> None:
        """Once a second: status message, diagnostics and a line for people.

        Args:
            status: what only the caller knows is filled in.
            refused: messages since the start, by topic.
            ages: of the newest state, s, by topic.
            now: robot time, ns.
        """
        second = self.times.take()
        second.fill(status)
        planning = [c for c in manager.controllers.values() if isinstance(c, PlanningController)]
        delays = [c.lead * self._spec.dt for c in planning if c is manager.acting]
        for name, value in (
            ("robot", self._spec.name),
            ("active_controller", manager.active.name),
            ("acting_controller", loop.acting),
            ("failure", manager.failure),
            ("fallbacks", manager.fallbacks),
            ("late_plans", sum(c.late_plans for c in planning)),
            ("planning_delay", delays[0] if delays else 0.0),
            ("model_version", models.version),
            ("held_out_error", models.held_out_error),
            ("good_model_version", models.good_version),
            ("prediction_error", models.prediction_error),
            ("rollbacks", models.rollbacks),
            ("refused_messages", sum(refused.values())),
            ("limited", loop.safety.limited),
            ("task", self._spec.task),
            ("targets", loop.goals.targets.tolist()),
            ("reached_in_a_row", loop.goals.in_a_row),
            ("trust", loop.trust.share),
            *((name, getattr(loop, name)) for name in _OF_LOOP),
        ):
            setattr(status, name, value)
        status.header.stamp = to_time(now)
        self._status.publish(status)
        self._diagnostics.publish(self._judge.report(status, models.age, refused, ages))
        if self._timing.get_subscription_count() > 0:
            missed = status.deadline_misses
            self._timing.publish(second.to_msg(now, self._spec.dt, missed))
        self._node.get_logger().info(status_line(status, loop.robot_time))


_OF_LOOP = (
    *("safe_reason", "episode", "episode_time", "episode_return", "last_return"),
    *("transitions", "held_time", "solved_at", "waits_for"),
)
