"""The simulator as a ROS 2 node: joint states and the clock out, effort commands in, as a real
robot's drivers have it."""

from __future__ import annotations

import threading
import time

import numpy as np
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from mbrl_node.ros.convert import to_time
from mbrl_node.ros.parameters import declare, declare_robot
from mbrl_node.ros.process import ConfigurationError
from sim.robot import BulletRobot


class SimNode(Node):
    """Steps the physics in the main thread; commands come in another and take effect at the next
    step.

    Simulated time starts at 0 and runs at `speed` times real time; if the machine is too slow for
    that, it runs slower, and says so.
    """

    def __init__(self) -> None:
        super().__init__("mbrl_sim")
        spec = declare_robot(self, simulates=True)
        seed = declare(self, "seed", 0, "of the initial states")
        gui = declare(self, "gui", False, "opens PyBullet's window")
        self._speed = declare(self, "speed", 1.0, "simulated seconds a second")
        if self._speed <= 0:
            raise ConfigurationError(f"mbrl_sim: parameter speed: {self._speed} must be above 0")
        self._robot = BulletRobot(spec, seed, gui)
        assert spec.sim is not None
        self._steps_a_reading = round(spec.sim.physics_rate / spec.sim.state_rate)
        self._lock = threading.Lock()  # around everything that touches the robot
        self._states = self.create_publisher(JointState, spec.state[0].topic, 10)
        self._time = self.create_publisher(Clock, "/clock", 10)
        self.create_subscription(Float64MultiArray, spec.action.topic, self._on_command, 1)
        self.create_service(Trigger, spec.episode.reset_service or "/reset", self._on_reset)

    def _on_command(self, msg: Float64MultiArray) -> None:
        try:
            with self._lock:
                self._robot.command(np.array(msg.data))
        except ValueError as error:
            self.get_logger().warning(f"command refused: {error}", throttle_duration_sec=5.0)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            self._robot.reset()
        response.success, response.message = True, "the robot is at its initial state"
        return response

    def run(self, stop: threading.Event) -> None:
        """Simulates until told to stop."""
        wall_step = self._robot.dt / self._speed
        step = 0
        self._publish(0)
        deadline = time.monotonic()
        while not stop.is_set():
            deadline += wall_step
            behind = time.monotonic() - deadline
            if behind < 0:
                time.sleep(-behind)
            elif behind > 0.2:
                self.get_logger().warning(
                    f"slower than speed {self._speed:g}: {behind:.1f} s behind",
                    throttle_duration_sec=5.0,
                )
                deadline += behind
            with self._lock:
                self._robot.step()
            step += 1
            if step % self._steps_a_reading == 0:
                self._publish(round(step * self._robot.dt * 1e9))

    def _publish(self, now: int) -> None:
        with self._lock:
            reading = self._robot.read()
        stamp = to_time(now)
        state = JointState(
            name=reading.names,
            position=reading.position,
            velocity=reading.velocity,
            effort=reading.effort,
        )
        state.header.stamp = stamp
        self._states.publish(state)
        self._time.publish(Clock(clock=stamp))

    def close(self) -> None:
        """Ends the simulation."""
        with self._lock:
            self._robot.close()
