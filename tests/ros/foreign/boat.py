"""A boat as others might have written it: a program of its own that knows nothing of mbrl.

It tells where it is by nav_msgs/Odometry, 50 times a second and best effort, as sensors do, and
takes geometry_msgs/TwistStamped: surge (linear.x) and turn (angular.z), each from -1 to 1 of what
its thrusters can do. Like the drivers of real robots it does not obey a command that is old, or of
another frame, and stops when none comes. `/boat/back_to_berth` takes it back to where it began.
"""

import contextlib
import math
import time

import rclpy
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from std_srvs.srv import Trigger

STEP = 0.005  # s
EVERY = 4  # steps from one message to the next
LATEST = 0.3  # s, the age of a command that is still obeyed


class Boat(Node):
    """Moves in real time. A positive turn is to the left, with x ahead and y to the left."""

    def __init__(self):
        super().__init__("boat")
        self.create_subscription(TwistStamped, "/boat/thrust", self.on_thrust, 1)
        self.create_service(Trigger, "/boat/back_to_berth", self.on_back)
        self.odometry = self.create_publisher(Odometry, "/boat/odometry", qos_profile_sensor_data)
        self.surge_thrust = self.turn_thrust = 0.0
        self.commanded = 0.0  # time.monotonic of the last command
        self.start()
        self.steps, self.began = 0, time.monotonic()
        self.create_timer(STEP, self.catch_up)

    def start(self):
        """At its berth, at rest, its stern to the sea."""
        self.x, self.y, self.heading, self.surge, self.turn = 0.0, 0.0, -1.6, 0.0, 0.0

    def on_back(self, request, response):
        self.start()
        response.success, response.message = True, "at the berth"
        return response

    def on_thrust(self, message):
        sent = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        if abs(time.time() - sent) > LATEST:
            self.get_logger().warning("a command is too old", throttle_duration_sec=1.0)
        elif message.header.frame_id != "hull":
            self.get_logger().warning("a command is of another frame", throttle_duration_sec=1.0)
        else:
            self.surge_thrust = min(max(message.twist.linear.x, -1.0), 1.0)
            self.turn_thrust = min(max(message.twist.angular.z, -1.0), 1.0)
            self.commanded = time.monotonic()

    def catch_up(self):
        while self.steps * STEP < time.monotonic() - self.began:
            self.step()
            self.steps += 1
            if self.steps % EVERY == 0:
                self.publish()

    def step(self):
        if time.monotonic() - self.commanded > LATEST:
            self.surge_thrust = self.turn_thrust = 0.0
        # Water brakes; a rudder in the stream of the propeller turns better.
        self.surge += STEP * (1.2 * self.surge_thrust - 0.8 * self.surge)
        push = 2.5 + 0.8 * abs(self.surge)
        self.turn += STEP * (push * self.turn_thrust - 1.2 * self.turn)
        self.heading += STEP * self.turn
        self.x += STEP * self.surge * math.cos(self.heading)
        self.y += STEP * self.surge * math.sin(self.heading)

    def publish(self):
        message = Odometry()
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id, message.child_frame_id = "harbour", "hull"
        pose, twist = message.pose.pose, message.twist.twist
        pose.position.x, pose.position.y = self.x, self.y
        pose.orientation.z = math.sin(self.heading / 2)
        pose.orientation.w = math.cos(self.heading / 2)
        twist.linear.x, twist.angular.z = self.surge, self.turn
        self.odometry.publish(message)


def main():
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        rclpy.spin(Boat())


if __name__ == "__main__":
    main()
