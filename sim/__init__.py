"""Simulated robots. The only package that imports PyBullet; `mbrl_node` never imports it.

Importing it makes each robot's file an environment of Gymnasium's: half_cheetah.yaml is
`gymnasium.make("mbrl/HalfCheetah-v0")`, or `sim:mbrl/HalfCheetah-v0` where it is not yet imported.
"""

import gymnasium

from mbrl_node.spec import robot_directories


def _register() -> None:
    for directory in robot_directories():
        for file in sorted(directory.glob("*.yaml")):
            name = "".join(word.capitalize() for word in file.stem.split("_"))
            if f"mbrl/{name}-v0" not in gymnasium.registry:
                gymnasium.register(
                    f"mbrl/{name}-v0",
                    "sim.env:RobotEnv",
                    kwargs={"robot": str(file)},
                    order_enforce=False,
                )


_register()
