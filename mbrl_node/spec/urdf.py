"""What a URDF tells of a robot: the joints that move, their limits, and what drives them.

Only what a robot's file needs is read; meshes, materials and sensors are not looked at. A file may
come from anywhere: one with a document type, in which entities could be declared, is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from xml.etree import ElementTree
from xml.parsers import expat

from mbrl_node.spec.errors import SpecError, did_you_mean, show

Kind = Literal["revolute", "continuous", "prismatic"]
_MOVE: dict[str, Kind] = {k: k for k in get_args(Kind)}
COMMANDS = ("effort", "velocity", "position")  # command interfaces of ros2_control


class _UrdfError(Exception):
    """What is wrong with a URDF."""


@dataclass(frozen=True)
class UrdfJoint:
    """A joint that moves by itself, and what its file says of it; None: nothing, or nothing that
    makes sense."""

    name: str
    kind: Kind
    lower: float | None  # rad or m; both limits or neither
    upper: float | None
    effort: float | None  # N m or N, above 0
    velocity: float | None  # rad/s or m/s, above 0
    load: float  # N m or N: what the weight it carries can ask of it at most
    interfaces: tuple[str, ...]  # command interfaces of ros2_control that it has
    has_transmission: bool

    @property
    def middle(self) -> float:
        """Of its range; 0 where that has no limits."""
        return 0.0 if self.lower is None or self.upper is None else (self.lower + self.upper) / 2

    @property
    def half_range(self) -> float | None:
        """From the middle to a limit; None: there are none."""
        return None if self.lower is None or self.upper is None else (self.upper - self.lower) / 2


@dataclass(frozen=True)
class Urdf:
    """A robot.

    Attributes:
        joints: those that move by themselves, in the order of the file.
        left_out: names of joints that move otherwise, and why they are none of those.
        root: the link that all others hang on.
        fixed: a guess: whether the root is bolted to the world. One that is called so is; and a
            robot with several moving branches has wheels or legs.
    """

    name: str
    joints: tuple[UrdfJoint, ...]
    left_out: dict[str, str]
    root: str
    fixed: bool


def read_urdf(path: Path) -> Urdf:
    """Reads a URDF.

    Raises:
        SpecError: it cannot be read, is no URDF, or has no joint that moves.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SpecError([f"{path}: cannot be read: {error.strerror}"]) from None
    try:
        return _robot(_parse(data))
    except _UrdfError as error:
        raise SpecError([f"{path}: {error}"]) from None


def _parse(data: bytes) -> ElementTree.Element:
    def refuse(*_: object) -> None:
        raise _UrdfError("has a document type (<!DOCTYPE ...>), which a URDF needs not: remove it")

    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = refuse
    try:
        guard.Parse(data, True)
        root = ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError) as error:
        at = error.position[0] if isinstance(error, ElementTree.ParseError) else error.lineno
        where = f"line {at}: "
        if "unbound prefix" in str(error):
            raise _UrdfError(f"{where}{_XACRO}") from None
        raise _UrdfError(f"{where}not valid XML: {str(error).partition(':')[0]}") from None
    except (ValueError, LookupError) as error:
        raise _UrdfError(f"not valid XML: {error}") from None
    return root


_XACRO = "has macros of xacro in it; expand it first: xacro FILE > my_robot.urdf"


def _robot(root: ElementTree.Element) -> Urdf:
    if root.tag != "robot":
        raise _UrdfError(f"is no URDF: it begins with <{root.tag}>, not with <robot>")
    if any("xacro" in element.tag for element in root.iter()):
        raise _UrdfError(_XACRO)
    masses = {_name(link, "link"): _mass(link) for link in root.findall("link")}
    joints: dict[str, ElementTree.Element] = {}
    above: dict[str, str] = {}  # the joint above each link
    for joint in root.findall("joint"):
        name = _name(joint, "joint")
        if name in joints:
            raise _UrdfError(f"has two joints '{name}'")
        joints[name] = joint
        for end in ("parent", "child"):
            if (link := _end(joint, end)) not in masses:
                hint = did_you_mean(link, list(masses))
                raise _UrdfError(f"joint '{name}': its {end} {show(link)} is no link{hint}")
        if (child := _end(joint, "child")) in above:
            raise _UrdfError(f"link '{child}' hangs on two joints, '{above[child]}' and '{name}'")
        above[child] = name
    roots = [link for link in masses if link not in above]
    if len(roots) != 1:
        listed = f" ({', '.join(roots)})" if roots else ""
        raise _UrdfError(f"has {len(roots)} links that hang on no joint, not 1{listed}")
    outwards = _outwards(roots[0], joints)
    loads = _loads(roots[0], masses, joints, outwards)
    mimics = {name for name, joint in joints.items() if joint.find("mimic") is not None}
    moving = [
        name
        for name, joint in joints.items()
        if joint.get("type") in _MOVE and name not in mimics and name in loads
    ]
    if not moving:
        raise _UrdfError("has no joint that moves: none is revolute, continuous or prismatic")
    interfaces = _interfaces(root)
    transmissions = {j.get("name") for t in root.findall("transmission") for j in t.iter("joint")}
    return Urdf(
        root.get("name", "").strip(),
        tuple(
            _movable(name, joints[name], loads[name], interfaces, name in transmissions)
            for name in moving
        ),
        {
            name: f"mimics {_mimicked(joint)}" if name in mimics else f"is {joint.get('type')}"
            for name, joint in joints.items()
            if name not in moving and joint.get("type") != "fixed"
        },
        roots[0],
        roots[0] == "world" or _branches(roots[0], joints, moving) == 1,
    )


def _mimicked(joint: ElementTree.Element) -> str:
    mimic = joint.find("mimic")
    return "another" if mimic is None else mimic.get("joint", "another")


def _name(element: ElementTree.Element, what: str) -> str:
    name = element.get("name", "").strip()
    if not name.isprintable() or not name:
        raise _UrdfError(f"has a {what} without a name that can be used: {show(name)}")
    return name


def _end(joint: ElementTree.Element, end: str) -> str:
    found = joint.find(end)
    return "" if found is None else found.get("link", "").strip()


def _number(element: ElementTree.Element | None, key: str) -> float | None:
    """A finite number in an attribute; None: there is none."""
    try:
        value = float((element.get(key) if element is not None else None) or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _above_zero(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def _mass(link: ElementTree.Element) -> tuple[float, float]:
    """kg, and m from the link's frame to its centre of mass."""
    inertial = link.find("inertial")
    if inertial is None:
        return 0.0, 0.0
    mass = _above_zero(_number(inertial.find("mass"), "value")) or 0.0
    return mass, _length(inertial.find("origin"))


def _length(origin: ElementTree.Element | None) -> float:
    """m: of an origin's xyz."""
    try:
        words = (origin.get("xyz", "") if origin is not None else "").split()
        length = math.hypot(*map(float, words))
    except ValueError:
        return 0.0
    return length if math.isfinite(length) else 0.0


def _outwards(root: str, joints: dict[str, ElementTree.Element]) -> list[str]:
    """The names of all joints, none before one that it hangs on.

    Raises:
        _UrdfError: some hang on each other.
    """
    below: dict[str, list[str]] = {}
    for name, joint in joints.items():
        below.setdefault(_end(joint, "parent"), []).append(name)
    order, links = [], [root]
    while links:
        for name in below.get(links.pop(), []):
            order.append(name)
            links.append(_end(joints[name], "child"))
    if rest := sorted({*joints} - {*order}):
        raise _UrdfError(f"joints hang on each other in a circle: {', '.join(rest)}")
    return order


def _loads(
    root: str,
    masses: dict[str, tuple[float, float]],
    joints: dict[str, ElementTree.Element],
    outwards: list[str],
) -> dict[str, float]:
    """For each joint the most that the weight of all that it carries can ask of it, N m or N: all
    is thought to be stretched out level."""
    carried = {link: mass for link, (mass, _) in masses.items()}  # kg, of it and all beyond
    moment = {link: mass * reach for link, (mass, reach) in masses.items()}  # kg m
    loads = {}
    for name in reversed(outwards):
        joint = joints[name]
        parent, child = _end(joint, "parent"), _end(joint, "child")
        carried[parent] += carried[child]
        moment[parent] += moment[child] + carried[child] * _length(joint.find("origin"))
        slides = joint.get("type") == "prismatic"
        loads[name] = 9.81 * (carried[child] if slides else moment[child])
    return loads


def _branches(root: str, joints: dict[str, ElementTree.Element], moving: list[str]) -> int:
    """How many joints move on what is one piece with the root."""
    piece, count, links = {root}, 0, [root]
    while links:
        link = links.pop()
        for name, joint in joints.items():
            if _end(joint, "parent") != link:
                continue
            child = _end(joint, "child")
            if name in moving:
                count += 1
            elif child not in piece:
                piece.add(child)
                links.append(child)
    return count


def _interfaces(root: ElementTree.Element) -> dict[str, tuple[str, ...]]:
    """Of each joint that ros2_control knows, the command interfaces that we know."""
    found: dict[str, tuple[str, ...]] = {}
    for joint in (j for c in root.findall("ros2_control") for j in c.findall("joint")):
        named = {str(i.get("name")) for i in joint.findall("command_interface")}
        found[joint.get("name", "").strip()] = tuple(c for c in COMMANDS if c in named)
    return found


def _movable(
    name: str,
    joint: ElementTree.Element,
    load: float,
    interfaces: dict[str, tuple[str, ...]],
    has_transmission: bool,
) -> UrdfJoint:
    kind, limit = _MOVE[joint.get("type", "")], joint.find("limit")
    lower = _number(limit, "lower") if kind != "continuous" else None
    upper = _number(limit, "upper") if kind != "continuous" else None
    if lower is None or upper is None or lower >= upper:
        lower = upper = None
    return UrdfJoint(
        name,
        kind,
        lower,
        upper,
        _above_zero(_number(limit, "effort")),
        _above_zero(_number(limit, "velocity")),
        load,
        interfaces.get(name, ()),
        has_transmission,
    )


def driven(urdf: Urdf) -> Iterator[str]:
    """The names of the joints that something seems to drive: those that ros2_control commands, or
    that have a transmission; where the file has neither, those with a limit of their effort; where
    it has none of these either, all."""
    for tells in (
        lambda joint: joint.interfaces,
        lambda joint: joint.has_transmission,
        lambda joint: joint.effort is not None,
    ):
        if any(map(tells, urdf.joints)):
            yield from (joint.name for joint in urdf.joints if tells(joint))
            return
    yield from (joint.name for joint in urdf.joints)
