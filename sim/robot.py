"""A robot in PyBullet, built from the `sim:` section of its spec."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pybullet_data
from numpy.typing import NDArray

from mbrl_node.spec import RobotSpec, SpecError
from sim.changes import EVERYTHING, check_value


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

Array = NDArray[np.float64]


@dataclass(frozen=True)
class JointReading:
    """Position, velocity and applied effort of every movable joint, in the order of `names`."""

    names: list[str]
    position: list[float]
    velocity: list[float]
    effort: list[float]


@dataclass
class Link:
    """A link that has mass: what its file says, and what has been made of it."""

    index: int
    mass: float  # kg
    inertia: tuple[float, float, float]  # about its principal axes, kg m^2
    factor: float = 1.0
    payload: float = 0.0  # kg


class BulletRobot:
    """One robot in a PyBullet world of its own, driven by joint efforts.

    Args:
        spec: a robot with a `sim` section.
        seed: of the noise on the initial joint positions.
        gui: opens PyBullet's window.

    Raises:
        SpecError: the spec has no `sim` section, or names a file or joint that is not there.
    """

    def __init__(self, spec: RobotSpec, seed: int = 0, gui: bool = False) -> None:
        if spec.sim is None:
            raise SpecError([f"{spec.name}: sim: missing, so there is nothing to simulate"])
        self._sim = spec.sim
        self.dt = 1.0 / self._sim.physics_rate
        self._rng = np.random.default_rng(seed)
        self._limits = (spec.action_min, spec.action_max)
        self._safe = spec.action_safe
        self._delay = round(spec.action.delay / self.dt)  # steps
        self._fields = [field.name for field in spec.action.fields]
        self._gain = np.ones(len(self._fields))
        self._coming: deque[tuple[int, Array]] = deque()  # commands, and the step they act from
        self._steps = 0
        self._scene: float | None = None  # size of what is drawn, m; None: nothing was yet
        self._world = pybullet.connect(pybullet.GUI if gui else pybullet.DIRECT)
        if self._world < 0:
            raise RuntimeError(
                "PyBullet could not open its window; is there a display? Try gui:=false"
            )
        pybullet.setTimeStep(self.dt, physicsClientId=self._world)
        pybullet.setGravity(0, 0, -9.81, physicsClientId=self._world)
        self._body = self._load(spec)
        self._links = self._links_with_mass()
        self._index = self._movable_joints()
        self._names, self._joints = list(self._index), list(self._index.values())
        self._actuated = [self._joint(spec, field.joint) for field in spec.action.fields]
        self._initial = {self._joint(spec, j): p for j, p in self._sim.initial.items()}
        self._columns = [self._joints.index(i) for i in self._actuated]  # of a reading
        for index in self._joints:  # the default motors would act as brakes
            pybullet.setJointMotorControl2(
                self._body, index, pybullet.VELOCITY_CONTROL, force=0, physicsClientId=self._world
            )
        self.reset()

    def _load(self, spec: RobotSpec) -> int:
        beside = spec.path.parent / self._sim.urdf if spec.path else Path(self._sim.urdf)
        shipped = Path(pybullet_data.getDataPath()) / self._sim.urdf
        path = beside if beside.exists() else shipped
        if not path.exists():
            raise SpecError(
                [
                    f"{spec.name}: sim.urdf: '{self._sim.urdf}' is neither beside the robot's file "
                    "nor in pybullet_data"
                ]
            )
        return int(
            pybullet.loadURDF(
                str(path), useFixedBase=self._sim.fixed_base, physicsClientId=self._world
            )
        )

    def _links_with_mass(self) -> dict[str, Link]:
        """By name. The base of a robot that is fixed has none."""
        body, world = self._body, self._world
        base, _ = pybullet.getBodyInfo(body, physicsClientId=world)
        names = [base.decode()]
        for i in range(pybullet.getNumJoints(body, physicsClientId=world)):
            names.append(pybullet.getJointInfo(body, i, physicsClientId=world)[12].decode())
        links = {}
        for index, name in enumerate(names, start=-1):
            mass, _, inertia, *_ = pybullet.getDynamicsInfo(body, index, physicsClientId=world)
            if mass:
                links[name] = Link(index, mass, inertia)
        return links

    def _movable_joints(self) -> dict[str, int]:
        joints = {}
        for i in range(pybullet.getNumJoints(self._body, physicsClientId=self._world)):
            info = pybullet.getJointInfo(self._body, i, physicsClientId=self._world)
            if info[2] in (pybullet.JOINT_REVOLUTE, pybullet.JOINT_PRISMATIC):
                joints[info[1].decode()] = i
        return joints

    def _joint(self, spec: RobotSpec, name: str) -> int:
        if name not in self._index:
            known = ", ".join(self._index)
            raise SpecError(
                [f"{spec.name}: sim: '{self._sim.urdf}' has no joint '{name}' ({known})"]
            )
        return self._index[name]

    def reset(self) -> None:
        """Puts every joint at its initial position plus noise, at rest, with the safe command."""
        noise = self._sim.initial_noise
        for index in self._joints:
            position = self._initial.get(index, 0.0) + self._rng.uniform(-noise, noise)
            pybullet.resetJointState(self._body, index, position, 0.0, physicsClientId=self._world)
        self._effort = self._safe.copy()
        self._coming.clear()

    def command(self, effort: Array) -> None:
        """Sets the joint efforts held until the next command, from the action's `delay` on; the
        actuators saturate at their limits.

        Args:
            effort: [action_dim], N or Nm.

        Raises:
            ValueError: wrong size or not finite; the command before stays.
        """
        self.check(effort)
        limited = np.clip(effort, *self._limits)
        acts_from = self._steps + self._delay
        while self._coming and self._coming[-1][0] >= acts_from:
            self._coming.pop()  # sent while the delay was longer: this one is newer, and earlier
        if self._delay:
            self._coming.append((acts_from, limited))
        else:
            self._effort = limited

    def check(self, effort: Array) -> None:
        """Raises what `command` would."""
        if effort.shape != self._safe.shape or not np.isfinite(effort).all():
            raise ValueError(
                f"a command of {len(self._safe)} finite values was expected, got {effort}"
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
                self._weigh(self._links[name], what, value)
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

    def _weigh(self, link: Link, what: str, value: float) -> None:
        if what == "mass":
            link.factor = value
        else:
            link.payload = value
        pybullet.changeDynamics(
            self._body,
            link.index,
            mass=link.factor * link.mass + link.payload,
            localInertiaDiagonal=[link.factor * i for i in link.inertia],
            physicsClientId=self._world,
        )

    def step(self) -> None:
        """Advances the physics by `dt` seconds."""
        while self._coming and self._coming[0][0] <= self._steps:
            self._effort = self._coming.popleft()[1]
        self._steps += 1
        pybullet.setJointMotorControlArray(
            self._body,
            self._actuated,
            pybullet.TORQUE_CONTROL,
            forces=(self._gain * self._effort).tolist(),
            physicsClientId=self._world,
        )
        pybullet.stepSimulation(physicsClientId=self._world)

    def read(self) -> JointReading:
        """What ideal sensors on the joints report now."""
        states = pybullet.getJointStates(self._body, self._joints, physicsClientId=self._world)
        effort = [0.0] * len(self._joints)
        for column, value in zip(self._columns, (self._gain * self._effort).tolist(), strict=True):
            effort[column] = value
        return JointReading(self._names, [s[0] for s in states], [s[1] for s in states], effort)

    def picture(self, width: int = 480, height: int = 360) -> NDArray[np.uint8]:
        """A picture of the robot from the side, [height, width, 3]; drawn without a display.

        The camera goes along with the robot, over a floor that is only there to be seen.
        """
        centre, reach = self._extent()
        if self._scene is None:
            self._scene = max(reach, 0.3)
            self._draw_floor(min(0.0, centre[2] - reach))
        view = pybullet.computeViewMatrixFromYawPitchRoll(
            centre.tolist(), 3.2 * self._scene, 0, -25, 0, 2
        )
        lens = pybullet.computeProjectionMatrixFOV(45, width / height, 0.1, 50)
        picture = pybullet.getCameraImage(
            width,
            height,
            view,
            lens,
            lightDirection=(1, -2, 3),
            shadow=0,
            renderer=pybullet.ER_TINY_RENDERER,
            physicsClientId=self._world,
        )
        return np.reshape(np.asarray(picture[2], np.uint8), (height, width, 4))[..., :3]

    def _extent(self) -> tuple[Array, float]:
        """The centre of the first link that moves, [3], and how far the robot reaches from there,
        m."""
        joints = pybullet.getNumJoints(self._body, physicsClientId=self._world)
        links = range(0 if self._sim.fixed_base and joints else -1, joints)
        boxes = [pybullet.getAABB(self._body, i, physicsClientId=self._world) for i in links]
        centre = np.mean(boxes[0], axis=0)
        corners = np.abs(np.array(boxes) - centre).max(axis=(0, 1))
        return centre, float(corners.max())

    def _draw_floor(self, z: float) -> None:
        floor = pybullet.loadURDF(
            str(Path(pybullet_data.getDataPath()) / "plane.urdf"),
            (0, 0, z),
            useFixedBase=True,
            physicsClientId=self._world,
        )
        pybullet.changeVisualShape(
            floor, -1, rgbaColor=(0.4, 0.4, 0.4, 1), physicsClientId=self._world
        )
        pybullet.setCollisionFilterGroupMask(floor, -1, 0, 0, physicsClientId=self._world)

    def close(self) -> None:
        """Ends the PyBullet world."""
        pybullet.disconnect(physicsClientId=self._world)
