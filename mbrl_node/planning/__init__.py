"""Planning with a learned model: the rollout and the planners that use it."""

from mbrl_node.planning.mppi import MPPI, MPPIConfig
from mbrl_node.planning.planner import ActionSpace, Planner
from mbrl_node.planning.random_shooting import RandomShooting, RandomShootingConfig
from mbrl_node.planning.rollout import PlanningError, Rollout

__all__ = [
    "MPPI",
    "ActionSpace",
    "MPPIConfig",
    "Planner",
    "PlanningError",
    "RandomShooting",
    "RandomShootingConfig",
    "Rollout",
]
