"""The robot in 3D, where it is predicted to go, where it could have gone, and where it went."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import viser
import viser.transforms
import yourdfpy  # type: ignore[import-untyped]
from numpy.typing import NDArray
from viser.extras import ViserUrdf

from mbrl_node.spec import RobotSpec
from mbrl_node.view.foresight import Foresight
from mbrl_node.view.goals import Goal
from mbrl_node.view.kinematics import Base, limbs
from mbrl_node.view.urdf import Urdf

Array = NDArray[np.float64]
Colours = NDArray[np.uint8]  # [T - 1, 2, 3]

AHEAD, OVER, MEASURED = (24, 160, 60), (240, 140, 20), (60, 60, 70)
ONE = (1, 2, 3)  # the shape of one segment of a line


@dataclass(frozen=True)
class Candidate:
    """A sampled trajectory.

    Attributes:
        places: [T, 3], one a control period.
        colour: red, green, blue, from 0 to 1: from blue for the lowest of the returns to red.
    """

    places: Array
    colour: tuple[float, float, float]


class Scene:
    """What stands in the picture.

    The places of a plan are those that the robot's `display` says and, where these are no place in
    space, those of the ends of its limbs. Where `display` is one number only, time is the second:
    what is to come lies before the robot, what was behind it.
    """

    def __init__(self, server: viser.ViserServer, spec: RobotSpec, goals: Sequence[Goal]) -> None:
        self._server, self._spec = server, spec
        self._base = Base(spec)
        self._shown = [
            None if spec.display is None else getattr(spec.display, axis) for axis in "xyz"
        ]
        self._columns = [None if n is None else spec.state_names.index(n) for n in self._shown]
        self._urdf: Urdf | None = None
        self._picture: ViserUrdf | None = None
        self._limbs: list[Callable[[Array, Array], Array]] = []
        scene = server.scene
        scene.configure_default_lights(cast_shadow=False)
        self._root = scene.add_frame("/robot", show_axes=False)
        lines = {"measured": (MEASURED, 3.0), "over": (OVER, 3.0), "ahead": (AHEAD, 4.0)}
        self._lines = {
            name: scene.add_line_segments(
                f"/plan/{name}",
                np.zeros(ONE, np.float32),
                colour,
                thickness=width,
                thickness_units="screen",
                visible=False,
            )
            for name, (colour, width) in lines.items()
        }
        self._lines["candidates"] = scene.add_line_segments(
            "/plan/candidates",
            np.zeros(ONE, np.float32),
            np.zeros(ONE, np.uint8),  # a colour for each point, now and later
            thickness=1.5,
            thickness_units="screen",
            visible=False,
        )
        self._goals = [goal for goal in goals if goal.columns]
        self._marks = [
            scene.add_icosphere(
                f"/goal/{k}", 0.02, color=(220, 40, 120), opacity=0.7, visible=False
            )
            for k in range(len(self._goals))
        ]
        self._gizmos: list[viser.TransformControlsHandle] = []
        self._frame()

    @property
    def has_robot(self) -> bool:
        """Whether the robot is seen."""
        return self._picture is not None

    def show_robot(self, urdf: Urdf) -> None:
        """From now on the robot is seen."""
        self._urdf = urdf
        self._picture = ViserUrdf(self._server, urdf.model, root_node_name="/robot")
        if sum(name is not None for name in self._shown) < 2 and not self._base.moves:
            self._limbs = [limb.places for limb in limbs(urdf)]
        self._frame()
        self._picture.update_cfg(urdf.model.cfg)

    def _frame(self) -> None:
        """The camera and the ground, for the robot and the room that it has."""
        low, high, ground = _bounds(self._spec, self._urdf)
        for k, name in enumerate(self._shown[:2]):
            for bottom, top in self._rooms(name, "xy"[k]):
                low[k], high[k] = min(low[k], 0.5 * bottom), max(high[k], 0.5 * top)
        centre, size = (low + high) / 2, float(np.linalg.norm(high - low)) or 1.0
        self._size = size
        cell = 10.0 ** np.floor(np.log10(size / 2))
        self._server.scene.add_grid(
            "/ground", plane="xy", infinite_grid=True, cell_size=cell, section_size=5 * cell,
            position=(0.0, 0.0, ground), fade_distance=6 * size,
            cell_color=(225, 225, 225), section_color=(195, 195, 195),
        )  # fmt: skip
        flat = high[2] - low[2] < 0.3 * size and self._base.moves
        offset = np.array([-0.25, -0.95, 1.05] if flat else [0.25, -0.8, 0.22]) * size
        self._server.initial_camera.look_at = tuple(centre)
        self._server.initial_camera.position = tuple(centre + offset)
        for mark in self._marks:
            mark.radius = 0.012 * size
        for gizmo in self._gizmos:
            gizmo.scale = 0.12 * size

    def _rooms(self, name: str | None, axis: str) -> Iterator[tuple[float, float]]:
        """Where a field of the state may be, and where goals are on an axis of the picture."""
        for allowed in (*self._spec.termination, *self._spec.constraints):
            if allowed.of == name and allowed.min is not None and allowed.max is not None:
                yield allowed.min, allowed.max
        for goal in self._goals:
            if axis in goal.columns:
                field = goal.fields[goal.columns[axis] - goal.first]
                yield field.min, field.max

    def show_state(self, state: Array) -> None:
        """The robot is in this state [n]."""
        pose = self._base.poses(state[None])[0]
        self._root.position = pose[:3, 3]
        self._root.wxyz = viser.transforms.SO3.from_matrix(pose[:3, :3]).wxyz
        if self._picture is not None and self._urdf is not None and self._urdf.columns:
            model = self._urdf.model
            joints = zip(model.actuated_joint_names, model.cfg, strict=True)
            values = {name: float(value) for name, value in joints}
            values |= {name: float(state[column]) for name, column in self._urdf.columns.items()}
            self._picture.update_cfg(np.array([*values.values()]))

    def show_foresight(self, foresight: Foresight) -> None:
        """The newest plan, one that is over, and what was measured while it was in use."""
        now = foresight.now
        if foresight.ahead is None:
            self._draw("candidates", [])
        for name, plan in (("ahead", foresight.ahead), ("over", foresight.over)):
            self._draw(name, [] if plan is None else self._ways(plan.times - now, plan.states))
        over = foresight.over
        seconds = foresight.horizon if over is None else now - over.start
        times, states = foresight.trail(seconds)
        self._draw("measured", self._ways(times - now, states) if len(times) > 1 else [])

    def show_candidates(self, foresight: Foresight, candidates: Sequence[Candidate]) -> None:
        """A sample of what the planner looked at for its newest plan."""
        plan = foresight.ahead
        kept = [c for c in candidates if plan is not None and 1 < len(c.places) <= len(plan.states)]
        times = np.zeros(0) if plan is None else plan.times - foresight.now
        ways = [self._spread(c.places, times[: len(c.places)]) for c in kept]
        colours = [
            np.tile((255 * np.array(c.colour)).astype(np.uint8), (len(c.places) - 1, 2, 1))
            for c in kept
        ]
        self._draw("candidates", ways, colours)

    def add_gizmo(self, goal: Goal, numbers: Mapping[str, Any]) -> None:
        """A place to drag: its coordinates go into these numbers, and theirs into it."""
        limits = {axis: (goal.fields[c - goal.first].min, goal.fields[c - goal.first].max)
                  for axis, c in goal.columns.items()}  # fmt: skip

        def at() -> Array:
            return np.array([numbers[a].value if a in numbers else 0.0 for a in "xyz"])

        gizmo = self._server.scene.add_transform_controls(
            f"/set_goal/{goal.index}",
            scale=0.12 * self._size,
            active_axes=tuple(axis in numbers for axis in "xyz"),  # type: ignore[arg-type]
            disable_rotations=True,
            translation_limits=tuple(limits.get(axis, (0.0, 0.0)) for axis in "xyz"),  # type: ignore[arg-type]
            position=at(),
        )
        self._gizmos.append(gizmo)

        @gizmo.on_update
        def _(event: object) -> None:
            for axis, value in zip("xyz", gizmo.position, strict=True):
                if axis in numbers:
                    numbers[axis].value = round(float(value), 3)

        def typed(event: viser.GuiEvent[Any]) -> None:
            if event.client_id is not None:  # by a person, not by the gizmo
                gizmo.position = at()

        for number in numbers.values():
            number.on_update(typed)

    def show_targets(self, targets: Sequence[float]) -> None:
        """What the task aims at, where that is a place; in the order of the robot's spec."""
        for goal, mark in zip(self._goals, self._marks, strict=True):
            if len(targets) > max(goal.columns.values()):
                place = [targets[goal.columns[a]] if a in goal.columns else 0.0 for a in "xyz"]
                mark.position, mark.visible = np.array(place), True

    def clear(self) -> None:
        """Nothing is known of now."""
        for name in self._lines:
            self._draw(name, [])

    def _ways(self, times: Array, states: Array) -> list[Array]:
        """The lines [T, 3] of a trajectory: of its place, and of the ends of limbs."""
        ways = []
        if any(column is not None for column in self._columns):
            zero = np.zeros(len(states))
            places = [zero if c is None else states[:, c] for c in self._columns]
            ways.append(self._spread(np.stack(places, 1), times))
        bases = self._base.poses(states) if self._limbs else None
        return ways + [limb(bases, states) for limb in self._limbs if bases is not None]

    def _spread(self, places: Array, times: Array) -> Array:
        """Places [T, 3], at times [T] in s from now, that are one number: beside time."""
        shown = [axis for axis, column in enumerate(self._columns) if column is not None]
        if len(shown) != 1:
            return places
        spread = places.copy()
        way = self._size * 0.12  # m a second
        if shown == [0]:
            spread[:, 1] -= way * times
        else:
            spread[:, 0] += way * times
        return spread

    def _draw(self, name: str, ways: Sequence[Array], colours: Sequence[Colours] = ()) -> None:
        kept = [way for way in ways if len(way) > 1]
        line = self._lines[name]
        line.visible = bool(kept)
        if not kept:
            return
        points = np.concatenate([np.stack([way[:-1], way[1:]], 1) for way in kept])
        with self._server.atomic():
            if colours:
                line.colors = np.concatenate(colours)
            line.points = points.astype(np.float32)


def _bounds(spec: RobotSpec, urdf: Urdf | None) -> tuple[Array, Array, float]:
    """The corners [3] of what moves of a robot, or of all of it if nothing does, and how low all of
    it reaches, m; with its joints at 0, or amid their range where 0 is none of it, and as they
    begin."""
    if urdf is None or urdf.model.scene.is_empty:
        return np.full(3, -0.5), np.full(3, 0.5), -0.5
    model, moving, lowest = urdf.model, [], 0.0
    fixed = model.base_link if urdf.columns else ""
    begin = {} if spec.sim is None else spec.sim.initial
    for joints in ({}, begin):
        model.update_cfg(np.array([joints.get(j.name, _amid(j)) for j in model.actuated_joints]))
        for name, mesh in model.scene.geometry.items():
            pose = model.scene.graph.get(frame_to=name)[0]
            corners = mesh.bounding_box.vertices @ pose[:3, :3].T + pose[:3, 3]
            lowest = min(lowest, corners[:, 2].min())
            if model.scene.graph.transforms.parents[name] != fixed:
                moving.append(corners)
    points = np.concatenate(moving)
    return points.min(0), points.max(0), float(lowest)


def _amid(joint: yourdfpy.Joint) -> float:
    limit = joint.limit
    if limit is None or limit.lower is None or limit.upper is None:
        return 0.0
    return 0.0 if limit.lower <= 0.0 <= limit.upper else (limit.lower + limit.upper) / 2
