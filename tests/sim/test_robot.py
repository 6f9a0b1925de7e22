"""The simulated cart-pole against mechanics."""

import math

import numpy as np
import pytest

from mbrl_node.spec import SpecError, load_spec
from sim.robot import BulletRobot

SPEC = load_spec("cartpole")


def quiet(**sim):
    return SPEC.with_overrides(sim={"initial_noise": 0.0, **sim})


@pytest.fixture
def robot():
    it = BulletRobot(quiet())
    yield it
    it.close()


def joint(robot, name):
    reading = robot.read()
    i = reading.names.index(name)
    return reading.position[i], reading.velocity[i]


def test_it_starts_hanging_at_rest(robot):
    assert joint(robot, "cart_to_pole") == (pytest.approx(math.pi), 0.0)
    assert joint(robot, "slider_to_cart") == (0.0, 0.0)


def test_a_force_accelerates_the_cart_as_newton_says(robot):
    robot.command(np.array([2.0]))
    for _ in range(10):
        robot.step()
    # 1 kg of cart and 0.1 kg of pole, a rod hanging from it that hardly follows at first:
    # a = F / (M + m - m (m l c)^2 / (m I)) with c = l/2 and I = m l^2 / 3, that is F / (M + m / 4)
    velocity = joint(robot, "slider_to_cart")[1]
    assert velocity == pytest.approx(2.0 / 1.025 * 10 * robot.dt, rel=0.03)


def test_the_pole_swings_with_the_period_of_a_rod():
    robot = BulletRobot(quiet(initial={"cart_to_pole": math.pi - 0.05}))
    crossings, last = [], None
    for k in range(2000):
        robot.step()
        angle = joint(robot, "cart_to_pole")[0] - math.pi
        if last is not None and last < 0 <= angle:
            crossings.append(k * robot.dt)
        last = angle
    robot.close()
    # A rod of 1 m whose free cart (1 kg) gives way: omega^2 = (3 g / 2 l) (M + m) / (M + m / 4)
    period = 2 * math.pi / math.sqrt(1.5 * 9.81 * 1.1 / 1.025)
    assert np.diff(crossings).mean() == pytest.approx(period, rel=0.03)


def test_the_actuator_saturates_at_its_limits(robot):
    robot.command(np.array([1e6]))
    assert robot.read().effort[robot.read().names.index("slider_to_cart")] == 5.0


@pytest.mark.parametrize("bad", [[math.nan], [math.inf], [1.0, 2.0], []])
def test_a_command_that_is_not_finite_or_of_the_wrong_size_is_refused(robot, bad):
    robot.command(np.array([1.0]))
    with pytest.raises(ValueError, match="1 finite values"):
        robot.command(np.array(bad))
    assert max(robot.read().effort) == 1.0


def test_a_command_takes_effect_after_the_delay_and_not_after_a_reset():
    robot = BulletRobot(quiet().with_overrides(action={"delay": 0.01}))
    robot.command(np.array([1.0]))
    efforts = []
    for k in range(8):
        if k == 1:
            robot.command(np.array([2.0]))
        robot.step()
        efforts.append(max(robot.read().effort))
    assert efforts == [0.0] * 5 + [1.0, 2.0, 2.0]  # 5 steps of 2 ms
    robot.command(np.array([3.0]))
    robot.reset()
    for _ in range(10):
        robot.step()
    assert max(robot.read().effort) == 0.0
    robot.close()


def test_a_reset_puts_it_back_and_takes_the_force_away(robot):
    robot.command(np.array([5.0]))
    for _ in range(500):
        robot.step()
    robot.reset()
    assert joint(robot, "slider_to_cart") == (0.0, 0.0) and max(robot.read().effort) == 0.0


def test_the_same_seed_gives_the_same_bits():
    runs = []
    for _ in range(2):
        robot = BulletRobot(SPEC, seed=5)
        for k in range(200):
            robot.command(np.array([math.sin(k)]))
            robot.step()
        runs.append(robot.read())
        robot.close()
    assert runs[0] == runs[1]


def test_what_is_wrong_in_the_sim_section_is_named():
    with pytest.raises(SpecError, match=r"sim\.urdf: 'no\.urdf'"):
        BulletRobot(quiet(urdf="no.urdf"))
    with pytest.raises(SpecError, match="no joint 'elbow'"):
        BulletRobot(quiet(initial={"elbow": 1.0}))
