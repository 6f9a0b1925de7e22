"""Controllers, what keeps them safe, and the loop that runs them. No ROS here."""

from mbrl_node.control.controller import (
    Controller,
    ControllerConfig,
    Hold,
    Observation,
    RandomActions,
    RandomConfig,
)
from mbrl_node.control.loop import ControlLoop, Tick
from mbrl_node.control.manager import ControllerManager, FallbackConfig, SwitchError
from mbrl_node.control.pacer import Clock, Pacer, SteadyClock
from mbrl_node.control.pd import PDConfig, PDController
from mbrl_node.control.plan_maker import TimedPlan
from mbrl_node.control.planning_controller import PlanningController
from mbrl_node.control.policy_controller import PolicyController
from mbrl_node.control.reference import Reference
from mbrl_node.control.relay import Relay, RelayConfig
from mbrl_node.control.safety import Breach, Envelope, SafetyFilter
from mbrl_node.control.stops import Deadman, StopError, Stops
from mbrl_node.control.tracking import ParametricController, TrackingController

__all__ = [
    "Breach",
    "Clock",
    "ControlLoop",
    "Controller",
    "ControllerConfig",
    "ControllerManager",
    "Deadman",
    "Envelope",
    "FallbackConfig",
    "Hold",
    "Observation",
    "PDConfig",
    "PDController",
    "Pacer",
    "ParametricController",
    "PlanningController",
    "PolicyController",
    "RandomActions",
    "RandomConfig",
    "Reference",
    "Relay",
    "RelayConfig",
    "SafetyFilter",
    "SteadyClock",
    "StopError",
    "Stops",
    "SwitchError",
    "Tick",
    "TimedPlan",
    "TrackingController",
]
