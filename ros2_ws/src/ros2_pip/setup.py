"""The ament package: the Python packages `launch` and `launch_ros` and the command `ros2`."""

from setuptools import find_packages, setup

setup(
    name="ros2_pip",
    version="0.1.0",
    packages=find_packages(
        include=["launch", "launch.*", "launch_ros", "launch_ros.*", "ros2_pip", "ros2_pip.*"]
    ),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/ros2_pip"]),
        ("share/ros2_pip", ["package.xml"]),
        ("bin", ["bin/ros2"]),
    ],
    zip_safe=False,
)
