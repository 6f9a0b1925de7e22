"""Transitions from the topics of a robot are those that its controller would have made."""

import math

import numpy as np
import pytest
from recorded import (
    COMMANDS,
    SECOND,
    START,
    STATES,
    T,
    comparable,
    driven,
    floats,
    header,
    joint_state,
    point,
    ramp,
    write,
)

from mbrl_node.data.bags import BagError, read_bag
from mbrl_node.data.bags.messages import blank
from mbrl_node.data.bags.types import own_types
from mbrl_node.learning.learner import is_one_step
from mbrl_node.spec import RobotSpec
from tests.data.tasks import REACH, SPEC

PERIOD = round(SPEC.dt * SECOND)


@pytest.fixture
def read(tmp_path):
    """The records and the report of a bag with these messages."""

    def read(messages, spec=SPEC, **how):
        write(tmp_path / "bag", messages, **how)
        found = read_bag(tmp_path / "bag", spec)
        assert found.warnings == ()
        return found.records, "\n".join(found.report)

    return read


@pytest.mark.parametrize("delay", [0.0, 0.08])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"jitter": 0.003},
        {"jitter": 0.003, "simulated": True},
        {"jitter": 0.002, "age": 0.03},
        {"jitter": 0.003, "age": 0.07},
    ],
    ids=str,
)
def test_the_transitions_are_those_of_the_control_loop_bit_for_bit(read, how, delay):
    spec = SPEC.with_overrides(action={"delay": delay})
    messages, expected = driven(spec, **how)
    expected = comparable(expected)
    found = comparable(read(messages, spec)[0])
    common = found.keys() & expected.keys()
    # At the ends the bag does not tell what was in effect, or what came after.
    assert len(common) >= len(expected) - 4
    assert len(found) <= len(expected) + 2
    for stamps in common:
        assert found[stamps].tobytes() == expected[stamps].tobytes()


TOLD = {
    40: ("/goal", point(1.5, 0.75), 0, [1.5, 0.75]),
    80: ("/speed", floats(0.0, -0.5), 2, [-0.5]),
    81: ("/goal", point(-1.5, 0.5), 0, [-1.5, 0.5]),
}


@pytest.mark.parametrize("how", [{}, {"simulated": True}], ids=str)
def test_targets_count_from_when_they_are_told_and_so_do_their_rewards(read, how):
    # A robot begins anywhere where nobody says where; what is made of a bag, in the middle.
    spec = _beginning_in_the_middle(REACH)
    messages, expected = driven(spec, told=TOLD, **how)
    refused = [
        ("/goal", START + 4 * SECOND, point(3.0, 0.5)),
        ("/goal", START + 4 * SECOND, point(0.0, 0.5, "map")),
        ("/speed", START + 4 * SECOND, floats(0.0)),
    ]
    messages = sorted([*messages, *refused], key=lambda message: message[1])
    records, report = read(messages, REACH)
    expected, found = comparable(expected), comparable(records)
    common = found.keys() & expected.keys()
    assert len(common) >= len(expected) - 4
    for stamps in common:
        assert found[stamps]["targets"].tolist() == expected[stamps]["targets"].tolist()
        assert found[stamps]["reward"] == pytest.approx(expected[stamps]["reward"], abs=1e-12)
    assert {tuple(row) for row in records["targets"].tolist()} == {
        *((0.0, 0.25, 0.0), (1.5, 0.75, 0.0), (1.5, 0.75, -0.5), (-1.5, 0.5, -0.5))
    }
    assert "goal_x = 3 m is not between -2 and 2 (1)" in report
    assert "it is in the frame 'map', not 'rail' (1)" in report
    assert "1 messages on /speed were refused: it has no data[1] (1)" in report
    assert "targets[0]" in report


def _beginning_in_the_middle(spec: RobotSpec) -> RobotSpec:
    targets = spec.model_dump(mode="json", exclude_unset=True)["targets"]
    for topic in targets:
        for field in topic["fields"]:
            field.setdefault("initial", 0.5 * (field["min"] + field["max"]))
    return spec.with_overrides(targets=targets)


def test_where_nobody_tells_targets_those_count_that_the_file_begins_with(read):
    records, report = read(ramp(), REACH)
    assert (records["targets"] == [0.0, 0.25, 0.0]).all()
    x, theta, x_dot, _ = records["next_state"].T
    expected = -np.hypot(x, theta - 0.25) - 0.5 * x_dot**2
    np.testing.assert_allclose(records["reward"], expected, atol=1e-9)
    assert "no target on /goal is in the bag: goal_x 0 m, goal_z 0.25 m" in report
    assert "no target on /speed is in the bag: speed 0 m/s" in report


def test_a_topic_of_targets_of_another_type_is_told(read):
    messages = [*ramp(), ("/goal", START + 4 * SECOND, floats(1.0))]
    with pytest.raises(BagError, match=r"targets\[0\]\.type: .*PointStamped.*Float64MultiArray"):
        read(messages, REACH)


def test_a_known_trajectory_at_another_phase_and_with_jitter(read):
    rng = np.random.default_rng(1)
    messages = []
    for k in range(400):  # each measurement comes up to 4 ms late, commands up to 5 ms
        stamp = START + k * SECOND // 100
        state = [math.sin(k / 100), 0.5, math.cos(k / 100), 0.0]
        late = int(rng.integers(0, 4_000_000))
        messages.append((STATES, stamp + late, joint_state(state, stamp)))
        if k % 4 == 1:
            late = int(rng.integers(5_000_000, 10_000_000))
            messages.append((COMMANDS, stamp + late, floats(k // 4 % 5)))
    messages.sort(key=lambda message: message[1])
    records, report = read(messages)
    assert len(records) >= 97
    assert "0 gaps" in report
    time = (records["stamp"] - START) / SECOND
    np.testing.assert_allclose(records["state"][:, 0], np.sin(time), atol=1e-9)
    np.testing.assert_allclose(records["next_state"][:-1], records["state"][1:])
    # The command of the period in which the measurement was made, or of its first half the one
    # before; with the jitter a tick is a measurement earlier or later now and then.
    period = (records["stamp"] - START) // PERIOD
    assert (records["action"][:, 0] == period % 5).mean() > 0.97
    assert (np.abs(records["next_stamp"] - records["stamp"] - PERIOD) <= PERIOD // 4).all()
    assert is_one_step(records, SPEC.dt).all()


def test_sequences_episodes_and_steps_count_and_episodes_have_their_length(read):
    records, report = read(ramp(5.0))
    assert records["sequence"].tolist() == list(range(len(records)))
    assert records["episode"].tolist()[::50] == [1, 2, 3]
    assert records["step"].tolist() == [k % 50 for k in range(len(records))]
    ends = np.flatnonzero(records["truncated"])
    assert ends.tolist() == [49, 99, len(records) - 1]
    assert (records["session"] == START).all() and set(records["controller"]) == {b"bag"}
    assert "in 3 episodes" in report


def test_rewards_and_ends_are_those_of_the_robots_file(read):
    # It leaves the track at 0.5 m, after 2.5 s, comes back at once, and leaves it again.
    messages = ramp(4.0)
    for k, (topic, _, message) in enumerate(messages):
        if topic == STATES and k > 350:
            message.position[1] -= 2.0
    spec = SPEC.with_overrides(termination=[{"of": "x", "max": 0.5}], episode={"length": 30.0})
    records, report = read(messages, spec)
    (end,) = np.flatnonzero(records["terminated"])
    assert records["next_state"][end, 0] > 0.5 >= records["state"][end, 0]
    assert (records["state"][:, 0] <= 0.5).all()
    assert records["episode"].tolist() == [1] * (end + 1) + [2] * (len(records) - end - 1)
    assert "s beyond where an episode ends" in report
    action, reached = records["action"][:, 0], records["next_state"]
    expected = np.cos(reached[:, 1]) - 0.03 * reached[:, 0] ** 2 - 0.001 * action**2
    np.testing.assert_allclose(records["reward"], expected, atol=1e-9)


def test_a_gap_in_the_measurements_ends_an_episode(read):
    def there(message):
        topic, time, _ = message
        return topic != STATES or not 1.0 < (time - START) / SECOND < 1.8

    records, report = read([message for message in ramp(4.0) if there(message)])
    (last,) = np.flatnonzero(records["stamp"][1:] - records["stamp"][:-1] > SECOND // 2)
    assert records["truncated"][last]
    assert records["episode"][last + 1] == records["episode"][last] + 1
    assert records["step"][last + 1] == 0
    assert "1 gaps" in report
    assert f"s without a state on {STATES} that is not older than its timeout" in report
    # Up to the timeout a controller goes on with the state it has.
    gap = records[np.diff(records["stamp"], prepend=0) == 0]
    assert len(gap) <= math.ceil(SPEC.state[0].timeout / SPEC.dt)


def test_a_gap_in_the_commands_ends_an_episode(read):
    def there(message):
        topic, time, _ = message
        return topic != COMMANDS or not 1.0 < (time - START) / SECOND < 2.0

    records, report = read([message for message in ramp(4.0) if there(message)])
    assert "1 gaps" in report
    breaks = np.flatnonzero(records["next_stamp"][:-1] != records["stamp"][1:])
    assert len(breaks) == 1


def test_measurements_without_stamps_count_from_when_they_were_recorded(read):
    stamped = ramp()
    records, _ = read([*stamped[:3], *ramp(stamped=False)[3:]])
    assert ((records["stamp"] - START) % (SECOND // 100) == 0).all()
    assert is_one_step(records, SPEC.dt).all()


def test_what_is_older_than_what_came_before_or_from_the_future_is_not_taken(read):
    messages = ramp()
    at = next(k for k, (topic, *_) in enumerate(messages) if topic == STATES and k > 200)
    time = messages[at][1]
    late = joint_state([9.0, 9.0, 9.0, 9.0], time - SECOND // 20)
    ahead = joint_state([9.0, 9.0, 9.0, 9.0], time + 3600 * SECOND)
    again = joint_state([9.0, 9.0, 9.0, 9.0], time)
    messages[at + 1 : at + 1] = [(STATES, time + 1000, m) for m in (late, ahead, again)]
    records, report = read(messages)
    assert records["state"].max() < 9.0
    assert "0 gaps" in report


def test_fast_commands_leave_ticks_a_period_apart(read):
    messages = [m for m in ramp() if m[0] == STATES]
    for k in range(0, 4000, 2):
        messages.append((COMMANDS, START + k * SECOND // 1000, floats(math.sin(k / 500))))
    records, _ = read(sorted(messages, key=lambda message: message[1]))
    assert len(records) >= 98
    assert (np.diff(records["stamp"]) == PERIOD).all()
    # What was in effect at the measurement, or a quarter of a period later.
    time = (records["stamp"] - START) / SECOND
    late = SPEC.dt / 4
    np.testing.assert_allclose(records["action"][:, 0], np.sin(2 * (time + late)), atol=0.02)


def test_commands_beyond_the_limits_are_taken_and_told(read):
    messages = [
        (topic, time, floats(7.0) if topic == COMMANDS else message)
        for topic, time, message in ramp()
    ]
    records, report = read(messages)
    assert set(records["action"][:, 0]) == {7.0}
    assert "100 commands are beyond the limits of force, -5 to 5 N" in report


def odometry(x, yaw, speed, stamp):
    message = blank(own_types(), "nav_msgs/msg/Odometry")
    message.header, message.pose.pose.position.x = header(stamp), x
    message.pose.pose.orientation.z = math.sin(yaw / 2)
    message.pose.pose.orientation.w = math.cos(yaw / 2)
    message.twist.twist.linear.x = speed
    return message


ROVER = {
    "name": "rover",
    "rate": 10.0,
    "state": [
        {
            "topic": "/odom",
            "type": "nav_msgs/msg/Odometry",
            "timeout": 0.3,
            "fields": [
                {"name": "x", "path": "pose.pose.position.x", "unit": "m"},
                {
                    "name": "yaw",
                    "path": "pose.pose.orientation.yaw",
                    "unit": "rad",
                    "angle": True,
                },
                {"name": "v", "path": "twist.twist.linear.x", "unit": "m/s"},
            ],
        },
        {
            "topic": "battery",
            "type": "std_msgs/msg/Float64MultiArray",
            "timeout": 5.0,
            "size": 3,
            "fields": [{"name": "volts", "path": "data[2]", "unit": "V"}],
        },
    ],
    "action": {
        "topic": "/cmd",
        "type": "std_msgs/msg/Float64MultiArray",
        "fields": [
            {"name": "left", "joint": "l", "min": -1, "max": 1, "safe": 0, "unit": "m/s"},
            {"name": "right", "joint": "r", "min": -1, "max": 1, "safe": 0, "unit": "m/s"},
        ],
    },
    "reward": [{"term": "linear", "of": "v", "weight": 1.0}],
    "episode": {"length": 60.0},
}


def rover_messages():
    messages = []
    for k in range(300):
        time = START + k * SECOND // 50
        messages.append(("/odom", time + 1_000_000, odometry(0.1 * k, 0.01 * k, 5.0, time)))
        messages.append(("/rover/battery", time + 2_000_000, floats(0, 0, 24 - k // 50)))
        if k % 5 == 0:
            messages.append(("/cmd", time + 3_000_000, floats(k / 300, -k / 300)))
    return messages


def test_messages_of_any_type_are_read_by_path_and_several_topics_joined(read):
    records, report = read(rover_messages(), RobotSpec.from_dict(ROVER))
    assert len(records) >= 58
    x, yaw, speed, volts = records["state"].T
    np.testing.assert_allclose(yaw, x / 10, atol=1e-9)
    assert set(speed) == {5.0} and set(volts) <= {24.0, 23.0, 22.0, 21.0, 20.0, 19.0}
    assert (np.diff(volts) <= 0).all()
    np.testing.assert_allclose(records["action"][:, 0], x / 30, atol=1e-9)
    np.testing.assert_allclose(records["action"][:, 1], -x / 30, atol=1e-9)
    # The state is as old as the oldest of its parts.
    assert (records["stamp"] <= START + 300 * SECOND // 50).all()
    assert "/rover/battery" in report and "state[1]" in report


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"type": "nav_msgs/msg/Path"},
            "state[0].type: 'nav_msgs/msg/Path' is not what the bag has, 'nav_msgs/msg/Odometry'",
        ),
        ({"topic": "/odo"}, "state[0].topic: '/odo' is not in the bag; did you mean '/odom'?"),
        (
            {"fields": [{"name": "x", "path": "pose.position.x", "unit": "m"}]},
            "state[0].fields[0].path: 'pose.position.x' is not a number in nav_msgs/msg/Odometry; "
            "pose has pose, covariance",
        ),
    ],
)
def test_what_the_robots_file_has_wrong_is_told_with_its_place(read, change, words):
    state = [ROVER["state"][0] | change, ROVER["state"][1]]
    if "fields" in change:
        state[0] = {**state[0], "fields": [*change["fields"], *ROVER["state"][0]["fields"][1:]]}
    with pytest.raises(BagError) as caught:
        read(rover_messages(), RobotSpec.from_dict(ROVER | {"state": state}))
    assert f"rover: {words}" in str(caught.value)
    assert "  /odom  nav_msgs/msg/Odometry  300" in str(caught.value)


def test_joints_that_are_not_there_are_told_with_those_that_are(read):
    with pytest.raises(BagError) as caught:
        read(ramp(names=["cart_to_pole", "slider"]))
    text = str(caught.value)
    assert "cartpole: state[0]: no message on /joint_states can be used" in text
    assert "it has no joint 'slider_to_cart'; its joints are cart_to_pole, slider" in text


def test_single_messages_that_cannot_be_used_are_counted(read):
    messages = ramp()
    messages[9][2].position[0] = math.nan
    messages[10][2].name = messages[10][2].name[:1]
    commands = [k for k, (topic, *_) in enumerate(messages) if topic == COMMANDS]
    messages[commands[5]] = (COMMANDS, messages[commands[5]][1], floats(1.0, 2.0))
    records, report = read(messages)
    assert len(records) > 90
    assert "2 messages on /joint_states were refused" in report
    assert "the position of joint 'cart_to_pole' is nan (1)" in report
    assert f"1 messages on {COMMANDS} were refused: it has 2 values, not 1 (1)" in report


def test_a_topic_of_another_type_has_no_commands(read):
    twist = T["geometry_msgs/msg/Twist"](
        T["geometry_msgs/msg/Vector3"](1.0, 0.0, 0.0), T["geometry_msgs/msg/Vector3"](0.0, 0.0, 0.0)
    )
    messages = [(t, time, twist if t == COMMANDS else m) for t, time, m in ramp()]
    with pytest.raises(
        BagError, match=r"action\.type: .*Float64MultiArray.*geometry_msgs/msg/Twist"
    ):
        read(messages)


def test_a_bag_with_states_only_says_which_topic_is_missing(read):
    with pytest.raises(BagError, match=rf"action\.topic: '{COMMANDS}' is not in the bag"):
        read([message for message in ramp() if message[0] == STATES])
