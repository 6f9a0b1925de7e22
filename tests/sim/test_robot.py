"""The simulated cart-pole against mechanics."""

import math

import numpy as np
import pytest

from mbrl_node.spec import SpecError, load_spec
from mbrl_node.spec.topics import JOINT_STATE
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
    reading = robot.message(JOINT_STATE)
    i = reading.name.index(name)
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
    assert (
        robot.message(JOINT_STATE).effort[robot.message(JOINT_STATE).name.index("slider_to_cart")]
        == 5.0
    )


@pytest.mark.parametrize("bad", [[math.nan], [math.inf], [1.0, 2.0], []])
def test_a_command_that_is_not_finite_or_of_the_wrong_size_is_refused(robot, bad):
    robot.command(np.array([1.0]))
    with pytest.raises(ValueError, match="1 finite values"):
        robot.command(np.array(bad))
    assert max(robot.message(JOINT_STATE).effort) == 1.0


def test_a_command_takes_effect_after_the_delay_and_not_after_a_reset():
    robot = BulletRobot(quiet().with_overrides(action={"delay": 0.01}))
    robot.command(np.array([1.0]))
    efforts = []
    for k in range(8):
        if k == 1:
            robot.command(np.array([2.0]))
        robot.step()
        efforts.append(max(robot.message(JOINT_STATE).effort))
    assert efforts == [0.0] * 5 + [1.0, 2.0, 2.0]  # 5 steps of 2 ms
    robot.command(np.array([3.0]))
    robot.reset()
    for _ in range(10):
        robot.step()
    assert max(robot.message(JOINT_STATE).effort) == 0.0
    robot.close()


def test_a_reset_puts_it_back_and_takes_the_force_away(robot):
    robot.command(np.array([5.0]))
    for _ in range(500):
        robot.step()
    robot.reset()
    assert (
        joint(robot, "slider_to_cart") == (0.0, 0.0)
        and max(robot.message(JOINT_STATE).effort) == 0.0
    )


def speed_after_10_steps(robot, force):
    robot.command(np.array([force]))
    for _ in range(10):
        robot.step()
    return joint(robot, "slider_to_cart")[1]


@pytest.mark.parametrize(
    ("change", "expected"),  # the speed times F / (M + m / 4), as above
    [
        (("mass", "pole", 3.0), 2.0 / (1 + 0.3 / 4)),
        (("mass", "cart", 3.0), 2.0 / (3 + 0.1 / 4)),
        (("mass", "all", 2.0), 2.0 / (2 + 0.2 / 4)),
        (("mass", "", 2.0), 2.0 / (2 + 0.2 / 4)),
        (("payload", "cart", 1.5), 2.0 / (2.5 + 0.1 / 4)),
        (("gain", "force", 0.5), 1.0 / 1.025),
        (("gain", "all", -1.0), -2.0 / 1.025),
    ],
)
def test_a_robot_that_has_changed_moves_as_newton_says_after_a_reset_too(robot, change, expected):
    robot.change(*change)
    robot.reset()
    speed = speed_after_10_steps(robot, 2.0)
    assert speed == pytest.approx(expected * 10 * robot.dt, rel=0.01)


def test_the_inertia_goes_with_the_mass_so_a_heavier_pole_swings_no_slower_on_a_heavy_cart():
    def period(*change):
        robot = BulletRobot(quiet(initial={"cart_to_pole": math.pi - 0.05}))
        robot.change("mass", "cart", 1e4)  # does not give way
        robot.change(*change)
        angles = []
        for _ in range(2000):
            robot.step()
            angles.append(joint(robot, "cart_to_pole")[0] - math.pi)
        robot.close()
        up = np.flatnonzero((np.array(angles[:-1]) < 0) & (np.array(angles[1:]) >= 0))
        return np.diff(up).mean() * robot.dt

    rod = 2 * math.pi / math.sqrt(1.5 * 9.81)
    assert period("mass", "pole", 3.0) == pytest.approx(rod, rel=0.01)
    # A point in the middle of the rod: inertia m l^2 / 3 + p l^2 / 4 under (m + p) g l / 2.
    loaded = 2 * math.pi / math.sqrt(0.3 * 9.81 / 2 / (0.1 / 3 + 0.2 / 4))
    assert period("payload", "pole", 0.2) == pytest.approx(loaded, rel=0.01)


def test_factors_and_payloads_are_those_of_its_file_however_often_it_is_changed(robot):
    for change in (
        *(("mass", "cart", 3.0), ("payload", "cart", 1.0), ("mass", "cart", 2.0)),
        *(("gain", "all", 0.5), ("gain", "force", 0.5)),
    ):
        robot.change(*change)
    assert speed_after_10_steps(robot, 2.0) == pytest.approx(1.0 / 3.025 * 10 * robot.dt, rel=0.01)
    for change in (("payload", "cart", 0.0), ("mass", "all", 1.0), ("gain", "all", 1.0)):
        robot.change(*change)
    robot.reset()
    assert speed_after_10_steps(robot, 2.0) == pytest.approx(2.0 / 1.025 * 10 * robot.dt, rel=0.01)


def test_a_gain_is_seen_in_the_effort_that_is_read(robot):
    robot.command(np.array([10.0]))
    robot.change("gain", "force", 0.5)
    assert max(robot.message(JOINT_STATE).effort) == 2.5  # what saturates is the command


def efforts(robot, steps):
    found = []
    for _ in range(steps):
        robot.step()
        found.append(max(robot.message(JOINT_STATE).effort))
    return found


def test_a_delay_holds_for_commands_from_then_on_and_the_newest_one_wins(robot):
    robot.command(np.array([1.0]))
    robot.change("delay", "all", 0.0061)  # 3 steps
    robot.command(np.array([2.0]))
    assert efforts(robot, 5) == [1.0, 1.0, 1.0, 2.0, 2.0]
    robot.change("delay", "", 0.01)
    robot.command(np.array([3.0]))
    robot.change("delay", "", 0.004)
    robot.command(np.array([4.0]))
    assert efforts(robot, 7) == [2.0, 2.0, *[4.0] * 5]  # 3 N was sent before, so it never comes
    robot.change("delay", "", 0.004)
    robot.command(np.array([1.0]))
    robot.change("delay", "", 0.0)
    robot.command(np.array([2.0]))
    assert efforts(robot, 4) == [2.0] * 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("colour", "pole", 1.0), "'colour' is none of mass, payload, gain, delay"),
        (("mass", "poel", 3.0), "mass: there is no 'poel', but cart, pole"),
        (("payload", "slideBar", 1.0), "payload: there is no 'slideBar', but cart, pole"),
        (("payload", "all", 1.0), "payload: there is no 'all', but cart, pole"),
        (("gain", "torque", 0.5), "gain: there is no 'torque', but force"),
        (("delay", "force", 0.1), "delay: there is no 'force', but all"),
        (("mass", "pole", 0.0), "mass: 0 must be above 0"),
        (("payload", "pole", -1.0), "payload: -1 must be at least 0"),
        (("gain", "all", math.nan), "gain: nan must be finite"),
        (("delay", "all", math.inf), "delay: inf must be at least 0"),
    ],
)
def test_a_change_that_cannot_be_is_refused_in_words_and_changes_nothing(robot, change, words):
    for refused in (robot.check_change, robot.change):
        with pytest.raises(ValueError, match=words):
            refused(*change)
    assert speed_after_10_steps(robot, 2.0) == pytest.approx(2.0 / 1.025 * 10 * robot.dt, rel=0.01)


def test_a_change_is_said_in_a_sentence(robot):
    assert robot.change("mass", "", 3.0) == "cart, pole: 3 times the mass and inertia of its file"
    assert robot.change("delay", "", 0.041) == "commands take effect after 0.04 s"


def test_the_same_seed_gives_the_same_bits():
    runs = []
    for _ in range(2):
        robot = BulletRobot(SPEC, seed=5)
        for k in range(200):
            robot.command(np.array([math.sin(k)]))
            robot.step()
        runs.append(robot.message(JOINT_STATE))
        robot.close()
    assert runs[0] == runs[1]


def test_what_is_wrong_in_the_sim_section_is_named():
    with pytest.raises(SpecError, match=r"sim\.urdf: 'no\.urdf'"):
        BulletRobot(quiet(urdf="no.urdf"))
    with pytest.raises(SpecError, match="no joint 'elbow'"):
        BulletRobot(quiet(initial={"elbow": 1.0}))
