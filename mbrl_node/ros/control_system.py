"""All that drives a robot, as it is configured: from `configure` to `cleanup` of the node."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mbrl_msgs.msg import ControllerStatus, ModelUpdate
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from mbrl_node.control import (
    Controller,
    ControllerManager,
    ControlLoop,
    Deadman,
    FallbackConfig,
    Observation,
    PlanningController,
    StopError,
    Stops,
    SwitchError,
    Tick,
)
from mbrl_node.control.model_watch import RollbackError
from mbrl_node.control.planning_process import PlanningProcess
from mbrl_node.control.return_watch import ReturnWatch
from mbrl_node.data import Transition
from mbrl_node.planning import RolloutConfig
from mbrl_node.ros.commands import CommandPublisher
from mbrl_node.ros.controllers import ControllerFactory, Learned, Surroundings, kind_of
from mbrl_node.ros.delivery import Delivery, outboxes
from mbrl_node.ros.diagnostics import DiagnosticsConfig
from mbrl_node.ros.events import EventPublisher, Watch
from mbrl_node.ros.inputs import Inputs
from mbrl_node.ros.manager_services import ManagerServices
from mbrl_node.ros.model_intake import ModelIntake
from mbrl_node.ros.parameters import LiveParameters, declare
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.ros.qos import LATEST
from mbrl_node.ros.reports import Reports
from mbrl_node.ros.state_reader import StateReader
from mbrl_node.ros.stop_inputs import StopInputs
from mbrl_node.ros.timing import TickTimes
from mbrl_node.spec import RobotSpec

log = logging.getLogger(__name__)

KINDS = ("timer", "client", "service", "subscription", "publisher")
ARRIVAL = 0.005  # s that a tick waits for the measurement of its own instant


@dataclass(frozen=True)
class Settings:
    """What is set at the start only."""

    seed: int
    device: torch.device
    run_dir: str
    learn: bool
    simulated: bool  # the robot's time is that of /clock
    sync: bool  # in lock-step with simulator and learner
    dry_run: bool
    deadman_topic: str
    deadman_timeout: float  # s


class ControlSystem:
    """The control loop and what it is connected to.

    The control thread calls `missing`, `tick` and `stop_robot`; callbacks come in another thread,
    plans in a third.
    """

    def __init__(
        self,
        node: Node,
        spec: RobotSpec,
        settings: Settings,
        live: LiveParameters,
        stops: Stops,
    ) -> None:
        self._node, self._spec, self._settings, self._live = node, spec, settings, live
        self._stops = stops
        self._undo = ExitStack()
        self._undo.callback(live.forget)
        self._undo.callback(_destroy_since, node, _entities(node))
        try:
            self._build()
        except BaseException:  # nothing may remain of what cannot be configured
            self._undo.close()
            raise

    def _build(self) -> None:
        node, spec, settings, live = self._node, self._spec, self._settings, self._live
        self.reader = StateReader(node, spec, self.robot_time, settings.simulated)

        fallback = live.declare("fallback", FallbackConfig, self._prepare_fallback)
        planning = None
        if not settings.sync:
            planning = PlanningProcess(spec, str(settings.device), settings.seed)
            self._undo.callback(planning.close)
        self.models = ModelIntake(spec, settings.device, self._get_controllers, planning)
        self.models.set_rollout(live.declare("rollout", RolloutConfig, self.models.prepare))
        thresholds = live.declare(
            "diagnostics", DiagnosticsConfig, lambda changed: partial(reports.judge_by, changed)
        )
        self._reports = reports = Reports(node, spec, thresholds)
        around = Surroundings(
            settings.device,
            settings.seed,
            planning,
            self.models.watch,
            fallback.max_misses,
            reports.on_plan,
            reports.plans_wanted,
        )
        self._factory = ControllerFactory(node, spec, live, around)
        self._manager = self._make_manager(fallback)
        self._undo.callback(self._manager.close)
        try:
            self._check_chain(fallback)
        except ValueError as error:
            raise ConfigurationError(f"{node.get_name()}: parameter fallback.{error}") from None
        live.watch("controller", self._set_controller)
        deadman = Deadman(settings.deadman_timeout) if settings.deadman_topic else None
        self._deadman = deadman
        self._ticks, self.misses, self._sent_at = 0, 0, 0
        self.loop = ControlLoop(
            spec,
            self._manager,
            time.time_ns(),
            self._stops,
            settings.dry_run,
            settings.seed,
            lambda: (self.models.version, self.models.held_out_error),
        )
        self._events = EventPublisher(node, self.loop.session)
        self._undo.callback(self._events.flush)
        self.models.say = self._say
        self._watch = Watch(self._say, self._manager, self._stops)
        learns = settings.learn and not settings.dry_run
        boxes = outboxes(spec, self.loop.session, settings.run_dir) if learns else None
        self._delivery = Delivery(node, spec, boxes, self._say)
        self._undo.callback(self._delivery.close)
        self._stop_inputs = StopInputs(node, self._stops, deadman, settings.deadman_topic, self._go)
        self._inputs = Inputs(node, spec, self._get_controllers, self.loop.goals)
        self._check_recovery()
        self._returns = ReturnWatch(spec.dt)

        self._commands = CommandPublisher(node, spec, self.robot_time)
        if not settings.sync:  # in lock-step the learner answers with its model
            node.create_subscription(
                ModelUpdate, "mbrl_learner/model", self.models.take_aside, LATEST
            )
        node.create_service(Trigger, "~/rollback", self._on_rollback)
        self._services = ManagerServices(node, self._manager, self._load, self._switched)
        self._undo.callback(self._services.close)
        self._manager.on_change = self._on_change
        self._active, self._episode = self._manager.active.name, self.loop.episode
        reset = spec.episode.reset_service
        self._reset = node.create_client(Trigger, reset) if reset else None
        self._reset_pending, self._reset_missing = threading.Event(), False
        self._reset_again_at = math.inf  # time.monotonic at which an answer is no longer expected
        self._not_before = 0  # robot time of the last reset, ns
        self._stepped_to = 0  # robot time in lock-step, ns
        self._patience = math.inf  # time.monotonic until which a learner is waited for
        self._ticking = False
        self._safe_reason = ""
        node.create_timer(
            1.0, self._contained(self._report), clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        if settings.run_dir:
            needed = not settings.learn and isinstance(self._manager.active, Learned)
            self.models.load_newest(Path(settings.run_dir), needed)
        if planning is not None:
            planning.begin()

    def _say(self, kind: str, subject: str, text: str) -> None:
        """Something for the run's history has happened; for any thread."""
        self._events.say(kind, subject, text, self.loop.robot_time if self._ticks else math.nan)

    def _make_manager(self, fallback: FallbackConfig) -> ControllerManager:
        first = self._node.get_parameter("controller").value
        if first not in self._factory.kinds:
            known = ", ".join(self._factory.kinds)
            raise ConfigurationError(
                f"{self._node.get_name()}: parameter controller: '{first}' is not one of {known}"
            )
        standby = "random" if self._settings.learn else "hold"
        return ControllerManager(
            self._factory.make_all(first), standby, "hold", fallback, self._spec.dt
        )

    def _check_recovery(self) -> None:
        """The controller of the robot's recovery is there; one that is not yet is loaded."""
        recovery = self._spec.episode.recovery
        if recovery is None:
            return
        where, name = f"{self._spec.name}: episode.recovery", recovery.controller
        try:
            if name not in self._manager.controllers:
                self._load(name)
                self._manager.configure(name)
        except SwitchError as error:
            raise ConfigurationError(f"{where}.controller: {error}") from None
        if recovery.reference and not hasattr(self._manager.controllers[name], "following"):
            raise ConfigurationError(f"{where}.reference: '{name}' follows no reference")

    def _contained(self, callback: Callable[..., None]) -> Callable[..., None]:
        """A callback that logs what goes wrong in it."""

        def contained(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception as error:  # one report is lost, the next may work
                self._node.get_logger().error(
                    f"{callback.__name__}: {type(error).__name__}: {error}",
                    throttle_duration_sec=5.0,
                )

        return contained

    # Control: the control thread.

    def robot_time(self) -> int:
        """ns on the robot's clock."""
        if self._settings.sync:
            return self._stepped_to
        if not self._settings.simulated:
            return time.time_ns()
        return int(self._node.get_clock().now().nanoseconds)

    def begin(self) -> None:
        """The robot has its safe command, and is commanded from the next tick on."""
        self.loop.restart()
        self._reports.times = TickTimes()

    def end(self) -> None:
        """There will be no ticks, so that nothing is reported, until `begin` is called again."""
        self._ticking = False

    def poll_stops(self) -> None:
        """Takes what stops the robot; at each tick, and now and then where there is none."""
        self._stop_inputs.poll()
        self._watch.look()

    def missing(self) -> str:
        """What has to be there before the first command and is not; empty: all is there."""
        self.poll_stops()
        self.reader.poll()
        state = self.reader.read()
        if isinstance(state, str):
            return state
        if self._settings.learn and not self._delivery.heard:
            self._patience = min(self._patience, time.monotonic() + 30.0)
            if time.monotonic() < self._patience:
                return "no learner yet"
            self._node.get_logger().warning("no learner came in 30 s; starting without")
        return ""

    def tick(self, slot: int, deadline: int) -> None:
        """One tick of control.

        Args:
            slot: when its slot began, ns of `time.monotonic_ns`.
            deadline: the same in robot time, ns: of the measurement that is waited for.
        """
        started = time.monotonic_ns()
        self.poll_stops()
        if self._settings.simulated:
            self.reader.wait_for(deadline, ARRIVAL)
        else:
            self.reader.poll()
        state = self.reader.read(self._not_before)
        received = self.reader.received
        if isinstance(state, str):
            tick = self.loop.tick(None, state, self._send)
        else:
            problem = self._deadman.problem(time.monotonic()) if self._deadman else ""
            observation = Observation(self.robot_time(), *state)
            tick = self.loop.tick(observation, problem, self._send)
        self._after(tick)
        self._reports.times.add(
            slot,
            started,
            self._sent_at,
            time.monotonic_ns(),
            None if isinstance(state, str) else received,
            self.loop.acting,
        )

    def tick_in_lock_step(self, stamp: int, state: NDArray[Any], age: float) -> Tick:
        """One tick at this robot time in ns, on a state [n] that is `age` s old."""
        now, self._stepped_to = time.monotonic_ns(), stamp
        self.poll_stops()
        measured = stamp - round(age * 1e9)
        tick = self.loop.tick(Observation(stamp, measured, state), send=self._send)
        self._after(tick)
        sent, done = self._sent_at, time.monotonic_ns()
        self._reports.times.add(now, now, sent, done, now, self.loop.acting)
        return tick

    def _after(self, tick: Tick) -> None:
        self._ticks += 1
        self._ticking = True
        if tick.transition is not None:
            self._delivery.put(tick.transition)
        self._watch_returns(tick.transition)
        for event in tick.events:
            log.info(event.text)
            self._say(event.kind, str(self._episode), event.text)
        self._episode = self.loop.episode
        if not self._settings.sync:
            self._see_to_reset(tick.reset)
        self.say_why_safe()

    def _watch_returns(self, transition: Transition | None) -> None:
        if transition is None or transition.model_version == 0:
            self._returns.interrupt()
            return
        version, good = transition.model_version, self.models.good_version
        if fall := self._returns.add(transition.reward, version, good, transition.targets):
            self.models.blame(fall)
        if transition.terminated or transition.truncated:
            self._returns.interrupt()

    def say_why_safe(self) -> None:
        """Logs why the robot has its safe command, where that has changed."""
        if self.loop.safe_reason != self._safe_reason:
            self._safe_reason = self.loop.safe_reason
            if self._safe_reason:
                log.warning("safe command: %s", self._safe_reason)

    def stop_robot(self, reason: str) -> bool:
        """The next command of a ramp to the safe one; tells whether it has arrived."""
        self.poll_stops()
        self.loop.stop(reason, self._send)
        return self.loop.safety.at_rest

    def _go(self) -> str:
        if not self._ticking:
            raise StopError("the robot is not commanded now")
        return self.loop.go()

    def _send(self, action: NDArray[Any]) -> None:
        if not self._settings.dry_run:
            self._commands.publish(action)
        self._sent_at = time.monotonic_ns()

    def confirm(self) -> None:
        """Waits until the last command has arrived, but not long."""
        self._commands.confirm(0.3)

    def settle(self) -> None:
        """Waits until the learner has all transitions, but not long."""
        self._delivery.settle(timeout=1.0)

    def _see_to_reset(self, wanted: bool) -> None:
        if wanted:
            self._reset_pending.set()
        unanswered = self.loop.resetting and time.monotonic() > self._reset_again_at
        if not (self._reset_pending.is_set() or unanswered):
            return
        if self._reset is None or not self._reset.service_is_ready():
            if not self._reset_missing:
                log.warning("waiting for service %s", self._spec.episode.reset_service)
            self._reset_missing = True
            return
        self._reset_missing = False
        self._reset_pending.clear()
        self._reset_again_at = time.monotonic() + 5.0
        self._reset.call_async(Trigger.Request()).add_done_callback(self._contained(self._on_reset))

    # Callbacks: the callback thread.

    def _on_reset(self, future: Any) -> None:
        response = future.result()
        if response is None or not response.success:
            self._node.get_logger().error(
                f"the reset failed: {response.message if response else 'no answer'}"
            )
            self._reset_pending.set()
            return
        self._not_before = self.robot_time()
        self.loop.begin_episode()

    def _on_rollback(self, request: Any, response: Any) -> Any:
        try:
            response.message, response.success = self.models.roll_back(), True
        except RollbackError as error:
            response.message, response.success = str(error), False
            log.warning("the model in use stays: %s", error)
        return response

    def _get_controllers(self) -> dict[str, Controller]:
        return self._manager.controllers

    def _equip(self, controller: Controller) -> None:
        self._inputs.equip(controller)
        self.models.equip(controller)

    def _load(self, name: str) -> None:
        if not re.fullmatch(r"[A-Za-z_][\w-]*", name):
            raise SwitchError(f"'{name}' is no name for a controller: letters, digits, _ and -")
        default = kind_of(name, self._factory.kinds) or ""
        kind = declare(self._node, f"{name}.type", default, "the controller's kind", live=True)
        if kind not in self._factory.kinds:
            known = ", ".join(self._factory.kinds)
            raise SwitchError(f"parameter {name}.type: '{kind}' is not one of {known}")

        def make() -> Controller:
            controller = self._factory.make(name, kind)
            self._equip(controller)
            return controller

        self._manager.load(name, kind, make)

    def _set_controller(self, name: str) -> str:
        if name == self._manager.active.name:
            return ""
        try:
            self._node.get_logger().info(self._manager.switch([name]))
        except SwitchError as error:
            return str(error)
        return ""

    def _on_change(self) -> None:
        self._services.publish_activity()
        before, self._active = self._active, self._manager.active.name
        if self._active != before:
            self._say("switch", self._active, f"switched from '{before}' to '{self._active}'")

    def _switched(self) -> None:
        """The parameter says who is active."""
        name = self._manager.active.name
        if self._node.get_parameter("controller").value != name:
            self._node.set_parameters([Parameter("controller", value=name)])

    def _prepare_fallback(self, config: FallbackConfig) -> Callable[[], None]:
        self._check_chain(config)
        return partial(self._set_fallback, config)

    def _check_chain(self, config: FallbackConfig) -> None:
        kinds = self._factory.kinds
        for name in config.chain:
            if kind_of(name, kinds) is None and name not in self._manager.controllers:
                raise ValueError(f"chain: there is no controller '{name}' ({', '.join(kinds)})")

    def _set_fallback(self, config: FallbackConfig) -> None:
        self._manager.fallback = config
        for controller in self._manager.controllers.values():
            if isinstance(controller, PlanningController):
                controller.max_late = config.max_misses

    def _report(self) -> None:
        if not self._ticking:
            return
        status = ControllerStatus(
            stopped=bool(self._stops.reason),
            dry_run=self._settings.dry_run,
            ticks=self._ticks,
            deadline_misses=self.misses,
            unacknowledged=self._delivery.unacknowledged,
            dropped=self._delivery.dropped,
        )
        self._reports.publish(
            status,
            self.loop,
            self._manager,
            self.models,
            self.reader.refused | self._inputs.refused,
            self.reader.ages(),
            self.robot_time(),
        )

    def close(self) -> None:
        """Ends planning threads, topics and services."""
        self._manager.on_change = lambda: None
        self._undo.close()


def _entities(node: Node) -> dict[str, set[Any]]:
    """What a node has, by kind."""
    return {kind: set(getattr(node, f"{kind}s")) for kind in KINDS}


def _destroy_since(node: Node, before: dict[str, set[Any]]) -> None:
    for kind, entities in _entities(node).items():
        for entity in entities - before[kind]:
            getattr(node, f"destroy_{kind}")(entity)
