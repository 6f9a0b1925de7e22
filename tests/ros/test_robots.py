"""Each robot, brought up through the launch file on real DDS, is driven by the same nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")

from geometry_msgs.msg import PoseStamped  # noqa: E402
from std_msgs.msg import Float64  # noqa: E402

from mbrl_node.ros.extract import field_types, message_class  # noqa: E402
from mbrl_node.spec import load_spec  # noqa: E402
from mbrl_node.spec.commands import compile_command  # noqa: E402

from .conftest import System  # noqa: E402

ROBOTS = sorted(file.stem for file in (Path(__file__).parents[2] / "config/robots").glob("*.yaml"))


@pytest.mark.parametrize("robot", ROBOTS)
def test_it_is_brought_up_learns_and_is_driven_by_a_planner_within_its_limits(tmp_path, robot):
    spec = load_spec(robot)
    # In lock-step, so that a slow machine is not late; commands are then in the transitions.
    system = System(tmp_path, f"robot:={robot}", "sync:=true", "duration:=30")
    planner = spec.settings.get("controller", "mppi")
    try:
        system.wait_for(
            lambda: sum(t.controller == planner for t in system.transitions) >= 10,
            f"10 steps of {planner}",
        )
        actions = np.array([t.action for t in system.transitions])
        states = np.array([t.state for t in system.transitions])
        assert (actions >= spec.action_min).all() and (actions <= spec.action_max).all()
        assert np.isfinite(states).all() and (states[-1] != states[0]).any()
        assert {len(t.targets) for t in system.transitions} == {len(spec.target_names)}
    finally:
        system.close()


def test_a_goal_told_on_a_topic_is_aimed_at_from_then_on_and_one_that_is_none_is_refused(tmp_path):
    # In real time, where commands are messages: TwistStamped in the frame of the robot.
    spec = load_spec("husky")
    system = System(tmp_path, "robot:=husky", "speed:=0.5")
    read, commands = compile_command(spec.action, field_types), []
    kind = message_class(spec.action.type)
    system.node.create_subscription(kind, spec.action.topic, commands.append, 10)
    tell = system.node.create_publisher(PoseStamped, "/goal_pose", 1)
    try:
        system.wait_for(lambda: system.status and commands, "a status and a command")
        for frame, x in (("odom", 2.5), ("map", 1.0), ("odom", 99.0)):
            goal = PoseStamped()
            goal.header.frame_id, goal.pose.position.x = frame, x
            system.wait_for(lambda: tell.get_subscription_count() > 0, "who hears of goals")
            tell.publish(goal)
            said = {"map": "it is in the frame 'map'", "odom": "goal_x"}[frame]
            system.wait_for(lambda s=said: any(s in line for line in system.output), said)
            if x == 2.5:
                system.wait_for(
                    lambda: [2.5, 0.0] in [list(t.targets) for t in system.transitions[-5:]],
                    "a step with the goal",
                )
        assert list(system.transitions[-1].targets) == [2.5, 0.0]
        header = commands[-1].header
        assert header.frame_id == "base_link" and header.stamp.sec + header.stamp.nanosec > 0
        assert all(abs(speed) <= 1.0 and abs(turn) <= 1.5 for speed, turn in map(read, commands))
    finally:
        system.close()


def test_another_task_of_a_robot_is_chosen_by_its_name(tmp_path):
    system = System(tmp_path, "robot:=cartpole", "task:=move_to", "speed:=0.5")
    tell = system.node.create_publisher(Float64, "/cart_goal", 1)
    try:
        system.wait_for(lambda: system.status, "a status")
        assert system.status[-1].task == "move_to"
        system.wait_for(lambda: tell.get_subscription_count() > 0, "who hears of goals")
        tell.publish(Float64(data=1.25))
        system.wait_for(lambda: list(system.status[-1].targets) == [1.25], "the goal in a status")
    finally:
        system.close()
