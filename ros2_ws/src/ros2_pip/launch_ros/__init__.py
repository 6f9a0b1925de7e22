"""The part of the official `launch_ros` (ROS 2 Jazzy) that bringup files use; see `launch`."""

from . import actions, descriptions, parameter_descriptions, substitutions

__all__ = ["actions", "descriptions", "parameter_descriptions", "substitutions"]
