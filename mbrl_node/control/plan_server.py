"""The planning process: `python -m mbrl_node.control.plan_server PLANS SETTINGS`, started by
`PlanningProcess` with two sockets by their numbers. It ends with the process that started it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mbrl_node.control.line import Answer, Arrays, CallError, Line
from mbrl_node.control.loaded_models import LoadedModels
from mbrl_node.control.model_watch import Rollback, RollbackError
from mbrl_node.control.plan_maker import PlanMaker, PlanRequest, TimedPlan
from mbrl_node.models import CheckpointError
from mbrl_node.planning import PLANNERS, ActionSpace, Planner, RolloutConfig, graphed
from mbrl_node.planning.planner import PlannerConfig
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.plugins import find

PLANNER_GROUP = "mbrl.planners"


def make_planner(
    kind: str, config: PlannerConfig, spec: RobotSpec, device: str, seed: int
) -> Planner:
    """A planner for a robot, of a kind that is built in or a plugin's."""
    planner = find(PLANNER_GROUP, kind, PLANNERS, Planner)
    space = ActionSpace.of(spec).to(torch.device(device))
    return graphed(planner(config, space, spec.dt, seed))


class PlanServer:
    """Answers calls on two lines: those for plans in one thread, settings and models in another, so
    that a model that is loaded holds up no plan."""

    def __init__(self) -> None:
        self._makers: dict[str, PlanMaker] = {}
        self._models: LoadedModels
        self._rollbacks: list[Rollback] = []  # since the last plan
        self._last: dict[str, TimedPlan] = {}
        self._log: list[tuple[int, str]] = []

    # Plans.

    def plan(self, values: dict[str, Any], arrays: Arrays) -> Answer:
        """`make` and `shown` of a maker."""
        name = values["name"]
        if name not in self._makers:
            raise CallError(f"there is no planner '{name}'")
        maker = self._makers[name]
        if values["call"] == "shown":
            shown = maker.shown(self._last[name])
            found: Arrays = {} if shown.states is None else {"states": shown.states}
            if shown.candidates is not None:
                found["candidates"] = shown.candidates.states
                found["returns"] = shown.candidates.returns
            return {"predicted_return": shown.predicted_return}, found
        fields = ("time", "asked", "epoch", "show")
        request = PlanRequest(**{f: values[f] for f in fields}, **arrays)  # type: ignore[arg-type]
        plan = self._last[name] = maker.make(request)
        effort = asdict(plan.effort) if plan.effort else None
        facts = {"model_version": plan.model_version, "plan_time": plan.plan_time, "effort": effort}
        return {**facts, "watch": self._watched()}, {"actions": plan.actions}

    def _watched(self) -> dict[str, Any]:
        """How the model in use does, and what was gone back from since the last plan."""
        watch = self._models.watch
        good = watch.good
        rollbacks, self._rollbacks[:] = [asdict(r) for r in self._rollbacks], []
        return {"good": good[1] if good else 0, "error": watch.error, "rollbacks": rollbacks}

    # Settings and models.

    def set(self, values: dict[str, Any], arrays: Arrays) -> Answer:
        """What is to be planned with from now on."""
        call = values["call"]
        if call == "robot":
            path = Path(values["path"]) if values["path"] else None
            self._spec = RobotSpec.from_dict(values["robot"], values["robot"]["name"], path)
            self._device, self._seed = values["device"], values["seed"]
            device = torch.device(self._device)
            self._models = LoadedModels(self._spec, device, self._rollbacks.append)
        elif call == "planner":
            self._set_planner(values["name"], values["kind"], values["config"])
        elif call == "rollout":
            self._models.set_rollout(RolloutConfig.model_validate(values["config"]))
        elif call == "model":
            return self._load(Path(values["file"]), values["version"], values["good"])
        elif call == "back":
            return self._go_back(values["reason"], values["to"], values["unless_better"])
        return self._said(), {}

    def _set_planner(self, name: str, kind: str, config: dict[str, Any]) -> None:
        known = find(PLANNER_GROUP, kind, PLANNERS, Planner).Config
        planner = make_planner(
            kind, known.model_validate(config), self._spec, self._device, self._seed
        )
        if name in self._makers:
            self._makers[name].set_planner(planner)
            return
        self._makers[name] = PlanMaker(planner, self._spec.dt, self._models.watch)

    def _load(self, file: Path, version: int, good: bool) -> Answer:
        try:
            model = self._models.load(file, version, good)
        except (CheckpointError, RollbackError) as error:
            raise CallError(str(error)) from error
        others = model.policy is not None or model.inverse is not None
        return {"history": model.dynamics.config.history, "others": others, **self._said()}, {}

    def _go_back(self, reason: str, to: int | None, unless_better: bool) -> Answer:
        try:
            rollback = self._models.watch.go_back(reason, to, unless_better)
        except RollbackError as error:
            raise CallError(str(error)) from error
        return {"rollback": asdict(rollback), **self._said()}, {}

    def _said(self) -> dict[str, Any]:
        """What was logged since the last answer."""
        said, self._log[:] = list(self._log), []
        return {"log": said}

    def keep_logs(self) -> None:
        """What the library logs goes with the answers."""
        kept = self._log

        class Keep(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                kept.append((record.levelno, record.getMessage()))

        logger = logging.getLogger("mbrl_node")
        logger.addHandler(Keep())
        logger.setLevel(logging.INFO)


def main(plans: int, settings: int) -> None:
    """Serves until the other process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the other one ends us
    sys.setswitchinterval(0.0005)
    torch.set_num_threads(1)
    server = PlanServer()
    server.keep_logs()
    ends = [Line(socket.socket(fileno=number)) for number in (plans, settings)]
    thread = threading.Thread(target=ends[1].serve, args=(server.set,), daemon=True)
    thread.start()
    ends[0].serve(server.plan)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
