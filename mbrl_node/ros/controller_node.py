"""The controller node: paces the control loop and connects it to the robot's topics."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticArray
from mbrl_msgs.msg import ControllerState, ControllerStatus, ModelUpdate, Plan, Transition
from mbrl_msgs.srv import ListControllers, SwitchController
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from mbrl_node.control import (
    Controller,
    ControllerManager,
    ControlLoop,
    Hold,
    Observation,
    Pacer,
    PlanningController,
    PolicyController,
    RandomActions,
    SteadyClock,
    SwitchError,
    TimedPlan,
)
from mbrl_node.models import CheckpointError, load_checkpoint, newest_checkpoint
from mbrl_node.planning import (
    PLANNERS,
    ActionSpace,
    Planner,
    Rollout,
    RolloutConfig,
    graphed,
)
from mbrl_node.ros.clock import SimulatedClock
from mbrl_node.ros.convert import plan_to_msg, to_time, transition_to_msg
from mbrl_node.ros.device import torch_device
from mbrl_node.ros.parameters import declare, declare_config, declare_robot, forward_logs
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.ros.qos import LATEST, TRANSITIONS
from mbrl_node.ros.state_reader import StateReader
from mbrl_node.ros.status import Period, diagnostics, status_line
from mbrl_node.spec.plugins import find, plugins
from mbrl_node.spec.task import Task

CONTROLLERS = (*PLANNERS, "policy", "random", "hold")
PLANNER_GROUP, CONTROLLER_GROUP = "mbrl.planners", "mbrl.controllers"


class ControllerNode(Node):
    """Runs the control loop in the main thread; callbacks come in another, plans in a third."""

    def __init__(self) -> None:
        super().__init__("mbrl_controller")
        forward_logs(self)
        torch.set_num_threads(1)
        self._spec = spec = declare_robot(self)
        names = [*CONTROLLERS, *plugins(PLANNER_GROUP, CONTROLLERS)]
        names += plugins(CONTROLLER_GROUP, names)
        known = ", ".join(names)
        first = declare(self, "controller", "mppi", f"active at the start: {known}")
        if first not in names:
            raise ConfigurationError(
                f"mbrl_controller: parameter controller: '{first}' is not one of {known}"
            )
        seed = declare(self, "seed", 0, "of random numbers")
        self._device = torch_device(declare(self, "device", "cpu", "where it plans: cpu or cuda"))
        run_dir = declare(
            self, "run_dir", "", "the run's folder; its newest model is used at the start"
        )
        self._learn = declare(self, "learn", True, "wait for the learner before the first command")
        self._duration = declare(
            self, "duration", 0.0, "robot time after which it ends, s; 0: never"
        )
        self._rollout = declare_config(self, "rollout", RolloutConfig)
        simulated = self.get_parameter("use_sim_time").value
        self._pace_clock = SimulatedClock(self) if simulated else SteadyClock()
        self._reader = StateReader(self, spec, self._robot_time)

        controllers = self._make_controllers(names, first, seed)
        self._planning = [c for c in controllers if isinstance(c, PlanningController)]
        uses_model = (PlanningController, PolicyController)
        self._learned = [c for c in controllers if isinstance(c, uses_model)]
        controllers.sort(key=lambda c: c.name != first)
        self._manager = ControllerManager(controllers, "random" if self._learn else "hold", "hold")
        self._loop = ControlLoop(spec, self._manager, session=time.time_ns())

        self._commands = self.create_publisher(Float64MultiArray, spec.action.topic, 1)
        self._transitions = self.create_publisher(Transition, "~/transitions", TRANSITIONS)
        self._plans = self.create_publisher(Plan, "~/plan", 1)
        self._status = self.create_publisher(ControllerStatus, "~/status", 1)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self.create_subscription(ModelUpdate, "mbrl_learner/model", self._on_model, LATEST)
        self.create_service(SwitchController, "~/switch_controller", self._on_switch)
        self.create_service(ListControllers, "~/list_controllers", self._on_list)
        self._reset = (
            self.create_client(Trigger, spec.episode.reset_service)
            if spec.episode.reset_service
            else None
        )
        self._reset_pending = threading.Event()
        self._reset_again_at = math.inf  # time.monotonic at which an answer is no longer expected
        self._not_before = 0  # robot time of the last reset, ns
        self._model_lock = threading.Lock()
        self._model_version, self._held_out_error = 0, math.nan
        self._misses, self._ticks = 0, 0
        self._period = Period()
        self._refusals = ""
        self.create_timer(1.0, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        if run_dir:
            self._load_newest(
                Path(run_dir),
                required=not self._learn and self._manager.active in self._learned,
            )

    def _make_controllers(self, names: list[str], first: str, seed: int) -> list[Controller]:
        """A plugin that cannot be used is left out, unless it is the first to act."""
        made = []
        for name in names:
            try:
                made.append(self._make_controller(name, seed))
            except ConfigurationError:
                raise
            except Exception as error:  # whatever somebody else's code raises
                if name in CONTROLLERS:
                    raise
                problem = f"controller '{name}': {type(error).__name__}: {error}"
                if name == first:
                    raise ConfigurationError(f"mbrl_controller: {problem}") from error
                self.get_logger().warning(f"{problem}; it is left out")
        return made

    def _make_controller(self, name: str, seed: int) -> Controller:
        if name == "random":
            return RandomActions(name, self._spec, seed=seed)
        if name == "hold":
            return Hold(name, self._spec)
        if name == "policy":
            return PolicyController(name)
        if name in plugins(CONTROLLER_GROUP):
            make: Callable[..., Controller] = find(CONTROLLER_GROUP, name, {}, Controller)
            return make(name, self._spec)
        planner = find(PLANNER_GROUP, name, PLANNERS, Planner)
        space, dt = ActionSpace.of(self._spec).to(self._device), self._spec.dt
        return PlanningController(
            name,
            graphed(planner(declare_config(self, name, planner.Config), space, dt, seed)),
            dt,
            on_plan=partial(self._on_plan, name),
            wants_states=lambda: self._plans.get_subscription_count() > 0,
        )

    # Control: the main thread.

    def run(self, stop: threading.Event) -> None:
        """Ticks until told to stop, or the duration is over; leaves the robot with its safe
        command."""
        try:
            if self._wait_until_ready(stop):
                self._control(stop)
        finally:
            self._leave_safe()

    def _wait_until_ready(self, stop: threading.Event) -> bool:
        waiting = ""
        patience = time.monotonic() + 30.0  # s, for the learner only
        while not stop.is_set():
            state = self._reader.read()
            if isinstance(state, str):
                missing = state
            elif self._learn and self._transitions.get_subscription_count() == 0:
                if time.monotonic() > patience:
                    self.get_logger().warning("no learner came in 30 s; starting without")
                    return True
                missing = "no learner yet"
            else:
                return True
            if missing != waiting:
                self.get_logger().info(f"waiting: {missing}")
                waiting = missing
            stop.wait(0.02)
        return False

    def _control(self, stop: threading.Event) -> None:
        pacer = Pacer(round(self._spec.dt * 1e9), self._pace_clock)
        simulated = isinstance(self._pace_clock, SimulatedClock)
        while not stop.is_set():
            began = pacer.wait()
            self._misses = pacer.missed
            if began is None:
                continue  # the clock stands still, was set back, or the node is to stop
            if simulated:
                self._reader.wait_for(pacer.deadline, patience=0.005)
            self._tick()
            self._period.add(began, time.monotonic_ns())
            if self._duration and self._loop.robot_time >= self._duration:
                self.get_logger().info(f"the duration of {self._duration:g} s is over")
                return

    def _tick(self) -> None:
        state = self._reader.read(self._not_before)
        if isinstance(state, str):
            tick = self._loop.tick(None, state, self._send)
        else:
            tick = self._loop.tick(Observation(self._robot_time(), *state), send=self._send)
        self._ticks += 1
        if tick.transition is not None:
            self._transitions.publish(transition_to_msg(tick.transition, self._spec))
        for event in tick.events:
            self.get_logger().info(event)
        if tick.reset:
            self._reset_pending.set()
        unanswered = self._loop.resetting and time.monotonic() > self._reset_again_at
        if self._reset_pending.is_set() or unanswered:
            self._ask_for_reset()
        if self._loop.safe_reason != self._refusals:
            self._refusals = self._loop.safe_reason
            if self._refusals:
                self.get_logger().warning(f"safe command: {self._refusals}")

    def _send(self, action: NDArray[np.float64]) -> None:
        self._commands.publish(Float64MultiArray(data=action.tolist()))

    def _ask_for_reset(self) -> None:
        if self._reset is None or not self._reset.service_is_ready():
            self.get_logger().warning(
                f"waiting for service {self._spec.episode.reset_service}", throttle_duration_sec=5.0
            )
            return
        self._reset_pending.clear()
        self._reset_again_at = time.monotonic() + 5.0
        self._reset.call_async(Trigger.Request()).add_done_callback(self._on_reset)

    def _leave_safe(self) -> None:
        """Takes the command to the safe one within the rate limits, and waits until it has
        arrived."""
        for _ in range(round(1.0 / self._spec.dt)):
            action = self._loop.tick(None, "the node is ending", self._send).action
            if np.allclose(action, self._spec.action_safe):
                break
            time.sleep(self._spec.dt)
        self._commands.wait_for_all_acked(Duration(seconds=0.3))
        self.get_logger().info("stopped; the robot has its safe command")

    def close(self) -> None:
        """Ends the planning threads."""
        self._manager.close()
        if isinstance(self._pace_clock, SimulatedClock):
            self._pace_clock.close()

    # Callbacks: the callback thread.

    def _robot_time(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _on_reset(self, future) -> None:  # type: ignore[no-untyped-def]
        response = future.result()
        if response is None or not response.success:
            self.get_logger().error(
                f"the reset failed: {response.message if response else 'no answer'}"
            )
            self._reset_pending.set()
            return
        self._not_before = self._robot_time()
        self._loop.begin_episode()

    def _on_plan(self, controller: str, plan: TimedPlan) -> None:
        self._period.add_plan(plan)
        if plan.states is not None:
            self._plans.publish(plan_to_msg(plan, controller, self._spec))

    def _on_model(self, msg: ModelUpdate) -> None:
        # Reading the file takes milliseconds that the clock's callback must not wait.
        threading.Thread(target=self._take_model, args=(msg,), daemon=True).start()

    def _take_model(self, msg: ModelUpdate) -> None:
        try:
            if msg.spec_hash != self._spec.hash:
                raise CheckpointError(f"{msg.path}: is of another robot than '{self._spec.name}'")
            model, _ = load_checkpoint(Path(msg.path), self._spec)
        except CheckpointError as error:
            self.get_logger().error(f"model {msg.version} refused: {error}")
            return
        self._use_model(model, msg.version, msg.held_out_error)

    def _load_newest(self, run_dir: Path, required: bool) -> None:
        newest = newest_checkpoint(run_dir / "models", self._spec)
        if newest is not None:
            _, model, info = newest
            self._use_model(model, int(info["version"]), float(info["held_out_error"]))  # type: ignore
        elif required:
            raise ConfigurationError(
                f"{run_dir}: has no model of '{self._spec.name}', and learn is false"
            )

    def _use_model(self, model, version: int, held_out_error: float) -> None:  # type: ignore[no-untyped-def]
        rollout = Rollout(model.to(self._device), Task.of(self._spec), self._rollout)
        with self._model_lock:
            if version <= self._model_version:
                return
            self._model_version, self._held_out_error = version, held_out_error
            for controller in self._learned:
                controller.set_model(rollout, version)

    def _on_switch(
        self, request: SwitchController.Request, response: SwitchController.Response
    ) -> SwitchController.Response:
        strict = request.strictness == SwitchController.Request.STRICT
        try:
            response.message = self._manager.switch(
                request.activate_controllers, request.deactivate_controllers, strict
            )
            response.ok = True
            self.get_logger().info(response.message)
        except SwitchError as error:
            response.ok, response.message = False, str(error)
            self.get_logger().warning(f"switch refused: {error}")
        return response

    def _on_list(
        self, request: ListControllers.Request, response: ListControllers.Response
    ) -> ListControllers.Response:
        response.controller = [
            ControllerState(
                name=c.name,
                state="active" if c is self._manager.active else "inactive",
                type=type(c).__name__,
                ready=not c.not_ready,
                reason=c.not_ready,
            )
            for c in self._manager.controllers.values()
        ]
        return response

    def _report(self) -> None:
        """Once a second: status message, diagnostics and a line for people."""
        if self._ticks == 0:
            return
        loop = self._loop
        seconds = self._period.take()
        msg = ControllerStatus(
            robot=self._spec.name,
            active_controller=self._manager.active.name,
            acting_controller=self._manager.acting.name,
            safe_reason=loop.safe_reason,
            episode=loop.episode,
            episode_time=loop.episode_time,
            episode_return=loop.episode_return,
            last_return=loop.last_return,
            model_version=self._model_version,
            held_out_error=self._held_out_error,
            rate=seconds.rate,
            lateness_max=seconds.lateness_max,
            ticks=self._ticks,
            deadline_misses=self._misses,
            late_plans=sum(c.late_plans for c in self._planning),
            plan_time=seconds.plan_time,
            transitions=loop.transitions,
            held_time=loop.held_time,
            solved_at=loop.solved_at,
        )
        if seconds.effort is not None:
            msg.plan_samples = seconds.effort.samples
            msg.plan_iterations = seconds.effort.iterations
        msg.header.stamp = to_time(self._robot_time())
        self._status.publish(msg)
        self._diagnostics.publish(diagnostics(msg, self._reader.refused))
        self.get_logger().info(status_line(msg, loop.robot_time))
