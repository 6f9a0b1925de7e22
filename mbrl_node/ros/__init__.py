"""The ROS 2 nodes: messages to arrays and back, and the wiring. Only here is rclpy imported."""
