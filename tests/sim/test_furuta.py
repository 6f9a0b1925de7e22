"""The simulated Furuta pendulum against mechanics, and that its task is the one meant."""

import math

import numpy as np
import pytest

from mbrl_node.spec import load_spec
from mbrl_node.spec.topics import JOINT_STATE
from sim.env import RobotEnv
from sim.robot import BulletRobot

SPEC = load_spec("furuta")
TORQUE = float(SPEC.action_max[0])

# Of furuta.urdf, SI. The pendulum's centre of mass is `REACH` from the motor's axis.
ARM, ARM_LENGTH = 0.3, 0.2
PENDULUM, PENDULUM_LENGTH, REACH = 0.1, 0.3, 0.21
HALF = PENDULUM_LENGTH / 2
ABOUT_MOTOR = ARM * ARM_LENGTH**2 / 3 + PENDULUM * REACH**2  # while the pendulum hangs
ABOUT_HINGE = PENDULUM * PENDULUM_LENGTH**2 / 3
COUPLING = PENDULUM * HALF * REACH  # moves one when the other is accelerated


@pytest.fixture
def robot_at():
    made = []

    def make(pendulum: float) -> BulletRobot:
        sim = {"initial_noise": 0.0, "initial": {"arm_to_pendulum": pendulum}}
        made.append(BulletRobot(SPEC.with_overrides(sim=sim)))
        return made[-1]

    yield make
    for robot in made:
        robot.close()


@pytest.fixture
def env():
    it = RobotEnv(SPEC)
    yield it
    it.close()


def joint(robot, name):
    reading = robot.message(JOINT_STATE)
    i = reading.name.index(name)
    return reading.position[i], reading.velocity[i]


def crossings(robot, seconds):
    """Times at which the pendulum passes through its lowest place in the one direction."""
    result, last = [], None
    for k in range(round(seconds / robot.dt)):
        robot.step()
        angle = joint(robot, "arm_to_pendulum")[0] - math.pi
        if last is not None and last < 0 <= angle:
            result.append((k + angle / (last - angle)) * robot.dt)
        last = angle
    return result


def highest(env, policy, seconds):
    """The highest cosine of the pendulum's angle, and the last state, with an action of states."""
    state, _ = env.reset(seed=0)
    best = -1.0
    for _ in range(round(seconds * SPEC.rate)):
        state, _, terminated, truncated, _ = env.step(np.array([policy(state)]))
        best = max(best, math.cos(state[1]))
        if terminated or truncated:
            break
    return best, state


def test_it_begins_with_the_pendulum_hanging_at_rest(env):
    state, info = env.reset(seed=3)
    assert math.cos(state[1]) == pytest.approx(-1.0, abs=1e-3)
    assert state[[0, 2, 3]] == pytest.approx([0.0, 0.0, 0.0], abs=SPEC.sim.initial_noise)
    assert not info["goal"]


def test_a_torque_turns_the_arm_as_newton_says(robot_at):
    robot = robot_at(math.pi)
    robot.command(np.array([TORQUE]))
    for _ in range(10):
        robot.step()
    inertia = ABOUT_MOTOR - COUPLING**2 / ABOUT_HINGE  # the pendulum gives way
    expected = TORQUE / inertia * 10 * robot.dt
    assert joint(robot, "base_to_arm")[1] == pytest.approx(expected, rel=0.05)


def test_the_pendulum_swings_with_the_period_of_a_rod_on_an_arm_that_gives_way(robot_at):
    times = crossings(robot_at(math.pi - 0.05), 4.0)
    omega = math.sqrt(PENDULUM * 9.81 * HALF / (ABOUT_HINGE - COUPLING**2 / ABOUT_MOTOR))
    assert np.diff(times).mean() == pytest.approx(2 * math.pi / omega, rel=0.03)


def test_the_pendulum_falls_from_where_its_angle_is_zero(robot_at):
    robot = robot_at(0.01)
    for _ in range(round(1.0 / robot.dt)):
        robot.step()
    assert abs(joint(robot, "arm_to_pendulum")[0]) > 1.0


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_one_push_does_not_get_it_up(env, sign):
    best, _ = highest(env, lambda _: sign * TORQUE, 10.0)
    assert best < -0.5


def test_it_gets_up_by_swings_that_the_torque_suffices_for(env):
    def swing(state):
        """With the pendulum's swing until the energy suffices, and towards the arm's middle."""
        arm, pendulum, arm_dot, pendulum_dot = state
        if arm * arm_dot > 0 and abs(arm) > 1.0:
            return -math.copysign(TORQUE, arm)
        return TORQUE * np.sign(pendulum_dot * math.cos(pendulum))

    best, _ = highest(env, swing, 15.0)
    assert best > 0.95


def test_upright_in_front_of_it_is_the_goal_and_elsewhere_is_not(env):
    env.reset(seed=0)
    holds = env.goals.holds
    assert holds(np.array([0.5, 0.1, 0.0, 0.0]))
    assert holds(np.array([0.5, 2 * math.pi, 0.0, 0.0]))
    assert not holds(np.array([2.0, 0.0, 0.0, 0.0]))
    assert not holds(np.array([0.0, 0.5, 0.0, 0.0]))


def test_to_turn_is_to_have_the_arm_where_it_was_told():
    env = RobotEnv("furuta", task="turn")
    env.reset(seed=0)
    env.goals.tell([0.8])
    state, *_ = env.step(np.zeros(1))
    state, *_ = env.step(np.zeros(1))
    assert state[-1] == 0.8
    assert env.goals.holds(np.array([0.7, 0.0, 0.0, 0.0]))
    assert not env.goals.holds(np.array([0.0, 0.0, 0.0, 0.0]))
    env.close()
