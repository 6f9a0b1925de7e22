"""`mbrl init-robot` on small URDFs, and on those of pybullet_data as they come."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mbrl_node.control.safety import Envelope, SafetyFilter
from mbrl_node.spec import RobotSpec, load_spec

ARM = """<robot name="arm">
  <link name="base"><inertial><mass value="5"/></inertial></link>
  <link name="upper"><inertial><origin xyz="0 0 0.5"/><mass value="2"/></inertial></link>
  <link name="lower"><inertial><origin xyz="0 0 0.4"/><mass value="1"/></inertial></link>
  <link name="grip"/>
  <joint name="shoulder" type="revolute">
    <parent link="base"/><child link="upper"/>
    <limit lower="-1" upper="3" effort="200" velocity="8"/>
  </joint>
  <joint name="elbow 1" type="continuous">
    <parent link="upper"/><child link="lower"/><origin xyz="0 0 1"/>
  </joint>
  <joint name="2" type="prismatic">
    <parent link="lower"/><child link="grip"/><limit lower="0" upper="0.04" effort="5"/>
  </joint>
</robot>"""


@pytest.fixture
def init(mbrl):
    """Writes the arm's file with these options."""
    Path("urdf").mkdir()
    Path("urdf/arm.urdf").write_text(ARM)

    def it(*options: str) -> RobotSpec:
        code, out, err = mbrl("init-robot", "urdf/arm.urdf", *options)
        assert (code, err) == (0, "")
        path = re.match(r"(\S+): written", out)[1]
        return load_spec(f"./{path}")

    return it


def test_the_file_has_the_joints_limits_and_topics_of_the_urdf(init):
    spec = init()
    assert (spec.name, spec.rate, spec.path.name) == ("arm", 25.0, "arm.yaml")
    (topic,) = spec.state
    assert topic.topic == "/joint_states"
    described = [(f.name, f.joint, f.value, f.unit, f.angle) for f in topic.fields]
    assert described == [
        ("shoulder_position", "shoulder", "position", "rad", False),
        ("shoulder_velocity", "shoulder", "velocity", "rad/s", False),
        ("elbow_1_position", "elbow 1", "position", "rad", True),
        ("elbow_1_velocity", "elbow 1", "velocity", "rad/s", False),
        ("joint_2_position", "2", "position", "m", False),
        ("joint_2_velocity", "2", "velocity", "m/s", False),
    ]
    # Nothing drives the elbow, so it is driven by effort; 200 N m are more than it needs.
    assert spec.action.topic == "/effort_controller/commands"
    shoulder, grip = spec.action.fields
    load = 9.81 * (2 * 0.5 + 1 * 1.4)
    assert (shoulder.max, shoulder.unit, shoulder.safe) == (pytest.approx(2 * load, 1e-3), "N m", 0)
    assert (grip.joint, grip.max, grip.unit) == ("2", 5.0, "N")
    limits = {e.of: (e.min, e.max) for e in spec.envelope}
    assert limits == {
        "shoulder_position": (-0.92, 2.92),
        "shoulder_velocity": (-9.6, 9.6),
        "joint_2_position": (0.0008, 0.0392),
    }
    assert spec.sim.urdf == "urdf/arm.urdf" and spec.sim.fixed_base and spec.sim.drive == "effort"
    assert spec.trust.initial == 0.2
    text = spec.path.read_text()
    assert "the URDF's limit is 200.0; this is twice what holds up what it carries" in text
    assert all(len(line) < 210 for line in text.splitlines())


def test_velocity_and_position_commands_have_limits_of_their_own(init):
    spec = init("--command", "velocity", "--output", "fast.yaml", "--joints", "shoulder,elbow 1")
    shoulder, elbow = spec.action.fields
    assert spec.action.topic == "/velocity_controller/commands" and spec.sim.drive == "velocity"
    assert (shoulder.min, shoulder.max, shoulder.max_rate) == (-2.0, 2.0, 4.0)  # half the range
    assert (elbow.min, elbow.max, elbow.unit) == (-1.0, 1.0, "rad/s")
    spec = init("--command", "position", "--output", "there.yaml", "--rate", "50")
    shoulder, _ = spec.action.fields
    assert spec.action.topic == "/position_controller/commands" and spec.rate == 50
    assert (shoulder.min, shoulder.max, shoulder.safe) == (-0.8, 2.8, 1.0)
    assert spec.sim.initial == {"shoulder": 1.0, "2": 0.02}  # where its first command takes it
    assert "and the start goes there" in spec.path.read_text()


def test_joints_that_are_not_named_are_left_out_but_those_that_nothing_drives_stay(init):
    spec = init("--joints", "2")
    assert [f.joint for f in spec.action.fields] == ["2"]
    assert {f.joint for f in spec.state[0].fields} == {"2", "elbow 1"}
    assert "Left out, so that they hang loose in simulation: shoulder" in spec.path.read_text()


def test_what_the_user_decides_is_marked_and_counted(init, mbrl):
    init()
    code, out, _ = mbrl("init-robot", "urdf/arm.urdf", "--output", "other.yaml")
    text = Path("other.yaml").read_text()
    (count,) = re.findall(r"decide:  the (\d+) places marked CHECK", out)
    assert code == 0 and int(count) == text.count("CHECK:") == text.count("CHECK") - 1
    assert "nothing drives elbow 1" in out
    assert "robot:=other.yaml" in out
    assert "check:   mbrl check other.yaml" in out


def test_a_file_that_is_there_is_not_overwritten(init, mbrl):
    init()
    Path("arm.yaml").write_text("mine")
    code, out, err = mbrl("init-robot", "urdf/arm.urdf")
    assert (code, out) == (2, "")
    assert err == "mbrl: arm.yaml: is there already; name another with --output\n"
    assert Path("arm.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("urdf/amr.urdf", "urdf/amr.urdf: cannot be read: No such file or directory"),
        ("urdf/arm.urdf --joints sholder", "no joint 'sholder' moves; did you mean 'shoulder'?"),
        ("urdf/arm.urdf --rate 0", "--rate: 0 is not above 0"),
        ("urdf/arm.urdf --rate nan", "--rate: nan is not above 0"),
        ("urdf/arm.urdf --output arm.txt", "--output: arm.txt does not end in .yaml"),
        ("urdf/arm.urdf --output no/arm.yaml", "no/arm.yaml: cannot be written: No such file"),
    ],
)
def test_what_cannot_be_done_is_one_line(mbrl, options, words):
    Path("urdf").mkdir()
    Path("urdf/arm.urdf").write_text(ARM)
    code, out, err = mbrl("init-robot", *options.split())
    assert (code, out) == (2, "")
    assert words in err and len(err.splitlines()) == 1
    assert not list(Path().rglob("*.yaml"))


@pytest.mark.parametrize("name", ["yes", "null", "1.5", "a: b", "{x}", "#", "ü", "' \"", "@", "-"])
def test_names_of_joints_are_yaml_whatever_they_are(mbrl, name):
    escaped = name.replace('"', "&quot;")
    Path(f"{name}.urdf").write_text(ARM.replace('"shoulder"', f'"{escaped}"'))
    code, _, err = mbrl("init-robot", f"{name}.urdf", "--output", "arm.yaml")
    assert (code, err) == (0, ""), err
    spec = load_spec("./arm.yaml")
    assert spec.action.fields[0].joint == name
    assert spec.sim.urdf == f"{name}.urdf"


# Of pybullet_data: the file, options, and what drives it.
ROBOTS = {
    "cartpole": ("cartpole.urdf", [], ("effort", 1)),
    "kuka": ("kuka_iiwa/model.urdf", [], ("velocity", 7)),
    "panda": ("franka_panda/panda.urdf", [], ("velocity", 8)),
    "panda position": ("franka_panda/panda.urdf", ["--command", "position"], ("position", 8)),
    "xarm": ("xarm/xarm6_robot.urdf", [], ("velocity", 6)),
    "husky": ("husky/husky.urdf", [], ("velocity", 4)),
    "racecar": ("racecar/racecar.urdf", [], ("velocity", 6)),
    "laikago": ("laikago/laikago.urdf", [], ("velocity", 12)),
}


@pytest.mark.parametrize(("urdf", "options", "drive"), ROBOTS.values(), ids=ROBOTS.keys())
def test_a_robot_of_pybullet_data_is_simulated_from_its_file_at_once(mbrl, urdf, options, drive):
    data = Path(pytest.importorskip("pybullet_data").getDataPath())
    from sim.robots import make_robot
    from sim.sensors import Sensors

    code, _, err = mbrl("init-robot", data / urdf, "--output", "robot.yaml", *options)
    assert (code, err) == (0, "")
    spec = load_spec("./robot.yaml")
    assert (spec.sim.drive, spec.action_dim) == drive
    robot = make_robot(spec)
    sensors = Sensors(spec, robot, np.random.default_rng(0))
    envelope, limits = Envelope(spec), SafetyFilter(spec)
    rng = np.random.default_rng(0)
    assert envelope.check(sensors.state) is None
    moved = sensors.state
    for _ in range(round(0.4 * spec.rate)):  # what a first run does, as far as it is trusted
        action = spec.trust.initial * rng.uniform(spec.action_min, spec.action_max)
        robot.command(limits((1 - spec.trust.initial) * spec.action_safe + action))
        for _ in range(round(spec.dt / robot.dt)):
            robot.step()
        sensors.look(now=True)
        if spec.sim.drive != "position":
            assert envelope.check(sensors.state) is None
    assert np.isfinite(sensors.state).all() and (sensors.state != moved).any()
    robot.close()
