"""A planar runner of two legs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pybullet
from numpy.typing import NDArray

from sim.messages import POSE, TWIST, Message, empty, set_vector
from sim.robot import BulletRobot

ROOT = ("ignorex", "ignorez", "ignorey")  # the joints between the world and the torso
HEIGHT = 0.7  # m, of the torso where the second of them is 0


class Leg(NamedTuple):
    """What MuJoCo's file says of a joint, and PyBullet does not read."""

    stiffness: float  # N m/rad, of a spring towards 0
    damping: float  # N m s/rad
    low: float  # rad
    high: float


LEGS = {
    "bthigh": Leg(240.0, 6.0, -0.52, 1.05),
    "bshin": Leg(180.0, 4.5, -0.785, 0.785),
    "bfoot": Leg(120.0, 3.0, -0.4, 0.785),
    "fthigh": Leg(180.0, 4.5, -1.0, 0.7),
    "fshin": Leg(120.0, 3.0, -1.2, 0.87),
    "ffoot": Leg(60.0, 1.5, -0.5, 0.5),
}


class HalfCheetah(BulletRobot):
    """MuJoCo's half-cheetah as PyBullet reads it, with the springs and dampers of its joints.

    Besides joint states it gives the pose of its torso (geometry_msgs/PoseStamped) and how that
    moves (geometry_msgs/TwistStamped), both in the frame `odom`.
    """

    def build(self) -> int:
        """On a floor that holds, with the ranges of its joints."""
        self.floor()
        body = super().build()
        for index in range(pybullet.getNumJoints(body, physicsClientId=self.world)):
            name = pybullet.getJointInfo(body, index, physicsClientId=self.world)[1].decode()
            pybullet.changeDynamics(
                body,
                index,
                lateralFriction=0.8,
                restitution=0.0,
                linearDamping=0.0,
                angularDamping=0.0,
                jointDamping=0.0,
                physicsClientId=self.world,
            )
            if name in LEGS:
                pybullet.changeDynamics(
                    body,
                    index,
                    jointLowerLimit=LEGS[name].low,
                    jointUpperLimit=LEGS[name].high,
                    physicsClientId=self.world,
                )
        self.legs = [index for index, _ in self._legs(body)]
        legs = [leg for _, leg in self._legs(body)]
        self.stiffness = np.array([leg.stiffness for leg in legs])
        self.damping = np.array([leg.damping for leg in legs])
        return body

    def _legs(self, body: int) -> list[tuple[int, Leg]]:
        count = pybullet.getNumJoints(body, physicsClientId=self.world)
        names = {
            pybullet.getJointInfo(body, i, physicsClientId=self.world)[1].decode(): i
            for i in range(count)
        }
        return [(names[name], leg) for name, leg in LEGS.items()]

    def place(self) -> None:
        """At the origin, no foot in the floor."""
        x, z, _ = (self.joint(name).index for name in ROOT)
        for index in (x, z):
            pybullet.resetJointState(self.body, index, 0.0, 0.0, physicsClientId=self.world)
        pybullet.performCollisionDetection(physicsClientId=self.world)
        near = pybullet.getClosestPoints(self.ground, self.body, 0.0, physicsClientId=self.world)
        deepest = min([0.0, *(point[8] for point in near)])
        pybullet.resetJointState(self.body, z, -deepest, 0.0, physicsClientId=self.world)

    def actuate(self, action: NDArray[np.float64]) -> None:
        """Efforts of its motors, with those of springs and dampers."""
        states = pybullet.getJointStates(self.body, self.legs, physicsClientId=self.world)
        angle, speed = (np.array([state[k] for state in states]) for k in range(2))
        forces = action - self.stiffness * angle - self.damping * speed
        pybullet.setJointMotorControlArray(
            self.body,
            self.legs,
            pybullet.TORQUE_CONTROL,
            forces=forces.tolist(),
            physicsClientId=self.world,
        )

    def message(self, kind: str) -> Message:
        """What a sensor gives now.

        Raises:
            SpecError: this robot has no such sensor.
        """
        if kind not in (POSE, TWIST):
            return super().message(kind)
        root = [self.joint(name).index for name in ROOT]
        states = pybullet.getJointStates(self.body, root, physicsClientId=self.world)
        (x, z, pitch), (vx, vz, turning) = ([state[k] for state in states] for k in range(2))
        message = empty(kind)
        message.header.frame_id = "odom"
        if kind == POSE:
            set_vector(message.pose.position, (x, 0.0, HEIGHT + z))
            half = pitch / 2
            set_vector(message.pose.orientation, (0.0, math.sin(half), 0.0, math.cos(half)))
        else:
            set_vector(message.twist.linear, (vx, 0.0, vz))
            set_vector(message.twist.angular, (0.0, turning, 0.0))
        return message

    def show(self, kind: str, message: Message) -> None:
        """Puts the torso where a pose says, or the joints as any robot's."""
        if kind != POSE:
            super().show(kind, message)
            return
        place, turned = message.pose.position, message.pose.orientation
        pitch = 2 * math.atan2(turned.y, turned.w)
        values = place.x, place.z - HEIGHT, pitch
        if all(map(math.isfinite, values)):
            for name, value in zip(ROOT, values, strict=True):
                self._put(self.joint(name).index, value)
