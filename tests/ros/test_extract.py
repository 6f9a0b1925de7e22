"""From messages of any type to the state fields they hold."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")

from geometry_msgs.msg import Quaternion
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64MultiArray

from mbrl_node.ros.extract import compile_fields, message_class
from mbrl_node.spec.extract import TopicError
from mbrl_node.spec.topics import JointStateTopic, MessageTopic

JOINTS = ("a", "b")
VALUES = ("position", "velocity", "effort")


def joints(*fields: tuple[str, str]) -> JointStateTopic:
    """A topic with these joints and values."""
    return JointStateTopic.model_validate(
        {
            "topic": "/joints",
            "type": "sensor_msgs/msg/JointState",
            "timeout": 1.0,
            "fields": [
                {"name": f"f{i}", "joint": joint, "value": value, "unit": "m"}
                for i, (joint, value) in enumerate(fields)
            ],
        }
    )


def paths(kind: str, *fields: str, **more: object) -> MessageTopic:
    """A topic with fields at these paths."""

    def entry(i: int, path: str) -> dict[str, object]:
        euler = path.endswith(("roll", "pitch", "yaw"))
        return {"name": f"f{i}", "path": path, "unit": "rad", "angle": euler}

    return MessageTopic.model_validate(
        {"topic": "/t", "type": kind, "timeout": 1.0, **more}
        | {"fields": [entry(i, path) for i, path in enumerate(fields)]}
    )


def quaternion(roll: float, pitch: float, yaw: float) -> Quaternion:
    """Turned about x, then y, then z, each of the world's."""

    def product(p: list[float], q: list[float]) -> list[float]:
        a, b = np.array(p[:3]), np.array(q[:3])
        return [*(p[3] * b + q[3] * a + np.cross(a, b)), p[3] * q[3] - a @ b]

    def turn(axis: int, angle: float) -> list[float]:
        return [math.sin(angle / 2) * (i == axis) for i in range(3)] + [math.cos(angle / 2)]

    x, y, z, w = functools.reduce(product, [turn(2, yaw), turn(1, pitch), turn(0, roll)])
    return Quaternion(x=float(x), y=float(y), z=float(z), w=float(w))


# Joints.

numbers = st.floats() | st.floats(-10, 10)
columns = st.lists(numbers, max_size=4)
names = st.lists(st.sampled_from(["a", "b", "c", "", "ab"]) | st.text(max_size=3), max_size=4)
fields = st.lists(
    st.tuples(st.sampled_from(JOINTS), st.sampled_from(VALUES)), min_size=1, max_size=6, unique=True
)


@given(fields, st.lists(st.tuples(names, columns, columns, columns), min_size=1, max_size=4))
@settings(max_examples=500, deadline=None)
def test_any_joint_state_gives_its_finite_values_or_a_reason(
    wanted: list[tuple[str, str]], contents: list[tuple[list[str], *tuple[list[float], ...]]]
) -> None:
    extract = compile_fields(joints(*wanted))
    for name, *values in contents:
        msg = JointState(name=name, **dict(zip(VALUES, values, strict=True)))
        column = dict(zip(VALUES, values, strict=True))
        right = all(
            name.count(joint) == 1
            and len(column[value]) == len(name)
            and math.isfinite(column[value][name.index(joint)])
            for joint, value in wanted
        )
        if right:
            expected = [column[value][name.index(joint)] for joint, value in wanted]
            assert extract(msg) == expected
        else:
            with pytest.raises(ValueError, match=r"^(it has|the (position|velocity|effort) of)"):
                extract(msg)


def test_joints_are_found_by_name_in_every_message() -> None:
    extract = compile_fields(joints(("b", "velocity"), ("a", "position")))
    msg = JointState(name=["a", "b"], position=[1.0, 2.0], velocity=[3.0, 4.0])
    assert extract(msg) == [4.0, 1.0]
    msg.name = ["b", "a"]
    assert extract(msg) == [3.0, 2.0]
    msg.name.reverse()  # the same list, changed in place
    assert extract(msg) == [4.0, 1.0]
    msg.name.append("c")
    with pytest.raises(ValueError, match="it has 3 joints and 2 values of velocity"):
        extract(msg)


@pytest.mark.parametrize(
    ("name", "position", "reason"),
    [
        (["a"], [1.0], "it has no joint 'b'"),
        ([], [], "it has no joint 'a'"),
        (["a", "b", "b"], [1.0, 2.0, 3.0], "it has joint 'b' 2 times"),
        (["a", "b"], [1.0], "it has 2 joints and 1 values of position"),
        (["a", "b"], [], "it has 2 joints and 0 values of position"),
        (["a", "b"], [0.0] * 100_000, "it has 2 joints and 100000 values of position"),
        (["a", "b"], [1.0, math.nan], "the position of joint 'b' is nan"),
        (["a", "b"], [-math.inf, 1.0], "the position of joint 'a' is -inf"),
    ],
)
def test_a_joint_state_that_lacks_something_is_refused_with_the_reason(
    name: list[str], position: list[float], reason: str
) -> None:
    extract = compile_fields(joints(("a", "position"), ("b", "position")))
    with pytest.raises(ValueError) as error:
        extract(JointState(name=name, position=position))
    assert str(error.value) == reason


def test_other_joints_do_no_harm() -> None:
    extract = compile_fields(joints(("b", "effort")))
    others = [f"other {i % 10}" for i in range(1000)]
    assert extract(JointState(name=[*others, "b"], effort=[*[math.nan] * 1000, 7.0])) == [7.0]


# Paths.


def test_an_odometry_gives_position_yaw_and_speed() -> None:
    extract = compile_fields(
        paths(
            "nav_msgs/msg/Odometry",
            "pose.pose.position.x",
            "pose.pose.orientation.yaw",
            "twist.twist.linear.x",
            "pose.covariance[35]",
            "header.stamp.sec",
        )
    )
    msg = Odometry()
    msg.header.stamp.sec = 12
    msg.pose.pose.position.x, msg.twist.twist.linear.x = 1.5, -0.5
    msg.pose.pose.orientation = quaternion(0.0, 0.0, 2.5)
    msg.pose.covariance[35] = 0.25
    values = extract(msg)
    assert values == pytest.approx([1.5, 2.5, -0.5, 0.25, 12.0])
    assert all(type(value) is float for value in values)


@given(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(-3.1, 3.1), st.floats(0.96, 1.04))
@settings(deadline=None)
def test_the_angles_of_an_orientation_are_those_it_was_made_of(
    roll: float, pitch: float, yaw: float, length: float
) -> None:
    q = quaternion(roll, pitch, yaw)
    q.x, q.y, q.z, q.w = (length * c for c in (q.x, q.y, q.z, q.w))
    extract = compile_fields(
        paths("sensor_msgs/msg/Imu", *(f"orientation.{a}" for a in ("roll", "pitch", "yaw")))
    )
    assert extract(Imu(orientation=q)) == pytest.approx([roll, pitch, yaw], abs=1e-6)


@pytest.mark.parametrize("x", [0.0, 1e200, 1e308, math.nan, math.inf, 0.5, 1.1])
@pytest.mark.parametrize("parts", ["xyzw", ("yaw",), ("pitch",), ("roll",)])
def test_an_orientation_that_is_none_is_refused(x: float, parts: str | tuple[str, ...]) -> None:
    extract = compile_fields(paths("sensor_msgs/msg/Imu", *(f"orientation.{p}" for p in parts)))
    with pytest.raises(ValueError, match=r"^its orientation(\.x is|.* of the length .*, not 1)"):
        extract(Imu(orientation=Quaternion(x=x, w=0.0)))


def test_an_array_must_have_the_size_that_was_promised() -> None:
    kind = "std_msgs/msg/Float64MultiArray"
    exact, enough = (
        compile_fields(paths(kind, "data[2]", "data[0]", **more)) for more in ({"size": 3}, {})
    )
    assert exact(Float64MultiArray(data=[1.0, 2.0, 3.0])) == [3.0, 1.0]
    assert enough(Float64MultiArray(data=[1.0, 2.0, 3.0, 4.0])) == [3.0, 1.0]
    for data in ([], [1.0, 2.0], [1.0] * 4, [1.0] * 100_000):
        with pytest.raises(ValueError, match=rf"^it has {len(data)} values in data, not 3$"):
            exact(Float64MultiArray(data=data))
    with pytest.raises(ValueError, match=r"^it has no data\[2\]$"):
        enough(Float64MultiArray(data=[1.0, 2.0]))
    with pytest.raises(ValueError, match=r"^its data\[2\] is nan$"):
        enough(Float64MultiArray(data=[1.0, 2.0, math.nan]))


KINDS = [
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/TwistStamped",
    "geometry_msgs/msg/WrenchStamped",
    "mbrl_msgs/msg/ControllerStatus",
    "mbrl_msgs/msg/Plan",
    "nav_msgs/msg/Odometry",
    "nav_msgs/msg/Path",
    "sensor_msgs/msg/BatteryState",
    "sensor_msgs/msg/Imu",
    "sensor_msgs/msg/MultiDOFJointState",
    "std_msgs/msg/Bool",
    "std_msgs/msg/Float64MultiArray",
    "std_msgs/msg/UInt8MultiArray",
]
INTEGERS = {
    f"{u}int{n}": (0 if u else -(2 ** (n - 1)), 2 ** (n - (not u)) - 1)
    for u in ("", "u")
    for n in (8, 16, 32, 64)
}


def content(draw: st.DrawFn, kind: str, name: str = "") -> Any:
    """Something of a type, as messages name it."""
    if kind.startswith("sequence<"):
        item = kind.removeprefix("sequence<").removesuffix(">")
        return [content(draw, item) for _ in range(draw(st.integers(0, 3)))]
    if kind.endswith("]"):
        item, _, size = kind.removesuffix("]").partition("[")
        return np.array([content(draw, item) for _ in range(int(size))])
    if kind in INTEGERS:
        return draw(st.integers(*INTEGERS[kind]))
    if kind == "boolean":
        return draw(st.booleans())
    if kind == "octet":
        return draw(st.binary(min_size=1, max_size=1))
    if kind == "string":
        return draw(st.text(max_size=3))
    if kind == "float":
        return draw(st.floats(width=32))
    if kind == "double":
        return draw(numbers)
    return message(draw, kind.replace("/", "/msg/"))


def message(draw: st.DrawFn, kind: str) -> Any:
    """A message of a type with whatever in it."""
    cls = message_class(kind)
    types = cls.get_fields_and_field_types()
    return cls(**{name: content(draw, of, name) for name, of in types.items()})


def all_numbers(kind: str, prefix: str = "") -> list[str]:
    """The paths of the numbers in a message of a type, lists by their first two items."""
    found = []
    for name, of in message_class(kind).get_fields_and_field_types().items():
        is_list = of.endswith("]") or of.startswith("sequence<")
        item = of.removeprefix("sequence<").removesuffix(">").partition("[")[0]
        for index in ("[0]", "[1]") if is_list else ("",):
            path = f"{prefix}{name}{index}"
            if "/" in item:
                found += all_numbers(item.replace("/", "/msg/"), f"{path}.")
            elif item not in ("string", "octet"):
                found.append(path)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_any_message_gives_the_finite_numbers_at_any_paths_or_a_reason(kind: str) -> None:
    known = all_numbers(kind)

    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def check(data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=5, unique=True))
        msg = message(data.draw, kind)
        extract = compile_fields(paths(kind, *chosen))
        try:
            values = extract(msg)
        except ValueError as error:
            assert str(error).startswith(("it has ", "its "))
        else:
            assert values == [float(eval(f"msg.{path}", {"msg": msg})) for path in chosen]
            assert all(map(math.isfinite, values))

    check()


# What cannot be read at all.


@pytest.mark.parametrize(
    ("kind", "path", "hint"),
    [
        ("geometry_msgs/msg/TwistStamped", "twist.linear.q", "twist.linear has x, y, z"),
        ("geometry_msgs/msg/TwistStamped", "twist.linear", "twist.linear has x, y, z"),
        ("geometry_msgs/msg/TwistStamped", "twist.linear.x.y", "twist.linear.x is a double"),
        ("geometry_msgs/msg/TwistStamped", "linear.x", "it has header, twist"),
        ("geometry_msgs/msg/TwistStamped", "twist[0].x", "twist is no list"),
        ("geometry_msgs/msg/TwistStamped", "header.frame_id", "it is a string"),
        ("geometry_msgs/msg/PoseStamped", "pose.position.yaw", "pose.position has x, y, z"),
        (
            "geometry_msgs/msg/PoseStamped",
            "pose.orientation",
            "pose.orientation has x, y, z, w, roll, pitch, yaw",
        ),
        ("nav_msgs/msg/Odometry", "pose.covariance", "pose.covariance is a list, as in pose.co"),
        ("nav_msgs/msg/Odometry", "pose.covariance[36]", "there are 36 values"),
        ("std_msgs/msg/Float64MultiArray", "data", "data is a list, as in data[0]"),
        ("std_msgs/msg/Float64MultiArray", "data[0].x", "data[0] is a double"),
        ("std_msgs/msg/Float64MultiArray", "layout.dim[0].label", "it is a string"),
        ("std_msgs/msg/Float64MultiArray", "_data[0]", "it has layout, data"),
        ("std_msgs/msg/Float64MultiArray", "__class__", "it has layout, data"),
    ],
)
def test_a_path_without_a_number_is_refused_with_what_there_is(
    kind: str, path: str, hint: str
) -> None:
    good = all_numbers(kind)[0]
    with pytest.raises(TopicError) as error:
        compile_fields(paths(kind, good, path))
    assert error.value.at == ("fields", 1, "path")
    assert error.value.text.startswith(f"'{path}' is not a number in {kind}; {hint}")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("no_such_msgs/msg/Odometry", "no package 'no_such_msgs' is here; is it sourced?"),
        ("json/msg/Odometry", "cannot be imported"),
        ("nav_msgs/msg/Odometri", "is not a message of nav_msgs; did you mean 'Odometry'?"),
        ("nav_msgs/msg/Xyz", "is not a message of nav_msgs"),
    ],
)
def test_an_unknown_message_type_is_refused_with_the_reason(kind: str, text: str) -> None:
    with pytest.raises(TopicError) as error:
        compile_fields(paths(kind, "data"))
    assert error.value.at == ("type",)
    assert error.value.text.startswith(f"'{kind}'") and text in error.value.text
