"""An arm that knows where its hand is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pybullet
from numpy.typing import NDArray

from sim.messages import POSE, Message, empty, set_vector
from sim.robot import BulletRobot, Joint

HAND = "panda_grasptarget"
FINGERS = ("panda_finger_joint1", "panda_finger_joint2")
DAMPING = (4.0, 4.0, 3.0, 3.0, 1.5, 1.5, 0.75)  # N m s/rad, of the gears from the base on


class Panda(BulletRobot):
    """Franka's arm with its hand closed. Commands are velocities or efforts of its seven joints; to
    efforts the arm adds what carries its weight, as the real one does.

    Besides joint states it gives the pose of its hand in the frame of its base, as a
    geometry_msgs/PoseStamped.
    """

    def build(self) -> int:
        """Where nothing brakes it but its gears."""
        body = super().build()
        pybullet.changeDynamics(body, -1, linearDamping=0.0, physicsClientId=self.world)
        return body

    def _movable_joints(self) -> dict[str, Joint]:
        """With gears that damp, of which its file knows nothing."""
        joints = super()._movable_joints()
        for (name, joint), damping in zip(list(joints.items()), DAMPING, strict=False):
            joints[name] = replace(joint, damping=damping)
            pybullet.changeDynamics(
                self.body, joint.index, jointDamping=damping, physicsClientId=self.world
            )
        return joints

    def actuate(self, action: NDArray[np.float64]) -> None:
        """As of any joints; efforts besides those that carry the arm."""
        fingers = [self.joint(name).index for name in FINGERS]
        pybullet.setJointMotorControlArray(
            self.body,
            fingers,
            pybullet.POSITION_CONTROL,
            targetPositions=[0.0] * 2,
            physicsClientId=self.world,
        )
        if self.sim.drive == "effort":
            states = pybullet.getJointStates(
                self.body, [j.index for j in self.joints.values()], physicsClientId=self.world
            )
            still = [0.0] * len(states)
            weight = pybullet.calculateInverseDynamics(
                self.body, [s[0] for s in states], still, still, physicsClientId=self.world
            )
            action = action + np.array(weight[: len(action)])
        super().actuate(action)

    def message(self, kind: str) -> Message:
        """What a sensor gives now.

        Raises:
            SpecError: this robot has no such sensor.
        """
        if kind != POSE:
            return super().message(kind)
        state = pybullet.getLinkState(
            self.body, self.link(HAND), computeForwardKinematics=True, physicsClientId=self.world
        )
        message = empty(POSE)
        message.header.frame_id = "panda_link0"
        set_vector(message.pose.position, state[4])
        set_vector(message.pose.orientation, state[5])
        return message
