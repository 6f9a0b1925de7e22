"""The command `ros2`, for ROS 2 installations from PyPI wheels that lack the official ros2cli.

One module for each command in `verbs/`; each has `add_verbs(parser)`. Only the module of the
command that is asked for is imported, and only those that need the graph import rclpy.
"""
