"""The controller node: a managed node whose main thread is the control loop.

    unconfigured --configure--> inactive --activate--> active
                 <--cleanup----          <-deactivate-

Only while it is active it commands the robot. With `autostart` it goes there by itself.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from mbrl_node.control import Pacer, SteadyClock, Stops
from mbrl_node.data import StoreError
from mbrl_node.learning import LearnerConfig
from mbrl_node.ros.clock import SimulatedClock
from mbrl_node.ros.control_system import ControlSystem, Settings
from mbrl_node.ros.controllers import known_kinds
from mbrl_node.ros.device import torch_device
from mbrl_node.ros.lockstep import StepError, SteppedLearner, SteppedRobot
from mbrl_node.ros.logs import forward_logs
from mbrl_node.ros.parameters import LiveParameters, declare, declare_robot, settings_of
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.ros.realtime import make_real_time, settle_memory
from mbrl_node.ros.taken import NoExecutor
from mbrl_node.spec import PluginError, SpecError

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
LONGEST_RAMP = 2.0  # s for the command to become the safe one


class ControllerNode(LifecycleNode):
    """Runs the control loop in the main thread; callbacks come in others, plans in one more."""

    def __init__(self) -> None:
        self._clock_subscription: Any = None
        super().__init__("mbrl_controller")
        self._end_logs = forward_logs(self)
        torch.set_num_threads(1)
        self._spec = declare_robot(self)
        self._live = LiveParameters(self, settings_of(self._spec))
        self._settings = self._declare_settings()
        self._autostart = declare(self, "autostart", True, "configure and activate at the start")
        self._priority = declare(
            self, "thread_priority", 50, "real-time priority; 0: none", limits=(0, 98)
        )
        self._duration = declare(
            self,
            "duration",
            0.0,
            "robot time after which it ends, s; 0: never",
            limits=(0, math.inf),
        )
        self.add_on_set_parameters_callback(self._keep_clock)
        service = self._service_change_state
        service.callback = partial(self._on_change_state, service.callback)
        self._system: ControlSystem | None = None
        self._stops = Stops()  # one that is latched outlasts every transition
        self._active = threading.Event()  # the control thread is to command the robot
        self._resting = threading.Event()  # it does not
        self._resting.set()
        self._ending = threading.Event()
        self._problem = ""  # of the last transition that failed
        self._pace_clock: SteadyClock | SimulatedClock = SteadyClock()
        if self._settings.simulated and not self._settings.sync:
            self._pace_clock = SimulatedClock(self, self._clock_subscription, self._spec.dt)

    def create_subscription(self, kind: Any, topic: str, *args: Any, **kwargs: Any) -> Any:
        """As Node's; but /clock is for the control thread to take."""
        if topic != "/clock":
            return super().create_subscription(kind, topic, *args, **kwargs)
        group = NoExecutor()
        subscription = super().create_subscription(kind, topic, *args, callback_group=group)
        self._clock_subscription = subscription
        return subscription

    def _declare_settings(self) -> Settings:
        known = ", ".join(known_kinds())
        first = str(self._spec.settings.get("controller", "mppi"))
        declare(self, "controller", first, f"the active one: {known}, or a loaded one", live=True)
        sync = declare(self, "sync", False, "in lock-step with a simulator and a learner")
        return Settings(
            declare(self, "seed", 0, "of random numbers"),
            torch_device(declare(self, "device", "cpu", "where it plans: cpu or cuda")),
            declare(self, "run_dir", "", "the run's folder; its newest model is used at the start"),
            declare(self, "learn", True, "wait for the learner before the first command"),
            bool(self.get_parameter("use_sim_time").value),
            sync,
            declare(self, "dry_run", False, "plan and log, but command nothing"),
            declare(
                self, "deadman.topic", "", "std_msgs/Bool that must say true; empty: not needed"
            ),
            declare(
                self,
                "deadman.timeout",
                0.5,
                "age from which its message counts no more, s",
                limits=(0.0, math.inf),
            ),
        )

    def _keep_clock(self, parameters: list[Parameter]) -> SetParametersResult:
        """rclpy would take /clock away from the control thread."""
        for parameter in parameters:
            if parameter.name == "use_sim_time" and parameter.value != self._settings.simulated:
                reason = "use_sim_time: can be set at the start only"
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    # Lifecycle: the callback thread.

    def _on_change_state(self, change: Callable[[Any, Any], Any], request: Any, answer: Any) -> Any:
        """rclpy would leave whoever asks for a transition that is not there without an answer."""
        wanted, machine = request.transition, self._state_machine
        known = {label: number for number, label, *_ in machine.available_transitions}
        if wanted.label in known or (not wanted.label and wanted.id in known.values()):
            return change(request, answer)
        self.get_logger().error(
            f"refused: transition {wanted.label or wanted.id}; from '{machine.current_state[1]}' "
            f"there are {', '.join(known)}"
        )
        answer.success = False
        return answer

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Makes controllers, topics and services."""
        return self._transition("configure", self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The control thread begins to command, from the safe command on."""
        return self._transition("activate", self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The robot is brought to its safe command; then there are no commands any more."""
        return self._transition("deactivate", self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Undoes `on_configure`."""
        return self._transition("clean up", self._clean_up)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The robot is brought to its safe command, and the process ends."""
        return self._transition("shut down", self._shut_down)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an error that nobody foresaw: as `on_cleanup`."""
        return self._transition("clean up", self._clean_up)

    def _transition(self, what: str, work: Callable[[], None]) -> TransitionCallbackReturn:
        """rclpy would say nothing of an exception."""
        try:
            work()
        except (ConfigurationError, SpecError, PluginError, StoreError) as error:
            self._problem = str(error)
        except Exception as error:
            self._problem = f"{type(error).__name__}: {error}"
        else:
            return SUCCESS
        if not self._autostart or what != "configure":  # else it is said as the process ends
            self.get_logger().error(f"cannot {what}: {self._problem}")
        return FAILURE

    def _configure(self) -> None:
        self._system = ControlSystem(self, self._spec, self._settings, self._live, self._stops)

    def _activate(self) -> None:
        settle_memory()
        self._resting.clear()
        self._active.set()

    def _deactivate(self) -> None:
        self._active.clear()
        if not self._resting.wait(LONGEST_RAMP + 1.0):
            raise TimeoutError("the control thread does not come to rest")

    def _clean_up(self) -> None:
        self._deactivate()
        if self._system is not None:
            self._system.close()
            self._system = None

    def _shut_down(self) -> None:
        self._deactivate()
        # In the same callback group as the request, so that it is answered before the end.
        self.create_timer(0.01, self._ending.set, clock=Clock(clock_type=ClockType.STEADY_TIME))

    # Control: the main thread.

    def run(self, stop: threading.Event) -> None:
        """Controls the robot while active, until told to stop or the duration is over.

        Raises:
            ConfigurationError: it is to start by itself and cannot.
        """
        if self._autostart:
            self.trigger_configure()
            if self._system is None:
                raise ConfigurationError(self._problem)
            self.trigger_activate()
        self._autostart = False
        if not self._settings.sync:
            self.get_logger().info(f"control has {make_real_time(self._priority)}")
        while not (stop.is_set() or self._ending.is_set()):
            if not self._active.is_set():
                self._pace_clock.now()  # takes /clock, so that the node's time goes on
                if (system := self._system) is not None:
                    system.poll_stops()
                self._active.wait(0.05)
                continue
            self._control_until(stop)
        if (system := self._system) is not None:
            system.settle()

    def _control_until(self, stop: threading.Event) -> None:
        assert self._system is not None
        system = self._system
        system.begin()
        try:
            if self._settings.sync:
                self._control_in_lock_step(system, stop)
            elif self._wait_until_ready(system, stop):
                self._control(system, stop)
        except Exception as error:  # the robot must not be left with an old command
            self.get_logger().fatal(f"control failed: {type(error).__name__}: {error}")
            raise
        finally:
            self._leave_safe(system)
            system.end()
            self._resting.set()

    def _goes_on(self, stop: threading.Event) -> bool:
        return self._active.is_set() and not stop.is_set()

    def _wait_until_ready(self, system: ControlSystem, stop: threading.Event) -> bool:
        waiting = ""
        while self._goes_on(stop):
            self._pace_clock.now()
            missing = system.missing()
            if not missing:
                return True
            if missing != waiting:
                self.get_logger().info(f"waiting: {missing}")
                waiting = missing
            stop.wait(0.02)
        return False

    def _control(self, system: ControlSystem, stop: threading.Event) -> None:
        clock = self._pace_clock
        pacer = Pacer(round(self._spec.dt * 1e9), clock)
        missed = system.misses
        while self._goes_on(stop):
            slot = pacer.wait()
            system.misses = missed + pacer.missed
            if slot is not None:
                system.tick(slot, pacer.deadline)
            elif isinstance(clock, SimulatedClock) and clock.stands:
                system.stop_robot("the clock stands still")
                system.say_why_safe()
            if self._over(system, stop):
                return

    def _control_in_lock_step(self, system: ControlSystem, stop: threading.Event) -> None:
        """Asks the simulator for each step and the learner for each lesson: the same every time."""
        robot = SteppedRobot(self, self._spec, stop)
        learner = SteppedLearner(self, stop) if self._settings.learn else None
        period, text = _default(LearnerConfig, "period")
        period = self._spec.settings.get("learner", {}).get("period", period)
        period = declare(self, "learner.period", float(period), text, live=False)
        lesson, ticks = max(1, round(period * self._spec.rate)), 0
        while self._goes_on(stop) and not (robot.ready and (learner is None or learner.ready)):
            stop.wait(0.05)
        try:
            stamp, state = robot.reset()
            while self._goes_on(stop):
                tick = system.tick_in_lock_step(stamp, state, robot.age)
                ticks += 1
                if learner is not None and ticks % lesson == 0:
                    update = learner.learn(system.loop.session, system.loop.transitions)
                    if update is not None:
                        system.models.take(update)
                if tick.reset:
                    stamp, state = robot.reset()
                    system.loop.begin_episode()
                else:
                    stamp, state = robot.step(tick.action)
                if self._over(system, stop):
                    return
        except StepError as error:
            if self._goes_on(stop):
                raise ConfigurationError(f"lock-step: {error}") from error
        finally:
            robot.close()
            if learner is not None:
                learner.close()

    def _over(self, system: ControlSystem, stop: threading.Event) -> bool:
        if not self._duration or system.loop.robot_time < self._duration:
            return False
        self.get_logger().info(f"the duration of {self._duration:g} s is over")
        self._ending.set()
        return True

    def _leave_safe(self, system: ControlSystem) -> None:
        """Takes the command to the safe one within the limits, and waits until it has arrived."""
        if self._settings.sync:
            return  # the robot does not move any more
        until = time.monotonic() + LONGEST_RAMP
        while not system.stop_robot("control ends") and time.monotonic() < until:
            time.sleep(self._spec.dt)
        system.confirm()
        self.get_logger().info("stopped; the robot has its safe command")

    def close(self) -> None:
        """Ends the planning threads."""
        if self._system is not None:
            self._system.close()
        self._end_logs()


def _default(config: Any, name: str) -> tuple[Any, str]:
    field = config.model_fields[name]
    return field.default, field.description or ""
