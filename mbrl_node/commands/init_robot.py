"""`mbrl init-robot`: a robot's file, with comments, from its URDF.

What the URDF does not tell is filled in with careful numbers and marked CHECK, for the user to
decide. The file is valid as it is, and the robot can be tried in simulation at once.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from mbrl_node.spec import RobotSpec
from mbrl_node.spec.errors import SpecError, did_you_mean
from mbrl_node.spec.urdf import COMMANDS, Urdf, UrdfJoint, driven, read_urdf

_COMMENTS_AT = 31  # column of the comments beside short lines
_UNLIMITED_SPEED = {"rad": 1.0, "m": 0.2}  # commanded where the URDF has no limit, unit/s
_FAST = {"rad": 10.0, "m": 2.0}  # costs as much as being at a limit, where there is no limit
_UNLIMITED_EFFORT = 1.0
_RANGE = {"rad": math.pi, "m": 1.0}  # half of it, where the URDF has no limit
_CONTROLLER = {  # of ros2_controllers, which takes an array
    "effort": "effort_controllers/JointGroupEffortController",
    "velocity": "velocity_controllers/JointGroupVelocityController",
    "position": "position_controllers/JointGroupPositionController",
}
_PLAIN = re.compile(r"[A-Za-z_./][\w./-]*")  # text that needs no quotes in YAML, if it is no word


def init_robot(
    urdf: Path,
    output: Path | None = None,
    command: str | None = None,
    rate: float = 25.0,
    joints: list[str] | None = None,
    as_json: bool = False,
) -> None:
    """Writes a robot's file, and prints what to do with it.

    Args:
        output: default: named as the URDF, in this folder.
        command: effort, velocity or position; None: what ros2_control in the URDF offers; else
            effort where a joint is not driven, velocity where all are.
        rate: of control, Hz.
        joints: those that commands drive; None: those that something in the URDF drives. Joints
            that nothing drives belong to the robot in any case, others that are not named do not.

    Raises:
        SpecError: the URDF cannot be used, there is no such joint, or such a file already.
    """
    path = output or Path(f"{urdf.stem}.yaml")
    if path.suffix not in (".yaml", ".yml"):
        raise SpecError([f"--output: {path} does not end in .yaml, as a robot's file does"])
    if not (math.isfinite(rate) and rate > 0):
        raise SpecError([f"--rate: {rate:g} is not above 0"])
    robot = _chosen(read_urdf(urdf), joints, command)
    text = _text(robot, path, urdf, rate)
    RobotSpec.from_dict(yaml.safe_load(text), str(path))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SpecError([f"{path}: is there already; name another with --output"]) from None
    except OSError as error:
        raise SpecError([f"{path}: cannot be written: {error.strerror}"]) from None
    driven_ = [joint.name for joint in robot.driven]
    passive = [joint.name for joint in robot.joints if joint not in robot.driven]
    checks = text.count("CHECK:")
    if as_json:
        facts = {
            "file": str(path),
            "command": robot.command,
            "driven": driven_,
            "passive": passive,
            "left_out": robot.urdf.left_out,
            "to_decide": checks,
        }
        print(json.dumps(facts))
        return
    print(f"{path}: written; {robot.command} commands drive {', '.join(driven_)}")
    if passive:
        print(f"nothing drives {', '.join(passive)}")
    for name, why in robot.urdf.left_out.items():
        print(f"left out: joint {name}, which {why}")
    print(f"decide:  the {checks} places marked CHECK")
    print(f"check:   mbrl check {path}")
    print(f"try it:  ros2 launch mbrl bringup.launch.py robot:={path}")


@dataclass(frozen=True)
class _Robot:
    urdf: Urdf
    joints: tuple[UrdfJoint, ...]  # of the state
    driven: tuple[UrdfJoint, ...]
    command: str

    @property
    def loose(self) -> list[str]:
        """Joints that move and are none of the robot's here."""
        return [joint.name for joint in self.urdf.joints if joint not in self.joints]


def _chosen(urdf: Urdf, names: list[str] | None, command: str | None) -> _Robot:
    known = {joint.name: joint for joint in urdf.joints}
    usually = list(driven(urdf))
    for name in names or ():
        if name not in known:
            hint = did_you_mean(name, list(known))
            raise SpecError([f"--joints: no joint '{name}' moves{hint} ({', '.join(known)})"])
    chosen = list(dict.fromkeys(names)) if names else usually
    joints = tuple(j for j in urdf.joints if j.name in chosen or j.name not in usually)
    return _Robot(
        urdf,
        joints,
        tuple(known[name] for name in chosen),
        command or _command(tuple(known[name] for name in chosen), joints),
    )


def _command(of: tuple[UrdfJoint, ...], joints: tuple[UrdfJoint, ...]) -> str:
    for command in COMMANDS:
        if all(command in joint.interfaces for joint in of):
            return command
    return "velocity" if len(of) == len(joints) else "effort"


def _text(robot: _Robot, path: Path, urdf: Path, rate: float) -> str:
    prefixes = _prefixes(robot.joints)
    parts = [
        _head(robot, path, urdf, rate),
        _state(robot, prefixes),
        _action(robot, prefixes),
        _bounds(robot, prefixes),
        _task(robot, prefixes),
        _operation(),
        _sim(robot, path, urdf, rate),
    ]
    return "\n".join(line.rstrip() for part in parts for line in [*part, ""])


def _head(robot: _Robot, path: Path, urdf: Path, rate: float) -> list[str]:
    name = re.sub(r"\W", "_", path.stem, flags=re.ASCII)
    name = name if re.match(r"[A-Za-z_]", name) else f"robot_{name}"
    return [
        f"# {_plain(robot.urdf.name) or name}: written by `mbrl init-robot` from {urdf.name}.",
        "# What you have to decide is marked CHECK. Then:",
        "#   mbrl check FILE                                  is the file right?",
        "#   ros2 launch mbrl bringup.launch.py robot:=FILE   learn in simulation",
        "#   mbrl check FILE --live                           do the topics of the robot fit?",
        "# and with sim:=false it learns on the robot: read docs/your_robot.md and docs/safety.md"
        " first.",
        "# config/robots/cartpole.yaml explains every key. Units are SI.",
        "",
        _beside(f"name: {_scalar(name)}", "letters, digits, _"),
        _beside(
            f"rate: {_number(rate)}", "control rate, Hz. CHECK: 25 suits most; quick ones need more"
        ),
    ]


def _state(robot: _Robot, prefixes: dict[str, str]) -> list[str]:
    lines = [
        "# The state vector: what the model learns to predict. Joints are found by name.",
        "state:",
        _beside("  - topic: /joint_states", "CHECK: where joint_state_broadcaster publishes"),
        "    type: sensor_msgs/msg/JointState",
        _beside("    timeout: 0.25", "s; an older state is stale, and the robot is stopped"),
        "    fields:",
    ]
    rows = []
    for joint in robot.joints:
        shared, unit = f"joint: {_scalar(joint.name)}", _unit(joint)
        angle = ", angle: true" if joint.kind == "continuous" else ""
        name = prefixes[joint.name]
        rows.append(
            (f"{{name: {name}_position,", f"{shared},", f"value: position, unit: {unit}{angle}}}")
        )
        rows.append(
            (f"{{name: {name}_velocity,", f"{shared},", f"value: velocity, unit: {unit}/s}}")
        )
    lines += [f"      - {row}" for row in _table(rows)]
    if robot.loose:
        loose = ", ".join(map(_plain, robot.loose))
        lines += [f"# Left out, so that they hang loose in simulation: {loose}"]
    if not robot.urdf.fixed:
        lines += [
            "# CHECK: the base seems to move, and joints do not tell where it is. Where the task is"
            " about",
            "# that, add its odometry as another topic (display: shows such a place in RViz):",
            "#  - topic: /odom",
            "#    type: nav_msgs/msg/Odometry",
            "#    timeout: 0.25",
            "#    fields:",
            "#      - {name: x, path: pose.pose.position.x, unit: m, model_input: false}",
            "#      - {name: y, path: pose.pose.position.y, unit: m, model_input: false}",
            "#      - {name: yaw, path: pose.pose.orientation.yaw, unit: rad, angle: true}",
        ]
    return lines


def _action(robot: _Robot, prefixes: dict[str, str]) -> list[str]:
    command = robot.command
    lines = [
        f"# The action vector: {command} commands, one number a joint, in the order of the"
        " controller's `joints`.",
        "#   min, max  no command ever passes them",
        "#   safe      what a stop takes the command to. CHECK: it must be safe in any state"
        + ", and the start goes there" * (command == "position"),
        "#   max_rate  unit/s; optional: the fastest change of a command",
        "action:",
        _beside(f"  topic: /{command}_controller/commands", f"CHECK: of a {_CONTROLLER[command]}"),
        "  type: std_msgs/msg/Float64MultiArray",
        "  fields:",
    ]
    rows = []
    for joint in robot.driven:
        low, high, safe, max_rate, unit, remark = _limits(joint, command, robot.urdf.fixed)
        fastest = f" max_rate: {_number(max_rate)}," if max_rate else ""
        rows.append(
            (
                f"{{name: {prefixes[joint.name]}_command,",
                f"joint: {_scalar(joint.name)},",
                f"min: {_number(low)}, max: {_number(high)},",
                f"safe: {_number(safe)},{fastest} unit: {unit}}}",
                f" # CHECK: {remark}",
            )
        )
    return lines + [f"    - {row}" for row in _table(rows)]


def _limits(
    joint: UrdfJoint, command: str, fixed: bool
) -> tuple[float, float, float, float | None, str, str]:
    """min, max, safe, max_rate and unit of a command, and where they are from."""
    unit = _unit(joint)
    speed = joint.velocity or _UNLIMITED_SPEED[unit]
    said = "the URDF's limit" if joint.velocity else "the URDF has no limit"
    if command == "velocity":
        if joint.half_range and joint.half_range < speed:
            said += f" is {_number(speed)}; this is half of the range in a second"
            speed = joint.half_range
        return -speed, speed, 0.0, 2 * speed, f"{unit}/s", said
    if command == "position":
        half = 0.9 * (joint.half_range or _RANGE[unit])
        middle = joint.middle
        said = "the URDF's limits" if joint.half_range else "the URDF has no limits"
        said += ", less 5 % of the range"
        return middle - half, middle + half, middle, speed / 2, unit, said
    enough = 2 * joint.load if fixed and joint.load else None  # twice what holds up what it carries
    most = joint.effort or enough or _UNLIMITED_EFFORT
    said = "the URDF's limit" if joint.effort else "the URDF has no limit"
    if enough and enough <= most:
        said += f" is {_number(joint.effort)}" if joint.effort else ""
        said += "; this is twice what holds up what it carries"
    most = min(most, enough or most)
    return -most, most, 0.0, None, "N m" if unit == "rad" else "N", said


def _bounds(robot: _Robot, prefixes: dict[str, str]) -> list[str]:
    limited = [joint for joint in robot.joints if joint.half_range]
    fast = [joint for joint in robot.joints if joint.velocity]
    envelope = [
        (f"{{of: {prefixes[joint.name]}_position,", f"{_between(joint, 0.96)}}}")
        for joint in limited
    ]
    envelope += [
        (f"{{of: {prefixes[joint.name]}_velocity,", f"{_around(0.0, 1.2 * joint.velocity)}}}")
        for joint in fast
        if joint.velocity
    ]
    lines = [
        "# Outside of these the robot is stopped, whoever commands it, until it is reset or an"
        " operator releases it.",
    ]
    if not envelope:
        return [
            *lines,
            "# CHECK: the URDF has no limits; without an envelope only an operator stops it.",
            "# envelope:",
            f"#   - {{of: {prefixes[robot.joints[0].name]}_velocity, min: -10.0, max: 10.0}}",
        ]
    lines += ["# CHECK: is a stop from there in time? Here: 2 % inside the URDF's limits."]
    lines += ["envelope:", *(f"  - {row}" for row in _table(envelope))]
    if limited:
        rows = []
        for joint in limited:
            assert joint.half_range is not None
            margin = _number(0.2 * joint.half_range)
            rows.append(
                (
                    f"{{of: {prefixes[joint.name]}_position,",
                    f"{_between(joint, 0.9)},",
                    f"margin: {margin}, weight: 5.0}}",
                )
            )
        lines += ["", "# Plans keep away from these by the margin.", "constraints:"]
        lines += [f"  - {row}" for row in _table(rows)]
    return lines


def _task(robot: _Robot, prefixes: dict[str, str]) -> list[str]:
    names = [prefixes[joint.name] for joint in robot.joints]
    width = max(map(len, names))
    away = robot.command == "position"
    where = "near the middle of its range" if away else "in the middle of its range"
    lines = [
        f"# CHECK: the task. This one stands for yours: hold every joint {where}, at rest and",
        "# with small commands. The reward of a step is the sum of weight * term(value - target).",
        "reward:",
    ]
    conditions = []
    for joint in robot.joints:
        name, unit = prefixes[joint.name], _unit(joint)
        of = f"{name}_position,".ljust(width + 10)
        reach = joint.half_range or _RANGE[unit]
        aim = _away(joint, robot) if away else joint.middle
        target = f"target: {_number(aim)}, " if aim else ""
        lines.append(f"  - {{term: square, of: {of} {target}weight: {_number(-1 / reach**2)}}}")
        close = 0.05 * reach
        conditions.append(f"    - {{term: abs, of: {of} {target}max: {_number(close)}}}")
    for joint in robot.joints:
        of = f"{prefixes[joint.name]}_velocity,".ljust(width + 10)
        weight = -0.1 / (joint.velocity or _FAST[_unit(joint)]) ** 2
        lines.append(f"  - {{term: square, of: {of} weight: {_number(weight)}}}")
    for joint in robot.driven:
        low, high, *_ = _limits(joint, robot.command, robot.urdf.fixed)
        of = f"{prefixes[joint.name]}_command,".ljust(width + 10)
        middle = (low + high) / 2
        target = f"target: {_number(middle)}, " if middle else ""
        weight = -0.01 / ((high - low) / 2) ** 2
        lines.append(f"  - {{term: square, of: {of} {target}weight: {_number(weight)}}}")
    return [
        *lines,
        "",
        "# Optional: the task is solved when all of this holds for hold_time s without a break.",
        "goal:",
        "  hold_time: 2.0",
        "  conditions:",
        *conditions,
    ]


def _operation() -> list[str]:
    return [
        "# How far commands may go at first, around `safe`: more, the better the model predicts.",
        "trust:",
        _beside("  initial: 0.2", "of min to max. CHECK: is it safe whatever is done within it?"),
        _beside("  widen_time: 10.0", "s of acting with good models until all is allowed"),
        "",
        "episode:",
        "  # CHECK: the simulator puts the robot back. On a real one: a service that does; or"
        " reset_by_hand: true,",
        "  # and it waits, held safe, until an operator calls /mbrl_controller/go; or neither, and"
        " it just goes on.",
        "  reset_service: /mbrl_sim/reset",
        _beside("  length: 10.0", "s, then the next one begins"),
    ]


def _sim(robot: _Robot, path: Path, urdf: Path, rate: float) -> list[str]:
    place = os.path.relpath(urdf.absolute(), path.absolute().parent)
    state_rate = 4 * rate
    physics_rate = state_rate * max(1, math.ceil(1000 / state_rate))
    # Where commands are positions, it starts where they do.
    starts_at = {
        joint.name: joint.middle if robot.command == "position" else _away(joint, robot)
        for joint in robot.urdf.joints
    }
    initial = {name: value for name, value in starts_at.items() if value}
    starts = ", ".join(f"{_scalar(name)}: {_number(value)}" for name, value in initial.items())
    noise = min([0.02, *(0.05 * joint.half_range for joint in robot.joints if joint.half_range)])
    sort = "bolted to the world" if robot.urdf.fixed else "free"
    return [
        "# How PyBullet builds it; not read when the robot is real.",
        "sim:",
        _beside(f"  urdf: {_scalar(place)}", "relative to this file"),
        _beside(f"  drive: {robot.command}", "what a command is to a joint"),
        _beside(f"  physics_rate: {_number(physics_rate)}", "Hz, a whole multiple of state_rate"),
        _beside(f"  state_rate: {_number(state_rate)}", "Hz"),
        _beside(
            f"  fixed_base: {str(robot.urdf.fixed).lower()}",
            f"CHECK: guessed: link '{_plain(robot.urdf.root)}' is {sort}",
        ),
        *([_beside(f"  initial: {{{starts}}}", "rad, m; others 0")] if starts else []),
        _beside(f"  initial_noise: {_number(noise)}", "rad, m: uniform +- on each"),
    ]


def _away(joint: UrdfJoint, robot: _Robot) -> float:
    """Some way from the middle of a joint that is driven; there is to be something to do."""
    room = joint.half_range if joint in robot.driven else None
    return joint.middle + min(0.5, (room or 0.0) / 2)


# How it is written.


def _prefixes(joints: tuple[UrdfJoint, ...]) -> dict[str, str]:
    """For each joint what its fields' names begin with: letters, digits and _."""
    found: dict[str, str] = {}
    for joint in joints:
        name = re.sub(r"\W", "_", joint.name, flags=re.ASCII)
        name = name if re.match(r"[A-Za-z_]", name) else f"joint_{name}"
        taken, number = name, 2
        while taken in found.values():
            taken, number = f"{name}_{number}", number + 1
        found[joint.name] = taken
    return found


def _unit(joint: UrdfJoint) -> str:
    return "m" if joint.kind == "prismatic" else "rad"


def _between(joint: UrdfJoint, part: float) -> str:
    return _around(joint.middle, part * (joint.half_range or 0.0))


def _around(middle: float, reach: float) -> str:
    return f"min: {_number(middle - reach)}, max: {_number(middle + reach)}"


def _number(value: float | None) -> str:
    """With four digits, as YAML has it: 5.0, 0.05, 1.0e-07."""
    text = f"{value or 0.0:.4g}"
    mantissa, e, exponent = text.partition("e")
    return (mantissa if "." in mantissa else f"{mantissa}.0") + e + exponent


def _scalar(text: str) -> str:
    """Some text as YAML in a flow mapping."""
    if _PLAIN.fullmatch(text) and yaml.safe_load(text) == text:
        return text
    return json.dumps(text, ensure_ascii=False)


def _plain(text: str) -> str:
    """What may stand in a comment."""
    return text if text.isprintable() else ascii(text)


def _beside(text: str, comment: str) -> str:
    return f"{text.ljust(_COMMENTS_AT - 2)}  # {comment}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines whose cells stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        " ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
    ]
