"""Pictures of plans, as RViz takes them."""

import math

import numpy as np
import pytest

pytest.importorskip("mbrl_msgs.msg")

from rclpy.serialization import serialize_message
from visualization_msgs.msg import Marker

from mbrl_node.control import TimedPlan
from mbrl_node.control.candidates import Candidates
from mbrl_node.ros.markers import markers, path
from mbrl_node.spec import load_spec

CARTPOLE = load_spec("cartpole")
# A field for each place, so that none can be taken for another.
FULL = CARTPOLE.with_overrides(
    display={"frame": "map", "x": "x_dot", "y": "x", "z": "theta_dot", "yaw": "theta"}
)
STATES = np.array([[1.0, 0.0, 2.0, 3.0], [4.0, math.pi / 2, 5.0, 6.0], [7.0, math.pi, 8.0, 9.0]])
TIME = 2 * 10**9


def plan(states=STATES, candidates: Candidates | None = None) -> TimedPlan:
    return TimedPlan(
        time=TIME,
        asked=TIME,
        actions=np.zeros((len(states) - 1, 1)),
        model_version=1,
        plan_time=0.002,
        states=states,
        candidates=candidates,
    )


def points(marker: Marker) -> list[tuple[float, float, float]]:
    return [(p.x, p.y, p.z) for p in marker.points]


def test_a_path_has_a_stamped_pose_for_every_state():
    msg = path(plan(), FULL)
    serialize_message(msg)
    assert msg.header.frame_id == "map"
    assert [p.header.stamp.sec * 10**9 + p.header.stamp.nanosec for p in msg.poses] == [
        TIME,
        TIME + 40_000_000,
        TIME + 80_000_000,
    ]
    places = [(p.pose.position.x, p.pose.position.y, p.pose.position.z) for p in msg.poses]
    assert places == [(2.0, 1.0, 3.0), (5.0, 4.0, 6.0), (8.0, 7.0, 9.0)]
    turns = [2 * math.atan2(p.pose.orientation.z, p.pose.orientation.w) for p in msg.poses]
    assert turns == pytest.approx([0.0, math.pi / 2, math.pi])


def test_a_place_that_the_file_does_not_give_is_zero():
    first = path(plan(), CARTPOLE).poses[0].pose
    assert (first.position.x, first.position.y, first.position.z) == (1.0, 0.0, 0.0)
    assert (first.orientation.z, first.orientation.w) == (0.0, 1.0)


def test_what_was_shown_before_goes_and_the_plan_comes():
    first, line = markers(plan(), FULL).markers
    assert first.action == Marker.DELETEALL
    assert (line.type, line.action, line.ns) == (Marker.LINE_STRIP, Marker.ADD, "plan")
    assert points(line) == [(2.0, 1.0, 3.0), (5.0, 4.0, 6.0), (8.0, 7.0, 9.0)]
    assert (line.header.frame_id, line.header.stamp.sec) == ("map", 2)
    assert line.lifetime.sec == 1 and line.pose.orientation.w == 1.0 and line.color.a == 1.0


def test_samples_are_thinner_and_coloured_by_their_returns():
    candidates = Candidates(np.stack([STATES, STATES + 1, STATES + 2]), np.array([9.0, 5.0, 1.0]))
    msg = markers(plan(candidates=candidates), FULL)
    serialize_message(msg)
    _, line, *samples = msg.markers
    assert [(m.ns, m.id) for m in samples] == [("samples", 0), ("samples", 1), ("samples", 2)]
    assert all(m.scale.x < line.scale.x for m in samples)
    assert [m.color.r for m in samples] == [1.0, 0.5, 0.0]
    assert points(samples[2])[0] == (4.0, 3.0, 5.0)


def test_samples_of_equal_returns_have_a_colour_too():
    candidates = Candidates(np.stack([STATES, STATES]), np.array([3.0, 3.0]))
    assert [m.color.r for m in markers(plan(candidates=candidates), FULL).markers[2:]] == [1.0, 1.0]


def test_what_is_not_finite_is_not_shown():
    broken = STATES.copy()
    broken[2, 0] = math.nan
    assert len(path(plan(broken), FULL).poses) == 2
    assert len(points(markers(plan(broken), FULL).markers[1])) == 2
    broken[1, 2] = math.inf
    assert len(markers(plan(broken), FULL).markers) == 1  # one point is no line
