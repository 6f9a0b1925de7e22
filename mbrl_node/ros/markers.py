"""Plans as pictures for RViz: a path and lines, where the robot's file says what is a place."""

from __future__ import annotations

import math

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from nav_msgs.msg import Path
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from mbrl_node.control import TimedPlan
from mbrl_node.control.controller import Array
from mbrl_node.ros.stamps import to_time
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.display import Display

WIDTH, THIN = 0.02, 0.005  # of the plan and of a sample, m
LIFETIME = 1  # s


def path(plan: TimedPlan, spec: RobotSpec) -> Path:
    """Where the plan leads, one pose a control period, each stamped with its time; up to the first
    that is not finite.

    Args:
        plan: with its states.
        spec: with a display.
    """
    assert plan.states is not None and spec.display is not None
    msg = Path(header=_header(plan.time, spec.display))
    turns = _field(plan.states, spec.display.yaw, spec)
    for k, (point, turn) in enumerate(zip(_places(plan.states, spec), turns, strict=True)):
        if not np.isfinite([*point, turn]).all():
            break
        pose = PoseStamped(header=_header(plan.time + round(k * spec.dt * 1e9), spec.display))
        x, y, z = (float(value) for value in point)
        turned = Quaternion(z=math.sin(turn / 2), w=math.cos(turn / 2))
        pose.pose = Pose(position=Point(x=x, y=y, z=z), orientation=turned)
        msg.poses.append(pose)
    return msg


def markers(plan: TimedPlan, spec: RobotSpec) -> MarkerArray:
    """Where the plan leads (`plan`) and, thinner, its candidates (`samples`), from blue for the
    lowest of their returns to red for the highest. They replace all that was shown before.

    Args:
        plan: with its states.
        spec: with a display.
    """
    assert plan.states is not None and spec.display is not None
    header = _header(plan.time, spec.display)
    msg = MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])
    green = ColorRGBA(r=0.1, g=0.9, b=0.1, a=1.0)
    _draw(msg, header, ("plan", 0), _places(plan.states, spec), WIDTH, green)
    if (candidates := plan.candidates) is not None:
        low, high = candidates.returns.min(), candidates.returns.max()
        for i, states in enumerate(candidates.states):
            share = float((candidates.returns[i] - low) / (high - low)) if high > low else 1.0
            colour = ColorRGBA(r=share, g=0.2, b=1 - share, a=0.6)
            _draw(msg, header, ("samples", i), _places(states, spec), THIN, colour)
    return msg


def _draw(
    msg: MarkerArray,
    header: Header,
    name: tuple[str, int],
    places: Array,
    width: float,
    colour: ColorRGBA,
) -> None:
    """Adds a line through the places [T, 3] up to the first that is not finite."""
    finite = np.isfinite(places).all(1)
    if not finite.all():
        places = places[: int(finite.argmin())]
    if len(places) < 2:
        return  # RViz takes it for a mistake
    line = Marker(header=header, type=Marker.LINE_STRIP, color=colour)
    line.ns, line.id = name
    line.pose.orientation.w = 1.0
    line.scale.x = width
    line.lifetime.sec = LIFETIME
    line.points = [Point(x=x, y=y, z=z) for x, y, z in places.tolist()]
    msg.markers.append(line)


def _places(states: Array, spec: RobotSpec) -> Array:
    """The places [T, 3] of states [T, n]."""
    assert spec.display is not None
    display = spec.display
    return np.stack([_field(states, name, spec) for name in (display.x, display.y, display.z)], 1)


def _field(states: Array, name: str | None, spec: RobotSpec) -> Array:
    """A field of states [T, n], [T]; 0 where there is none."""
    return np.zeros(len(states)) if name is None else states[:, spec.state_names.index(name)]


def _header(time: int, display: Display) -> Header:
    return Header(stamp=to_time(time), frame_id=display.frame)
