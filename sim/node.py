"""The simulator as a ROS 2 node: states and the clock out, commands in, as a real robot's drivers
have it."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import Any

import numpy as np
from mbrl_msgs.srv import ChangeRobot, Step
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from std_srvs.srv import SetBool, Trigger

from mbrl_node.ros.extract import field_types, message_class
from mbrl_node.ros.lockstep import LockStepService, StepError
from mbrl_node.ros.parameters import declare, declare_robot
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.ros.realtime import settle_memory
from mbrl_node.ros.stamps import to_time
from mbrl_node.ros.taken import Taken
from mbrl_node.spec.commands import compile_command
from sim.changes import PlannedChange, parse_changes
from sim.messages import copy_to
from sim.robots import make_robot
from sim.sensors import Measurement, Sensors

MAX_BEHIND = 0.2  # s; a machine that is further behind gives up catching up
MAX_DURATION = 60.0  # s of simulated time in one step of lock-step


class SimNode(Node):
    """Steps the physics in the main thread; services come in another.

    A command is taken just before a physics step, so it holds from the state it was computed on if
    it comes within one physics step of it. Without commands for `command_timeout` the robot gets
    its safe command, as from the drivers of a real one.

    Simulated time starts at 0 and runs at `speed` times real time; if the machine is too slow for
    that, it runs slower, and says so. With `clock:=false` it does as a real robot: its stamps are
    the system's time, and there is no /clock. With `sync:=true` it stands still but for what
    `~/step` asks for.

    The robot can become another one: at the times that `change` plans, and by `~/change`.
    """

    def __init__(self) -> None:
        super().__init__("mbrl_sim")
        self._spec = spec = declare_robot(self, simulates=True)
        assert spec.sim is not None
        seed = declare(self, "seed", 0, "of the initial states")
        gui = declare(self, "gui", False, "opens PyBullet's window")
        self._speed = declare(self, "speed", 1.0, "simulated seconds a second")
        clock = declare(
            self, "clock", True, "publish /clock and stamp with it; false: as a real robot"
        )
        sync = declare(self, "sync", False, "stand still but for what ~/step asks for")
        timeout = declare(
            self,
            "command_timeout",
            0.5,
            "simulated time without a command until the robot gets its safe one, s, at least 3 "
            "control periods; 0: never",
        )
        planned = declare(
            self,
            "change",
            "",
            "how the robot changes by itself: TIME WHAT OF VALUE, several separated by commas; "
            "TIME is simulated, s, and the rest as in mbrl_msgs/srv/ChangeRobot",
        )
        self._check(sync, clock, timeout)
        self._robot = make_robot(spec, seed, gui)
        self._sensors = Sensors(spec, self._robot, np.random.default_rng([seed, 1]))
        self._planned = self._plan(planned)  # and the step before which, the next first
        self._lock = threading.Lock()  # around the robot and the flags
        self._steps_a_tick = round(spec.sim.physics_rate / spec.sim.state_rate)  # of the clock
        self._patience = max(timeout, 3 * spec.dt) if timeout else math.inf  # s
        self._safe_at = math.inf  # steps at which the command becomes the safe one; inf: it is
        self._overdue = False
        self._running = threading.Event()
        self._running.set()
        self.refused = 0  # commands

        kinds = [message_class(topic.type) for topic in spec.state]
        self._messages, self._now = [kind() for kind in kinds], Clock()  # used again and again
        self._states = [
            self.create_publisher(kind, topic.topic, 10)
            for kind, topic in zip(kinds, spec.state, strict=True)
        ]
        self._clock = self.create_publisher(Clock, "/clock", 10) if clock else None
        self.create_service(Trigger, spec.episode.reset_service or "/reset", self._on_reset)
        self.create_service(ChangeRobot, "~/change", self._on_change)
        self._service: LockStepService | None = None
        if sync:
            self._service = LockStepService(self, Step, "~/step", self._on_step)
        else:
            self._values = compile_command(spec.action, field_types)
            self._commands = Taken(self, message_class(spec.action.type), spec.action.topic)
            self.create_service(SetBool, "~/pause", self._on_pause)

    def _check(self, sync: bool, clock: bool, timeout: float) -> None:
        spec = self._spec
        assert spec.sim is not None
        if self._speed <= 0:
            raise ConfigurationError(f"mbrl_sim: parameter speed: {self._speed} must be above 0")
        if not timeout >= 0:
            raise ConfigurationError(f"mbrl_sim: parameter command_timeout: {timeout} is below 0")
        if not clock and self._speed != 1:
            raise ConfigurationError(
                f"mbrl_sim: parameter speed: {self._speed} must be 1 when clock is false"
            )
        if sync and not clock:
            raise ConfigurationError("mbrl_sim: parameter clock: false must be true with sync")
        if sync and not _whole(spec.dt * spec.sim.physics_rate):
            raise ConfigurationError(
                f"mbrl_sim: parameter sync: a control period of {spec.dt:g} s is no whole number "
                f"of physics steps of {1 / spec.sim.physics_rate:g} s"
            )

    def _plan(self, text: str) -> deque[tuple[int, PlannedChange]]:
        try:
            changes = parse_changes(text)
            for change in changes:
                self._robot.check_change(change.what, change.of, change.value)
        except ValueError as error:
            raise ConfigurationError(f"mbrl_sim: parameter change: {error}") from error
        return deque((round(change.time / self._robot.dt), change) for change in changes)

    # Services: the callback thread.

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            self._reset()
        response.success, response.message = True, "the robot is at its initial state"
        return response

    def _reset(self) -> None:
        self._robot.reset()
        self._sensors.restart()
        self._safe_at = math.inf

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        with self._lock:  # so nothing is published after the answer
            if request.data:
                self._running.clear()
            else:
                self._running.set()
        response.success, response.message = True, "paused" if request.data else "running"
        return response

    def _on_change(
        self, request: ChangeRobot.Request, response: ChangeRobot.Response
    ) -> ChangeRobot.Response:
        try:
            with self._lock:
                response.message = self._change(request.what, request.of, request.value)
            response.success = True
        except ValueError as error:
            response.message = str(error)
            self.get_logger().warning(f"the robot stays as it is: {error}")
        return response

    def _change(self, what: str, of: str, value: float) -> str:
        """What has become of the robot, as a sentence."""
        text = self._robot.change(what, of, value)
        now = self._robot.steps * self._robot.dt
        self.get_logger().warning(f"the robot has changed at {now:.2f} s: {text}")
        return text

    # Physics: the main thread.

    def run(self, stop: threading.Event) -> None:
        """Simulates until told to stop."""
        settle_memory()
        self._publish(self._sensors.newest)
        if self._service is None:
            self._run_freely(stop)
        else:
            while not stop.is_set():
                self._service.serve(timeout=0.1)

    def _run_freely(self, stop: threading.Event) -> None:
        wall_step = self._robot.dt / self._speed
        deadline = time.monotonic()
        while not stop.is_set():
            deadline += wall_step
            behind = time.monotonic() - deadline
            if behind < 0:
                time.sleep(-behind)
            elif behind > MAX_BEHIND:
                self.get_logger().warning(
                    f"slower than speed {self._speed:g}: {behind:.1f} s behind",
                    throttle_duration_sec=5.0,
                )
                deadline += behind
            with self._lock:
                running = self._running.is_set()
                if running:
                    self._advance()
            if not running:
                while not (self._running.wait(0.1) or stop.is_set()):
                    pass
                deadline = time.monotonic()  # what was not simulated is not made up for

    def _advance(self) -> None:
        """One physics step, with the newest command from its beginning on."""
        if (command := self._commands.newest()) is not None:
            self._command(command)
        if self._robot.steps >= self._safe_at:
            self._robot.be_safe()
            self._safe_at, self._overdue = math.inf, True
            self.get_logger().warning(
                f"no command for {self._patience:g} s: the robot has its safe one until the next"
            )
        self._step_physics()
        arrived = self._sensors.look()
        if arrived or self._robot.steps % self._steps_a_tick == 0:
            self._publish(arrived)

    def _step_physics(self) -> None:
        while self._planned and self._planned[0][0] <= self._robot.steps:
            _, change = self._planned.popleft()
            self._change(change.what, change.of, change.value)
        self._robot.step()

    def _command(self, command: Any) -> None:
        try:
            self._robot.command(np.array(self._values(command)))
        except ValueError as error:
            self.refused += 1
            self.get_logger().warning(
                f"command refused, {self.refused} so far: {error}", throttle_duration_sec=5.0
            )
            return
        self._safe_at = self._robot.steps + self._patience / self._robot.dt
        if self._overdue:
            self._overdue = False
            self.get_logger().info("commands come again")

    def _on_step(self, request: Any, response: Any) -> None:
        """Answers `~/step`.

        Raises:
            StepError, ValueError: the request cannot be met, so nothing was done; or the physics
                have come to values that are not finite, and only a reset helps.
        """
        steps = request.duration / self._robot.dt
        if not 0 <= request.duration <= MAX_DURATION:
            raise StepError(f"duration: {request.duration} is not within 0 and {MAX_DURATION:g} s")
        if not _whole(steps):
            raise StepError(
                f"duration: {request.duration} s is no whole number of physics steps of "
                f"{self._robot.dt:g} s"
            )
        command = np.array(request.command)
        if len(command):
            self._robot.check(command)
        with self._lock:
            if request.reset:
                self._reset()
            if len(command):
                self._robot.command(command)
            for k in range(round(steps)):
                self._step_physics()
                self._sensors.look(now=k == round(steps) - 1)
            self._publish(self._sensors.newest)
        response.stamp, response.age = self._now.clock, self._sensors.age
        response.state, response.success = self._sensors.state.tolist(), True

    def _publish(self, measurements: list[Measurement]) -> None:
        """Publishes what was measured, stamped with when, and the clock."""
        now = round(self._robot.steps * self._robot.dt * 1e9)
        wall = time.time_ns()
        for measurement in measurements:
            message = self._messages[measurement.topic]
            copy_to(message, measurement.message)
            stamp = round(measurement.step * self._robot.dt * 1e9)
            message.header.stamp = to_time(stamp if self._clock else wall - (now - stamp))
            self._states[measurement.topic].publish(message)
        if self._clock is not None:
            self._now.clock = to_time(now)
            self._clock.publish(self._now)

    def close(self) -> None:
        """Ends the simulation."""
        with self._lock:
            self._robot.close()


def _whole(number: float) -> bool:
    return math.isfinite(number) and abs(number - round(number)) < 1e-6
