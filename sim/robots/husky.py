"""A skid-steered vehicle, commanded by speed and turn, that knows where it is."""

from __future__ import annotations

import numpy as np
import pybullet
from numpy.typing import NDArray

from mbrl_node.spec import SpecError
from sim.messages import ODOMETRY, Message, empty, set_vector
from sim.robot import BulletRobot

WHEELS = ("front_left_wheel", "front_right_wheel", "rear_left_wheel", "rear_right_wheel")
RADIUS = 0.1651  # m, of a wheel
TRACK = 0.5708  # m, from the left wheels to the right ones
TORQUE = 60.0  # N m, of a wheel
HEIGHT = 0.15  # m, of the base at the start


class Husky(BulletRobot):
    """Clearpath's Husky. Actions are its speed, m/s, and turn, rad/s; its wheels slip as it turns.

    Its sensor is a nav_msgs/Odometry: the pose in the frame `odom`, speeds in that of `base_link`,
    as REP 105 has them.
    """

    def build(self) -> int:
        """Seen from above.

        Raises:
            SpecError: the action is not a speed and a turn.
        """
        if len(self.spec.action.fields) != 2:
            raise SpecError([f"{self.spec.name}: action.fields: a husky has two: speed and turn"])
        self.camera.pitch, self.camera.distance = -40.0, 8.0
        return super().build()

    def place(self) -> None:
        """At the origin, with any heading, at rest."""
        yaw = float(self.rng.uniform(-np.pi, np.pi))
        turned = pybullet.getQuaternionFromEuler((0.0, 0.0, yaw))
        pybullet.resetBasePositionAndOrientation(
            self.body, (0.0, 0.0, HEIGHT), turned, physicsClientId=self.world
        )
        pybullet.resetBaseVelocity(
            self.body, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), physicsClientId=self.world
        )

    def actuate(self, action: NDArray[np.float64]) -> None:
        """Turns the wheels of each side as fast as the speed and the turn ask for."""
        speed, turn = action.tolist()
        left, right = ((speed + sign * turn * TRACK / 2) / RADIUS for sign in (-1.0, 1.0))
        pybullet.setJointMotorControlArray(
            self.body,
            [self.joint(name).index for name in WHEELS],
            pybullet.VELOCITY_CONTROL,
            targetVelocities=[left, right, left, right],
            forces=[TORQUE] * 4,
            physicsClientId=self.world,
        )

    def message(self, kind: str) -> Message:
        """What a sensor gives now.

        Raises:
            SpecError: this robot has no such sensor.
        """
        if kind != ODOMETRY:
            return super().message(kind)
        position, turned = pybullet.getBasePositionAndOrientation(
            self.body, physicsClientId=self.world
        )
        velocity, turning = pybullet.getBaseVelocity(self.body, physicsClientId=self.world)
        to_body = np.reshape(pybullet.getMatrixFromQuaternion(turned), (3, 3)).T
        message = empty(ODOMETRY)
        message.header.frame_id, message.child_frame_id = "odom", "base_link"
        set_vector(message.pose.pose.position, position)
        set_vector(message.pose.pose.orientation, turned)
        set_vector(message.twist.twist.linear, tuple(to_body @ velocity))
        set_vector(message.twist.twist.angular, tuple(to_body @ turning))
        return message
