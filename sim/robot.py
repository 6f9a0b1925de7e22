"""A robot in PyBullet, built from the `sim:` section of its spec."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pybullet_data
from numpy.typing import NDArray

from mbrl_node.spec import RobotSpec, SpecError
from mbrl_node.spec.action import JointActionTopic
from mbrl_node.spec.topics import JOINT_STATE
from sim.changes import EVERYTHING, check_value
from sim.messages import ODOMETRY, Message, empty


@contextlib.contextmanager
def _stdout_is_stderr() -> Iterator[None]:
    """What native code prints meanwhile goes to stderr; stdout may be a program's JSON."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


with _stdout_is_stderr():  # PyBullet says when it was built
    import pybullet

from sim.camera import Camera  # noqa: E402

DATA = Path(pybullet_data.getDataPath())

Array = NDArray[np.float64]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """What native code prints meanwhile is only seen where it fails."""
    sys.stdout.flush()
    with tempfile.TemporaryFile() as printed:
        kept = [os.dup(fd) for fd in (1, 2)]
        for fd in (1, 2):
            os.dup2(printed.fileno(), fd)
        try:
            yield
        except Exception:
            printed.seek(0)
            os.write(kept[1], printed.read())
            raise
        finally:
            for fd, old in zip((1, 2), kept, strict=True):
                os.dup2(old, fd)
                os.close(old)


@dataclass
class Link:
    """A link that has mass: what its file says, and what has been made of it."""

    index: int
    mass: float  # kg
    inertia: tuple[float, float, float]  # about its principal axes, kg m^2
    friction: float
    factor: float = 1.0
    payload: float = 0.0  # kg
    drawn: float = 1.0  # of this episode, of mass and inertia


@dataclass(frozen=True)
class Joint:
    """A joint that moves, and what its file says of it."""

    index: int
    damping: float
    force: float  # N or N m, the most that its motor can do
    speed: float  # m/s or rad/s, the most that it may have


class BulletRobot:
    """One robot in a PyBullet world of its own.

    This class is the kind `joints`: commands go to joints, by the `drive` of the file's `sim`
    section, and its sensor is a sensor_msgs/msg/JointState. Others are subclasses in sim/robots,
    which say what differs: `build`, `place`, `actuate`, `message`.

    Args:
        spec: a robot with a `sim` section.
        seed: of the noise on the initial joint positions and of what differs between episodes.
        gui: opens PyBullet's window.

    Attributes:
        steps: of the physics, since the start.

    Raises:
        SpecError: the spec has no `sim` section, or names a file or joint that is not there.
    """

    def __init__(self, spec: RobotSpec, seed: int = 0, gui: bool = False) -> None:
        if spec.sim is None:
            raise SpecError([f"{spec.name}: sim: missing, so there is nothing to simulate"])
        self.spec, self.sim = spec, spec.sim
        self.dt, self.steps = 1.0 / self.sim.physics_rate, 0
        self.rng = np.random.default_rng(seed)
        reach = self.sim.saturation
        self._safe = spec.action_safe
        self._limits = tuple(
            self._safe + reach * (limit - self._safe)
            for limit in (spec.action_min, spec.action_max)
        )
        self._delay = round((spec.action.delay + self.sim.delay) / self.dt)  # steps
        self._fields = [field.name for field in spec.action.fields]
        self._gain = np.ones(len(self._fields))
        self._drawn_gain = np.ones(len(self._fields))  # of this episode
        self._coming: deque[tuple[int, Array]] = deque()  # commands, and the step they act from
        if gui and not os.environ.get("DISPLAY"):  # PyBullet would end the process
            raise RuntimeError("PyBullet's window needs a display, and DISPLAY is not set")
        self.world = pybullet.connect(pybullet.GUI if gui else pybullet.DIRECT)
        if self.world < 0:
            raise RuntimeError(
                "PyBullet could not open its window; is there a display? Try gui:=false"
            )
        pybullet.setTimeStep(self.dt, physicsClientId=self.world)
        pybullet.setGravity(0, 0, -9.81, physicsClientId=self.world)
        self.camera = Camera(self.world)
        self._mark: int | None = None
        with _quietly():  # PyBullet tells at length what a file need not have
            self.body = self.build()
        self._links = self._links_with_mass()
        self.joints = self._movable_joints()
        self._initial = {self.joint(j): p for j, p in self.sim.initial.items()}
        self._actuated = self._driven()
        for joint in self.joints.values():  # the default motors would act as brakes
            pybullet.setJointMotorControl2(
                self.body,
                joint.index,
                pybullet.VELOCITY_CONTROL,
                force=0,
                physicsClientId=self.world,
            )
        self.reset()

    # What other kinds of robot do in their own way.

    def build(self) -> int:
        """Loads the robot, and what is around it; the number of its body."""
        if not self.sim.fixed_base:
            self.floor()
        path = str(self.file())
        if path.endswith(".xml"):
            bodies = pybullet.loadMJCF(path, physicsClientId=self.world)
            return int(bodies[0])
        return int(
            pybullet.loadURDF(path, useFixedBase=self.sim.fixed_base, physicsClientId=self.world)
        )

    def place(self) -> None:
        """Puts the robot where an episode begins; its joints are there already."""

    def actuate(self, action: Array) -> None:
        """Before each step of the physics: does what a command [m] is to do."""
        if not self._actuated:
            return
        if self.sim.drive == "effort":
            values = {"forces": action.tolist()}
            mode = pybullet.TORQUE_CONTROL
        else:
            values = {"forces": [joint.force for joint in self._actuated]}
            velocity = self.sim.drive == "velocity"
            mode = pybullet.VELOCITY_CONTROL if velocity else pybullet.POSITION_CONTROL
            values["targetVelocities" if velocity else "targetPositions"] = action.tolist()
        pybullet.setJointMotorControlArray(
            self.body,
            [joint.index for joint in self._actuated],
            mode,
            physicsClientId=self.world,
            **values,
        )

    def message(self, kind: str) -> Message:
        """What a sensor of this message type gives now, without noise.

        Raises:
            SpecError: this robot has no such sensor.
        """
        if kind != JOINT_STATE:
            raise SpecError([f"{self.spec.name}: sim: a robot of this kind gives no {kind}"])
        message = empty(JOINT_STATE)
        states = pybullet.getJointStates(
            self.body, [joint.index for joint in self.joints.values()], physicsClientId=self.world
        )
        message.name = list(self.joints)
        message.position = [state[0] for state in states]
        message.velocity = [state[1] for state in states]
        message.effort = [state[3] for state in states]
        if self._actuated and self.sim.drive == "effort":  # which PyBullet does not tell
            by_index = {joint.index: i for i, joint in enumerate(self.joints.values())}
            for joint, value in zip(self._actuated, self.acting.tolist(), strict=True):
                message.effort[by_index[joint.index]] = value
        return message

    def show(self, kind: str, message: Message) -> None:
        """Puts the robot where a message of one of its sensors says that it is, at rest: what
        `message` does, the other way round. For pictures of a robot that is somewhere else; what a
        message does not tell of is left as it is.

        Args:
            kind: the message's type.
            message: of ROS or as `message` gives it.
        """
        if kind == JOINT_STATE:
            for name, position in zip(message.name, message.position, strict=False):
                if name in self.joints and math.isfinite(position):
                    self._put(self.joints[name].index, position)
        elif kind == ODOMETRY:
            self._put_base(message.pose.pose)

    # What they use.

    def _put(self, index: int, position: float) -> None:
        pybullet.resetJointState(self.body, index, position, 0.0, physicsClientId=self.world)

    def _put_base(self, pose: Message) -> None:
        """A pose without a height is one on the floor, where the robot stands already."""
        (_, _, height), _ = pybullet.getBasePositionAndOrientation(
            self.body, physicsClientId=self.world
        )
        place = pose.position.x, pose.position.y, pose.position.z or height
        turned = tuple(getattr(pose.orientation, axis) for axis in "xyzw")
        if all(map(math.isfinite, (*place, *turned))) and any(turned):
            pybullet.resetBasePositionAndOrientation(
                self.body, place, turned, physicsClientId=self.world
            )

    def file(self) -> Path:
        """The robot's URDF or MJCF file.

        Raises:
            SpecError: there is none.
        """
        name = self.sim.urdf
        beside = self.spec.path.parent / name if self.spec.path else Path(name)
        path = beside if beside.exists() else DATA / name
        if not path.exists():
            raise SpecError(
                [
                    f"{self.spec.name}: sim.urdf: '{name}' is neither beside the robot's file "
                    "nor in pybullet_data"
                ]
            )
        return path

    def joint(self, name: str) -> Joint:
        """The joint of a name.

        Raises:
            SpecError: there is none.
        """
        if name not in self.joints:
            known = ", ".join(self.joints)
            raise SpecError(
                [f"{self.spec.name}: sim: '{self.sim.urdf}' has no joint '{name}' ({known})"]
            )
        return self.joints[name]

    def link(self, name: str) -> int:
        """The index of the link of a name, -1 for the base.

        Raises:
            SpecError: there is none.
        """
        names = self._link_names()
        if name not in names:
            known = ", ".join(names)
            raise SpecError(
                [f"{self.spec.name}: sim: '{self.sim.urdf}' has no link '{name}' ({known})"]
            )
        return names.index(name) - 1

    @property
    def acting(self) -> Array:
        """What comes of the command in effect, [m]."""
        return self._gain * self._drawn_gain * self._command

    def floor(self) -> None:
        """A level floor at z = 0."""
        self.camera.has_floor = True
        self.ground = pybullet.loadURDF(
            str(DATA / "plane.urdf"), useFixedBase=True, physicsClientId=self.world
        )

    def _driven(self) -> list[Joint]:
        """The joints that the action's fields name, [m]; none where they are no joints."""
        action = self.spec.action
        if not isinstance(action, JointActionTopic):
            return []
        return [self.joint(field.joint) for field in action.fields]

    def _link_names(self) -> list[str]:
        base, _ = pybullet.getBodyInfo(self.body, physicsClientId=self.world)
        count = pybullet.getNumJoints(self.body, physicsClientId=self.world)
        infos = (
            pybullet.getJointInfo(self.body, i, physicsClientId=self.world) for i in range(count)
        )
        return [base.decode(), *(info[12].decode() for info in infos)]

    def _links_with_mass(self) -> dict[str, Link]:
        """By name. The base of a robot that is fixed has none."""
        links = {}
        for index, name in enumerate(self._link_names(), start=-1):
            mass, friction, inertia, *_ = pybullet.getDynamicsInfo(
                self.body, index, physicsClientId=self.world
            )
            if mass:
                links[name] = Link(index, mass, inertia, friction)
        return links

    def _movable_joints(self) -> dict[str, Joint]:
        joints = {}
        for i in range(pybullet.getNumJoints(self.body, physicsClientId=self.world)):
            info = pybullet.getJointInfo(self.body, i, physicsClientId=self.world)
            if info[2] in (pybullet.JOINT_REVOLUTE, pybullet.JOINT_PRISMATIC):
                joints[info[1].decode()] = Joint(i, info[6], info[10] or 1000.0, info[11])
        return joints

    def reset(self) -> None:
        """Puts every joint at its initial position plus noise, at rest, with the safe command."""
        noise = self.sim.initial_noise
        for joint in self.joints.values():
            position = self._initial.get(joint, 0.0) + self.rng.uniform(-noise, noise)
            pybullet.resetJointState(
                self.body, joint.index, position, 0.0, physicsClientId=self.world
            )
        self.place()
        self._randomise()
        self._command = self._safe.copy()
        self._coming.clear()

    def _randomise(self) -> None:
        part = self.sim.randomise
        if part.gain:
            self._drawn_gain = self._drawn(part.gain, len(self._fields))
        if part.mass:
            for link in self._links.values():
                link.drawn = float(self._drawn(part.mass))
                self._weigh(link)
        if part.friction:
            for link in self._links.values():
                self._set(
                    link.index, lateralFriction=link.friction * float(self._drawn(part.friction))
                )
            for joint in self.joints.values():
                self._set(
                    joint.index, jointDamping=joint.damping * float(self._drawn(part.friction))
                )

    def _drawn(self, part: float, size: int | None = None) -> Array:
        return np.asarray(self.rng.uniform(1.0 - part, 1.0 + part, size))

    def command(self, action: Array) -> None:
        """Sets the command held until the next, from the action's `delay` on; the actuators
        saturate at their limits, and some commands are lost where the file says so.

        Args:
            action: [m].

        Raises:
            ValueError: wrong size or not finite; the command before stays.
        """
        self.check(action)
        if self.sim.dropped and self.rng.random() < self.sim.dropped:
            return
        self._take(np.clip(action, *self._limits))

    def be_safe(self) -> None:
        """Gives the robot its safe command, as its drivers do."""
        self._take(self._safe)

    def _take(self, action: Array) -> None:
        acts_from = self.steps + self._delay
        while self._coming and self._coming[-1][0] >= acts_from:
            self._coming.pop()  # sent while the delay was longer: this one is newer, and earlier
        if self._delay:
            self._coming.append((acts_from, action))
        else:
            self._command = action

    def check(self, action: Array) -> None:
        """Raises what `command` would."""
        if action.shape != self._safe.shape or not np.isfinite(action).all():
            raise ValueError(
                f"a command of {len(self._safe)} finite values was expected, got {action}"
            )

    def change(self, what: str, of: str, value: float) -> str:
        """Makes the robot another one, from now on; a reset does not undo it.

        Args:
            what: and of what, and what `value` is then:
                "mass"     of a link, or all: times that of its file; its inertia as well
                "payload"  of a link: kg more than that, at its centre of mass
                "gain"     of a field of the action, or all: what comes out, times the command
                "delay"    of all: s from a command to its effect, in whole physics steps
            of: a name; "" or "all" for all.

        Returns:
            A sentence that says what has become of it.

        Raises:
            ValueError: there is no such thing, or it cannot have this value; nothing was changed.
        """
        names, text = self._meant(what, of, value)
        if what == "gain":
            self._gain[[self._fields.index(name) for name in names]] = value
        elif what == "delay":
            self._delay = round(value / self.dt)
        else:
            for name in names:
                link = self._links[name]
                if what == "mass":
                    link.factor = value
                else:
                    link.payload = value
                self._weigh(link)
        return text

    def check_change(self, what: str, of: str, value: float) -> None:
        """Raises what `change` would."""
        self._meant(what, of, value)

    def _meant(self, what: str, of: str, value: float) -> tuple[list[str], str]:
        """The names, and what will be so in words."""
        check_value(what, value)
        known = {"gain": self._fields, "delay": ["all"]}.get(what, list(self._links))
        names = known if of in EVERYTHING and what != "payload" else [of]
        if not set(names) <= set(known):
            raise ValueError(f"{what}: there is no '{of}', but {', '.join(known)}")
        of = ", ".join(names)
        text = {
            "mass": f"{of}: {value:g} times the mass and inertia of its file",
            "payload": f"{of}: a payload of {value:g} kg",
            "gain": f"{of}: what comes out is {value:g} times the command",
            "delay": f"commands take effect after {round(value / self.dt) * self.dt:g} s",
        }[what]
        return names, text

    def _weigh(self, link: Link) -> None:
        factor = link.factor * link.drawn
        self._set(
            link.index,
            mass=factor * link.mass + link.payload,
            localInertiaDiagonal=[factor * i for i in link.inertia],
        )

    def _set(self, index: int, **values: object) -> None:
        pybullet.changeDynamics(self.body, index, physicsClientId=self.world, **values)

    def step(self) -> None:
        """Advances the physics by `dt` seconds."""
        while self._coming and self._coming[0][0] <= self.steps:
            self._command = self._coming.popleft()[1]
        self.steps += 1
        self.actuate(self.acting)
        pybullet.stepSimulation(physicsClientId=self.world)

    def mark(self, place: tuple[float, ...]) -> None:
        """Shows a place [3] in pictures, m; only the last."""
        if self._mark is None:
            shape = pybullet.createVisualShape(
                pybullet.GEOM_SPHERE,
                radius=0.03 if self.sim.fixed_base else 0.15,
                rgbaColor=(0.9, 0.1, 0.1, 1.0),
                physicsClientId=self.world,
            )
            self._mark = pybullet.createMultiBody(
                baseVisualShapeIndex=shape, physicsClientId=self.world
            )
        pybullet.resetBasePositionAndOrientation(
            self._mark, place, (0.0, 0.0, 0.0, 1.0), physicsClientId=self.world
        )

    def picture(self, width: int = 480, height: int = 360) -> NDArray[np.uint8]:
        """A picture of the robot from the side, [height, width, 3]; drawn without a display."""
        pybullet.performCollisionDetection(physicsClientId=self.world)  # where its links are now
        return self.camera.picture(self.body, self.sim.fixed_base, width, height)

    def close(self) -> None:
        """Ends the PyBullet world."""
        pybullet.disconnect(physicsClientId=self.world)
