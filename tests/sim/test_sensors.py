"""What is not ideal about a simulated robot: each thing alone, and off by default."""

import math

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sim
from mbrl_node.spec import SpecError, load_spec
from mbrl_node.spec.topics import JOINT_STATE
from sim.env import RobotEnv
from sim.robots import make_robot
from sim.sensors import Sensors

CARTPOLE = load_spec("cartpole")
HUSKY = load_spec("husky")
ENVIRONMENTS = sorted(name for name in gymnasium.registry if name.startswith("mbrl/"))


def measured(spec, steps, seed=0):
    """A resting robot's states [steps, n] and ages as they arrive at each step of the physics."""
    robot = make_robot(spec, seed)
    sensors = Sensors(spec, robot, np.random.default_rng(seed))
    states, ages = [], []
    for _ in range(steps):
        robot.step()
        sensors.look()
        states.append(sensors.state)
        ages.append(sensors.age)
    robot.close()
    return np.array(states), np.array(ages)


def test_importing_sim_registers_every_robot():
    assert sim.__doc__ and "mbrl/HalfCheetah-v0" in ENVIRONMENTS


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_robot_is_an_environment_as_gymnasium_wants_it(name):
    env = gymnasium.make(name)
    check_env(env.unwrapped, skip_render_check=True)
    first, _ = env.reset(seed=3)
    again, _ = env.reset(seed=3)
    assert (first == again).all()
    actions = [env.action_space.sample() for _ in range(3)]
    runs = []
    for _ in range(2):
        env.reset(seed=3)
        runs.append([env.step(action)[0] for action in actions])
    assert np.array_equal(*runs)
    env.close()


def test_environments_are_drawn_and_run_beside_each_other():
    env = gymnasium.make("mbrl/Husky-v0", render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (360, 480, 3)
    env.close()
    several = gymnasium.make_vec("mbrl/Cartpole-v0", num_envs=2, vectorization_mode="async")
    states, _ = several.reset(seed=1)
    assert states.shape == (2, 4) and (states[0] != states[1]).any()
    several.close()


def test_latency_makes_states_older_and_nothing_else():
    states, ages = measured(CARTPOLE.with_overrides(sim={"latency": 0.04}), 100)
    assert ages[40:].max() == pytest.approx(0.05, abs=0.003)  # and up to a period of the sensor
    ideal, _ = measured(CARTPOLE, 100)
    assert np.array_equal(states[60], ideal[40])


def test_noise_is_as_large_as_the_file_says_and_only_where_it_says():
    states, _ = measured(HUSKY.with_overrides(sim={"noise": {"x": 0.1, "yaw": 0.05}}), 6000)
    ideal, _ = measured(HUSKY, 6000)
    error = (states - ideal)[::12]
    assert error[:, 0].std() == pytest.approx(0.1, rel=0.15)
    assert error[:, 2].std() == pytest.approx(0.05, rel=0.15)
    assert not error[:, [1, 3, 4]].any()


def test_lost_states_leave_the_one_before():
    _, ages = measured(CARTPOLE.with_overrides(sim={"dropped": 0.5}), 2000)
    assert ages.max() > 0.03 and measured(CARTPOLE, 100)[1].max() < 0.01


def test_actuators_saturate_and_some_commands_are_lost():
    robot = make_robot(CARTPOLE.with_overrides(sim={"saturation": 0.5}))
    robot.command(np.array([5.0]))
    assert robot.acting.tolist() == [2.5]
    robot.close()
    robot = make_robot(CARTPOLE.with_overrides(sim={"dropped": 0.5}))
    taken = []
    for force in np.linspace(1.0, 2.0, 50):
        robot.command(np.array([force]))
        taken.append(robot.acting[0] == force)
    robot.close()
    assert 10 < sum(taken) < 40


def test_a_delay_of_the_simulation_is_not_known_to_the_controller():
    spec = CARTPOLE.with_overrides(sim={"delay": 0.02})
    assert spec.action.delay == 0.0 and spec.hash == CARTPOLE.hash
    robot = make_robot(spec)
    robot.command(np.array([3.0]))
    acting = []
    for _ in range(12):
        robot.step()
        acting.append(float(robot.acting[0]))
    robot.close()
    assert acting == [0.0] * 10 + [3.0] * 2


def test_masses_and_gains_differ_between_episodes_and_come_back_with_a_seed():
    spec = CARTPOLE.with_overrides(sim={"randomise": {"mass": 0.5, "gain": 0.3}})
    env = RobotEnv(spec)

    def pushed():
        return float(env.step(np.array([5.0]))[0][2])

    speeds = []
    for seed in (1, None, None, 1):
        env.reset(seed=seed)
        speeds.append(pushed())
    env.close()
    assert len({round(speed, 6) for speed in speeds}) == 3 and speeds[0] == speeds[3]


def test_a_sensor_that_a_robot_does_not_have_is_named():
    topic = {"topic": "/imu", "type": "sensor_msgs/msg/Imu", "timeout": 0.5}
    field = {"name": "a", "path": "angular_velocity.x", "unit": "rad/s"}
    reward = [{"term": "square", "of": "a", "weight": -1.0}]
    less = dict.fromkeys(("goal", "display")) | dict.fromkeys(("envelope", "targets"), ())
    spec = HUSKY.with_overrides(state=[{**topic, "fields": [field]}], reward=reward, **less)
    with pytest.raises(SpecError, match="a robot of this kind gives no sensor_msgs/msg/Imu"):
        RobotEnv(spec).reset()
    with pytest.raises(SpecError, match=r"sim\.kind: robot 'huskey' is not one of joints.*husky"):
        make_robot(HUSKY.with_overrides(sim={"kind": "huskey"}))


def test_a_husky_knows_where_it_is_and_how_it_moves_in_its_own_frame():
    robot = make_robot(HUSKY)
    for _ in range(480):
        robot.command(np.array([0.5, 0.0]))
        robot.step()
    here = robot.message("nav_msgs/msg/Odometry")
    yaw = 2 * math.atan2(here.pose.pose.orientation.z, here.pose.pose.orientation.w)
    place = here.pose.pose.position
    assert math.hypot(place.x, place.y) == pytest.approx(0.9, abs=0.15)
    assert math.atan2(place.y, place.x) == pytest.approx(math.remainder(yaw, 2 * math.pi), abs=0.05)
    assert here.twist.twist.linear.x == pytest.approx(0.5, abs=0.06)
    assert robot.message(JOINT_STATE).name[0] == "front_left_wheel"
    robot.close()
