"""Kinds of simulated robots: one small class each, chosen by `sim.kind` in a robot's file.

A kind of your own is an entry point of the group `mbrl.robots` that names a subclass of
`sim.robot.BulletRobot`.
"""

from __future__ import annotations

from mbrl_node.spec import PluginError, RobotSpec, SpecError
from mbrl_node.spec.plugins import find
from sim.robot import BulletRobot
from sim.robots.half_cheetah import HalfCheetah
from sim.robots.husky import Husky
from sim.robots.panda import Panda

GROUP = "mbrl.robots"
KINDS: dict[str, type[BulletRobot]] = {
    "joints": BulletRobot,
    "half_cheetah": HalfCheetah,
    "husky": Husky,
    "panda": Panda,
}


def make_robot(spec: RobotSpec, seed: int = 0, gui: bool = False) -> BulletRobot:
    """The robot of a spec, in a world of its own; arguments as of `BulletRobot`.

    Raises:
        SpecError: there is no such kind, or no such robot of that kind.
    """
    kind = spec.sim.kind if spec.sim else "joints"
    try:
        return find(GROUP, kind, KINDS, BulletRobot)(spec, seed, gui)
    except PluginError as error:
        raise SpecError([f"{spec.name}: sim.kind: {error}"]) from None
