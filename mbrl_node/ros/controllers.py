"""Controllers from parameters: which kinds there are, and how one is made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from rclpy.node import Node

from mbrl_node.control import (
    Controller,
    Hold,
    PDController,
    PlanningController,
    PolicyController,
    RandomActions,
    Relay,
    TimedPlan,
    TrackingController,
)
from mbrl_node.control.model_watch import ModelWatch
from mbrl_node.control.plan_maker import Maker, PlanMaker
from mbrl_node.control.plan_server import PLANNER_GROUP, make_planner
from mbrl_node.control.planning_process import PlanningProcess
from mbrl_node.planning import PLANNERS, Planner
from mbrl_node.planning.planner import PlannerConfig
from mbrl_node.ros.parameters import LiveParameters
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.plugins import find, plugins

MODEL_FREE = ("inverse_dynamics", "pd", "teleop", "external", "random", "hold")
CONTROLLERS = (*PLANNERS, "policy", *MODEL_FREE)
CONTROLLER_GROUP = "mbrl.controllers"
Settable = RandomActions | PDController | Relay
Learned = PlanningController | PolicyController | TrackingController


def known_kinds() -> list[str]:
    """Built in and from plugins."""
    names = [*CONTROLLERS, *plugins(PLANNER_GROUP, CONTROLLERS)]
    return names + list(plugins(CONTROLLER_GROUP, names))


def kind_of(name: str, kinds: list[str]) -> str | None:
    """The kind that a controller's name begins with: `mppi_fast` is an mppi. None: no kind."""
    fitting = [k for k in kinds if name == k or name.startswith(f"{k}_")]
    return max(fitting, key=len, default=None)


@dataclass(frozen=True)
class Surroundings:
    """What planning controllers are connected to."""

    device: torch.device
    seed: int
    process: PlanningProcess | None  # that plans; None: within a tick, for lock-step
    watch: ModelWatch | None  # has the models where no process plans
    max_late: int
    on_plan: Callable[[str, TimedPlan], None]
    wants_states: Callable[[], bool]


class ControllerFactory:
    """Makes controllers, with their settings as live parameters `NAME.SETTING`."""

    def __init__(
        self,
        node: Node,
        spec: RobotSpec,
        live: LiveParameters,
        surroundings: Surroundings,
    ) -> None:
        self._node, self._spec, self._live, self._around = node, spec, live, surroundings
        self.kinds = known_kinds()

    def make_all(self, first: str) -> list[Controller]:
        """One of each kind, the first to act in front. What a robot or a plugin does not allow is
        left out, unless it is the first to act.

        Raises:
            ConfigurationError: the first cannot be made, or a parameter is wrong.
        """
        made = []
        with ExitStack() as undo:
            for name in sorted(self.kinds, key=lambda k: k != first):
                try:
                    made.append(self.make(name, name))
                    undo.callback(made[-1].close)
                except ConfigurationError:
                    raise
                except Exception as error:  # a robot without such joints, or somebody else's code
                    problem = f"controller '{name}': {type(error).__name__}: {error}"
                    if name == first:
                        raise ConfigurationError(f"{self._node.get_name()}: {problem}") from error
                    log = self._node.get_logger()
                    tell = log.debug if name in CONTROLLERS else log.warning
                    tell(f"{problem}; it is left out")
            undo.pop_all()
        return made

    def make(self, name: str, kind: str) -> Controller:
        """A controller of a kind, under a name.

        Raises:
            ConfigurationError: a parameter is wrong.
            Exception: whatever its constructor raises.
        """
        controller = self._make(name, kind)
        controller.kind = kind
        return controller

    def _make(self, name: str, kind: str) -> Controller:
        if kind == "hold":
            return Hold(name, self._spec)
        if kind == "policy":
            return PolicyController(name)
        if kind == "inverse_dynamics":
            return TrackingController(name, self._spec)
        if kind == "random":
            return self._settable(
                name, RandomActions, partial(RandomActions, seed=self._around.seed)
            )
        if kind == "pd":
            return self._settable(name, PDController, PDController)
        if kind in ("teleop", "external"):
            return self._settable(name, Relay, partial(Relay, required=kind == "external"))
        if kind in plugins(CONTROLLER_GROUP):
            return self._plugged(name, find(CONTROLLER_GROUP, kind, {}, Controller))
        return self._planning(name, kind)

    def _plugged(self, name: str, kind: Any) -> Controller:
        controller: Any
        if kind.Config.model_fields:
            config = self._live.declare(
                name, kind.Config, lambda changed: partial(controller.set_config, changed)
            )
            controller = kind(name, self._spec, config)
        else:
            controller = kind(name, self._spec)
        made: Controller = controller
        return made

    def _settable(self, name: str, kind: type[Settable], make: Callable[..., Settable]) -> Settable:
        def prepare(changed: Any) -> Callable[[], None]:
            make(name, self._spec, changed)  # raises what is wrong with it
            return partial(controller.set_config, changed)

        controller = make(name, self._spec, self._live.declare(name, kind.Config, prepare))
        return controller

    def _planning(self, name: str, kind: str) -> PlanningController:
        around, spec, dt = self._around, self._spec, self._spec.dt
        planner = find(PLANNER_GROUP, kind, PLANNERS, Planner)

        # One that is only to say what is wrong with its settings has no business on a GPU.
        device = "cpu" if around.process is not None else str(around.device)

        def make(config: PlannerConfig) -> Planner:
            return make_planner(kind, config, spec, device, around.seed)

        def prepare(changed: PlannerConfig) -> Callable[[], None]:
            made = make(changed)  # raises what is wrong with it
            if around.process is not None:
                return partial(around.process.set_planner, name, changed)
            return partial(controller.set_planner, made)

        config = self._live.declare(name, planner.Config, prepare)
        maker: Maker = PlanMaker(make(config), dt, around.watch)  # raises what is wrong
        if around.process is not None:
            maker = around.process.maker(name, kind, config)
        controller = PlanningController(
            name,
            maker,
            dt,
            background=around.process is not None,
            on_plan=partial(around.on_plan, name),
            wants_states=around.wants_states,
            max_late=around.max_late,
        )
        return controller
