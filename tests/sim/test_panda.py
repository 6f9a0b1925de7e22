"""The simulated arm against mechanics."""

import functools
import math

import numpy as np
import pytest

from mbrl_node.control import Observation, PDConfig, PDController
from mbrl_node.control.recovery import RecoveryRoutine
from mbrl_node.control.safety import Envelope
from mbrl_node.spec import load_spec
from sim.env import RobotEnv
from sim.messages import POSE
from sim.robots import make_robot

# Denavit and Hartenberg's parameters after Craig, as the maker gives them: a, d, alpha.
JOINTS = (
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -math.pi / 2),
    (0.0, 0.316, math.pi / 2),
    (0.0825, 0.0, math.pi / 2),
    (-0.0825, 0.384, -math.pi / 2),
    (0.0, 0.0, math.pi / 2),
    (0.088, 0.0, math.pi / 2),
)
GRASP = 0.107 + 0.105  # m, along the last axis


@pytest.fixture(params=["panda_velocity", "panda_torque"])
def robot(request):
    it = make_robot(load_spec(request.param))
    yield it
    it.close()


def joints(robot):
    """Positions and velocities of the seven."""
    reading = robot.message("sensor_msgs/msg/JointState")
    return np.array(reading.position[:7]), np.array(reading.velocity[:7])


def hand(positions):
    """Where forward kinematics has it, as [4, 4]."""

    def transform(joint, angle):
        a, d, alpha = joint
        c, s, ca, sa = np.cos(angle), np.sin(angle), np.cos(alpha), np.sin(alpha)
        rows = [c, -s, 0, a], [s * ca, c * ca, -sa, -d * sa], [s * sa, c * sa, ca, d * ca]
        return np.array([*rows, [0, 0, 0, 1]])

    return functools.reduce(np.matmul, map(transform, JOINTS, positions))


def moved(robot, command, time):
    robot.command(np.array(command))
    for _ in range(round(time / robot.dt)):
        robot.step()


def test_the_pose_is_that_of_forward_kinematics(robot):
    moved(robot, robot.spec.action_max * [1, -1, 0.5, 0.5, 1, -1, 1], 0.5)
    pose, frame = robot.message(POSE).pose, hand(joints(robot)[0])
    expected = (frame @ [0, 0, GRASP, 1])[:3]
    position = [pose.position.x, pose.position.y, pose.position.z]
    assert position == pytest.approx(expected, abs=1e-3)
    q = pose.orientation
    axis = 2 * np.array(  # the last joint's, from the quaternion
        [q.x * q.z + q.w * q.y, q.y * q.z - q.w * q.x, 0.5 - q.x**2 - q.y**2]
    )
    assert axis == pytest.approx(frame[:3, 2], abs=1e-3)


def test_without_a_command_it_carries_its_weight(robot):
    before = joints(robot)[0]
    moved(robot, np.zeros(7), 2.0)
    assert joints(robot)[0] == pytest.approx(before, abs=2e-3)


@pytest.mark.parametrize("robot", ["panda_velocity"], indirect=True)
def test_joints_have_the_velocities_that_are_commanded(robot):
    command = np.array([0.3, -0.2, 0.3, 0.2, -0.5, 0.4, 0.6])
    moved(robot, command, 0.5)
    assert joints(robot)[1] == pytest.approx(command, abs=0.02)


@pytest.mark.parametrize("robot", ["panda_torque"], indirect=True)
def test_an_effort_turns_the_last_joint_as_fast_as_its_gear_lets_it(robot):
    moved(robot, [0, 0, 0, 0, 0, 0, 0.6], 0.5)
    assert joints(robot)[1][6] == pytest.approx(0.8, rel=0.05)  # 0.6 N m / 0.75 N m s/rad


def test_friction_that_differs_between_episodes_is_that_of_its_gears():
    spec = load_spec("panda_torque").with_overrides(sim={"randomise": {"friction": 0.2}})
    robot = make_robot(spec)
    moved(robot, [0, 0, 0, 0, 0, 0, 0.6], 0.5)
    speed = joints(robot)[1][6]
    robot.close()
    assert 0.8 / 1.25 < speed < 0.8 / 0.75
    assert speed != pytest.approx(0.8, rel=0.005)


@pytest.mark.parametrize("name", ["panda_velocity", "panda_torque"])
@pytest.mark.parametrize("seed", range(3))
def test_it_comes_back_by_itself_from_where_its_envelope_ends(name, seed):
    spec = load_spec(name)
    recovery = spec.episode.recovery
    robot, rng = RobotEnv(spec), np.random.default_rng(seed)
    pd = PDController("pd", spec, PDConfig.model_validate(spec.settings["pd"]))
    routine = RecoveryRoutine(spec, recovery, lambda: {"pd": pd})
    envelope = Envelope(spec)
    state, _ = robot.reset(seed=seed)
    low, high = (np.array([getattr(f, end) for f in spec.action.fields]) for end in ("min", "max"))
    action = low
    while envelope.check(state[: spec.state_dim]) is None:
        if rng.random() < 0.1:
            action = rng.uniform(low, high)
        state, *_ = robot.step(action)
    sent = spec.action_safe
    for k in range(round((recovery.timeout + 1.0) * spec.rate)):
        state = state[: spec.state_dim]
        breach = envelope.check(state)
        seen = Observation(round(k * spec.dt * 1e9), 0, state)
        outside = breach.message if breach else ""
        if (sent := routine.update(seen, sent, outside)) is None:
            break
        state, *_ = robot.step(sent)
    robot.close()
    assert sent is None
