"""What is read of a URDF, and which files are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mbrl_node.spec import SpecError
from mbrl_node.spec.urdf import Urdf, driven, read_urdf


def link(name: str, mass: float = 0.0, at: str = "0 0 0") -> str:
    inertial = f'<inertial><origin xyz="{at}"/><mass value="{mass}"/></inertial>' if mass else ""
    return f'<link name="{name}">{inertial}</link>'


def joint(
    name: str, parent: str, child: str, kind: str = "revolute", more: str = "", at: str = "0 0 0"
) -> str:
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{at}"/>{more}</joint>'
    )


LIMIT = '<limit lower="-1" upper="3" effort="10" velocity="2"/>'
ARM = (
    link("base", 5.0),
    link("upper", 2.0, "0 0 0.5"),
    link("lower", 1.0, "0.3 0 0.4"),
    joint("shoulder", "base", "upper", more=LIMIT),
    joint("elbow", "upper", "lower", "continuous", at="0 0 1"),
)


def write(folder: Path, *parts: str, name: str = "arm") -> Path:
    path = folder / "robot.urdf"
    path.write_text(f'<?xml version="1.0"?>\n<robot name="{name}">{"".join(parts)}</robot>')
    return path


@pytest.fixture
def read(tmp_path):
    def it(*parts: str) -> Urdf:
        return read_urdf(write(tmp_path, *parts))

    return it


@pytest.fixture
def refusal(read):
    def it(*parts: str) -> str:
        with pytest.raises(SpecError) as error:
            read(*parts)
        (problem,) = error.value.problems
        assert re.match(r".*robot\.urdf: ", problem)
        return problem.partition("robot.urdf: ")[2]

    return it


def test_joints_that_move_are_read_with_their_limits(read):
    urdf = read(*ARM)
    shoulder, elbow = urdf.joints
    assert (urdf.name, urdf.root) == ("arm", "base")
    assert (shoulder.kind, shoulder.lower, shoulder.upper) == ("revolute", -1.0, 3.0)
    assert (shoulder.effort, shoulder.velocity) == (10.0, 2.0)
    assert (shoulder.middle, shoulder.half_range) == (1.0, 2.0)
    assert (elbow.kind, elbow.half_range, elbow.effort, elbow.middle) == (
        "continuous",
        None,
        None,
        0,
    )


def test_the_load_of_a_joint_is_the_weight_it_carries_stretched_out_level(read):
    shoulder, elbow = read(*ARM).joints
    assert elbow.load == pytest.approx(9.81 * 0.5)
    assert shoulder.load == pytest.approx(9.81 * (2 * 0.5 + 1 * (1.0 + 0.5)))
    lift = joint("lift", "base", "upper", "prismatic")
    assert read(link("base"), ARM[1], lift).joints[0].load == pytest.approx(9.81 * 2)


def test_fixed_joints_and_those_that_do_not_move_by_themselves_are_left_out(read):
    more = [link("a"), link("b"), link("c"), joint("weld", "base", "a", "fixed")]
    more += [joint("follower", "base", "b", more='<mimic joint="elbow"/>')]
    more += [joint("ball", "base", "c", "floating")]
    urdf = read(*ARM, *more)
    assert [j.name for j in urdf.joints] == ["shoulder", "elbow"]
    assert urdf.left_out == {"follower": "mimics elbow", "ball": "is floating"}


@pytest.mark.parametrize(
    "limit",
    [
        "",
        "<limit/>",
        '<limit lower="0" upper="0" effort="0" velocity="-1"/>',
        '<limit lower="1" upper="-1"/>',
        '<limit lower="nan" upper="inf" effort="much" velocity="${v}"/>',
        '<limit lower="-1" effort="nan"/>',
    ],
)
def test_limits_that_make_no_sense_are_no_limits(read, limit):
    (only,) = read(link("base"), link("a"), joint("j", "base", "a", more=limit)).joints
    assert (only.lower, only.upper, only.effort, only.velocity) == (None,) * 4


def test_one_moving_branch_is_bolted_down_several_are_wheels_or_legs(read):
    assert read(*ARM).fixed
    wheel = link("wheel"), joint("axle", "base", "wheel", "continuous")
    assert not read(*ARM, *wheel).fixed
    through = link("hull"), joint("weld", "base", "hull", "fixed")
    wheel = link("wheel"), joint("axle", "hull", "wheel", "continuous")
    assert not read(*ARM, *through, *wheel).fixed
    on_world = link("world"), joint("bolt", "world", "base", "fixed")
    assert read(*ARM, *through, *wheel, *on_world).fixed


def test_what_drives_a_joint_is_told_by_ros2_control_then_transmissions_then_limits(read):
    assert list(driven(read(*ARM))) == ["shoulder"]
    transmission = '<transmission name="t"><joint name="elbow"/></transmission>'
    assert list(driven(read(*ARM, transmission))) == ["elbow"]
    control = (
        '<ros2_control name="arm" type="system"><joint name="shoulder">'
        '<command_interface name="velocity"/><command_interface name="position"/>'
        '<command_interface name="torque_of_ours"/><state_interface name="effort"/>'
        '</joint><joint name="elbow"><state_interface name="position"/></joint></ros2_control>'
    )
    urdf = read(*ARM, transmission, control)
    assert list(driven(urdf)) == ["shoulder"]
    assert urdf.joints[0].interfaces == ("velocity", "position")
    plain = link("base"), link("a"), joint("j", "base", "a", "continuous")
    assert list(driven(read(*plain))) == ["j"]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((), "has 0 links that hang on no joint, not 1"),
        ((link("a"), link("b")), "has 2 links that hang on no joint, not 1 (a, b)"),
        ((link("a"),), "has no joint that moves"),
        ((link("a"), link("b"), joint("j", "a", "c")), "joint 'j': its child 'c' is no link"),
        (
            (link("arm"), joint("j", "amr", "arm")),
            "its parent 'amr' is no link; did you mean 'arm'?",
        ),
        ((*ARM, joint("elbow", "base", "lower")), "has two joints 'elbow'"),
        ((*ARM, joint("j", "base", "lower")), "link 'lower' hangs on two joints, 'elbow' and 'j'"),
        (
            (*ARM, link("x"), link("y"), joint("j", "x", "y"), joint("k", "y", "x")),
            "joints hang on each other in a circle: j, k",
        ),
        ((*ARM, "<link/>"), "has a link without a name that can be used"),
        ((*ARM, '<xacro:macro xmlns:xacro="http://ros.org/xacro"/>'), "macros of xacro"),
        ((*ARM, "<xacro:macro/>"), "line 2: has macros of xacro in it"),
        ((*ARM, "<link>"), "line 2: not valid XML: mismatched tag"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_a_reason(refusal, parts, words):
    assert words in refusal(*parts)


@pytest.mark.parametrize(
    "declared",
    [
        '<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE r SYSTEM "http://localhost/robot.dtd">',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_file_that_could_declare_entities_is_refused(tmp_path, declared, encoding):
    path = tmp_path / "robot.urdf"
    text = f'<?xml version="1.0" encoding="{encoding}"?>{declared}<robot>{"".join(ARM)}</robot>'
    path.write_bytes(text.encode(encoding))
    with pytest.raises(SpecError, match="has a document type"):
        read_urdf(path)


@pytest.mark.parametrize("data", [b"", b"\0\1\2", b"\xff\xfe", b"PK\3\4", b"<robot", b"<sdf/>"])
def test_what_is_no_urdf_at_all_is_refused(tmp_path, data):
    path = tmp_path / "robot.urdf"
    path.write_bytes(data)
    with pytest.raises(SpecError):
        read_urdf(path)
    with pytest.raises(SpecError, match=r"nowhere\.urdf: cannot be read: No such file"):
        read_urdf(tmp_path / "nowhere.urdf")


def test_a_chain_of_thousands_of_joints_is_read(read):
    parts = [link("l0"), *(link(f"l{k + 1}") for k in range(3000))]
    parts += [joint(f"j{k}", f"l{k}", f"l{k + 1}") for k in range(3000)]
    assert len(read(*parts).joints) == 3000
