"""Planning with a learned model: the rollout and the planners that use it."""

from mbrl_node.planning.budget import Effort
from mbrl_node.planning.cem import CEM, CEMConfig
from mbrl_node.planning.graphed import GraphedPlanner, graphed
from mbrl_node.planning.icem import ICEM, ICEMConfig
from mbrl_node.planning.mppi import MPPI, MPPIConfig
from mbrl_node.planning.parameters import (
    ControlLaw,
    LinearFeedback,
    ParameterPlanner,
    ParameterReturns,
)
from mbrl_node.planning.planner import ActionSpace, Planner, PlannerConfig
from mbrl_node.planning.random_shooting import RandomShooting, RandomShootingConfig
from mbrl_node.planning.rollout import PlanningError, Rollout, RolloutConfig

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "PLANNERS",
    "ActionSpace",
    "CEMConfig",
    "ControlLaw",
    "Effort",
    "GraphedPlanner",
    "ICEMConfig",
    "LinearFeedback",
    "MPPIConfig",
    "ParameterPlanner",
    "ParameterReturns",
    "Planner",
    "PlannerConfig",
    "PlanningError",
    "RandomShooting",
    "RandomShootingConfig",
    "Rollout",
    "RolloutConfig",
    "graphed",
]

PLANNERS: dict[str, type[Planner]] = {
    "random_shooting": RandomShooting,
    "cem": CEM,
    "icem": ICEM,
    "mppi": MPPI,
}
