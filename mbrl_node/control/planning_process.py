"""Planning in a process of its own, so that control shares neither Python's lock nor a crash with
it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mbrl_node.control.candidates import Candidates
from mbrl_node.control.line import Answer, Arrays, CallError, Line, LineError
from mbrl_node.control.plan_maker import PlanRequest, TimedPlan
from mbrl_node.planning import Effort, PlanningError, RolloutConfig
from mbrl_node.planning.planner import PlannerConfig
from mbrl_node.spec import RobotSpec

log = logging.getLogger(__name__)

Call = tuple[str, dict[str, Any]]

SHORTEST_LIFE = 1.0  # s between two starts


@dataclass(frozen=True)
class _Planner:
    kind: str
    config: PlannerConfig


class PlanningProcess:
    """The process, started when it is first needed, and again when it has died; then it is told all
    that was set.

    Args:
        device: of torch.
        seed: of the planners.
    """

    def __init__(self, spec: RobotSpec, device: str, seed: int) -> None:
        self._spec, self._device, self._seed = spec, device, seed
        self._planners: dict[str, _Planner] = {}
        self._rollout = RolloutConfig()
        self._model: tuple[Path, int] | None = None
        self.history = 0  # states that the model looks at; 0: there is no model yet
        self._starting = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._plans: Line | None = None
        self._settings: Line | None = None
        self._started_at = 0.0
        self._closed = False

    # What is planned with: any thread but the control thread.

    def maker(self, name: str, kind: str, config: PlannerConfig) -> RemoteMaker:
        """A planner of the process."""
        self._planners[name] = _Planner(kind, config)
        self._tell_change(self._planner_call(name))
        return RemoteMaker(self, name)

    def set_planner(self, name: str, config: PlannerConfig) -> None:
        """Changes a planner's settings for its next plan."""
        self._planners[name] = replace(self._planners[name], config=config)
        self._tell_change(self._planner_call(name))

    def set_rollout(self, config: RolloutConfig) -> None:
        """Changes how models are rolled out."""
        self._rollout = config
        self._tell_change(self._rollout_call())

    def load(self, file: Path, version: int) -> bool:
        """The next plan uses this model; tells whether the file has a policy or an inverse model.

        Raises:
            CallError: it cannot be used, and the one before stays; the message says why.
            LineError: the process died of it.
        """
        call = self._model_call(file, version)
        answer, _ = self._call(lambda: self._settings, *call, {})
        self._model, self.history = (file, version), answer["history"]
        return bool(answer["others"])

    def _tell_change(self, call: Call) -> None:
        """A process that is not there yet is told all at its start."""
        if self._settings is not None:
            self._call(lambda: self._settings, *call, {})

    def _planner_call(self, name: str) -> Call:
        planner = self._planners[name]
        config = planner.config.model_dump(mode="json")
        return "planner", {"name": name, "kind": planner.kind, "config": config}

    def _rollout_call(self) -> Call:
        return "rollout", {"config": self._rollout.model_dump(mode="json")}

    def _model_call(self, file: Path, version: int) -> Call:
        return "model", {"file": str(file), "version": version}

    def plan(self, what: str, values: dict[str, Any], arrays: Arrays) -> Answer:
        """A call for a plan. In a planning thread.

        Raises:
            CallError, LineError: there is none.
        """
        return self._call(lambda: self._plans, what, values, arrays)

    def horizon(self, name: str) -> int:
        """Actions of a planner's plans."""
        return max(1, round(self._planners[name].config.horizon / self._spec.dt))

    # The process.

    def begin(self) -> None:
        """Starts it beforehand, in the background."""

        def start() -> None:
            try:
                self._ensure()
            except (LineError, CallError, OSError) as error:  # tried again when it is needed
                if not self._closed:
                    log.error("the planning process: %s", error)

        threading.Thread(target=start, name="start-planning", daemon=True).start()

    def _call(
        self, line: Callable[[], Line | None], what: str, values: dict[str, Any], arrays: Arrays
    ) -> Answer:
        self._ensure()
        connection = line()
        if connection is None:
            raise LineError("the planning process has been ended")
        try:
            answer, found = connection.call(what, values, arrays)
        except LineError as error:
            self._lost(connection)
            raise LineError(f"the planning process has died ({error})") from error
        self._tell(answer)
        return answer, found

    def _tell(self, answer: dict[str, Any]) -> None:
        for level, text in answer.get("log", ()):
            log.log(level, "%s", text)

    def _ensure(self) -> None:
        with self._starting:
            if self._process is not None or self._closed:
                return
            time.sleep(max(0.0, self._started_at + SHORTEST_LIFE - time.monotonic()))
            self._started_at = time.monotonic()
            ours, theirs = zip(*(socket.socketpair() for _ in range(2)), strict=True)
            numbers = [end.fileno() for end in theirs]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mbrl_node.control.plan_server", *map(str, numbers)],
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            )
            with contextlib.suppress(OSError):  # a real-time priority is not for plans
                os.sched_setscheduler(self._process.pid, os.SCHED_OTHER, os.sched_param(0))
            for end in theirs:
                end.close()
            self._plans, self._settings = (Line(end) for end in ours)
            try:
                self._teach(self._settings)
            except LineError:
                self._lost(self._settings)
                raise

    def _teach(self, line: Line) -> None:
        """All that was set so far."""
        robot = self._spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
        path = str(self._spec.path) if self._spec.path else ""
        calls: list[Call] = [
            ("robot", {"robot": robot, "path": path, "device": self._device, "seed": self._seed}),
            self._rollout_call(),
            *(self._planner_call(name) for name in self._planners),
        ]
        if self._model is not None:
            calls.append(self._model_call(*self._model))
        for what, values in calls:
            answer, _ = line.call(what, values)
            self._tell(answer)

    def _lost(self, line: Line) -> None:
        """It has died: the next call starts another."""
        with self._starting:
            if line not in (self._plans, self._settings) or self._closed:
                return
            log.error("the planning process has died; another is started")
            self._end()

    def _end(self) -> None:
        for line in (self._plans, self._settings):
            if line is not None:
                line.close()
        self._plans = self._settings = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def close(self) -> None:
        """Ends it; who waits for a plan gets a LineError."""
        self._closed = True
        for line in (self._plans, self._settings):
            if line is not None:
                line.close()
        with self._starting:
            self._end()


class RemoteMaker:
    """A planner in the planning process; see `Maker`."""

    def __init__(self, process: PlanningProcess, name: str) -> None:
        self._process, self._name = process, name

    @property
    def history(self) -> int:
        return self._process.history

    @property
    def horizon(self) -> int:
        return self._process.horizon(self._name)

    def make(self, request: PlanRequest) -> TimedPlan:
        """See `Maker`."""
        values = {"name": self._name, "time": request.time, "asked": request.asked}
        values |= {"epoch": request.epoch, "show": request.show}
        arrays = {"states": request.states, "past_actions": request.past_actions}
        arrays["ahead"] = request.ahead
        facts, found = self._ask("plan", values, arrays)
        effort = Effort(**facts["effort"]) if facts["effort"] else None
        return TimedPlan(
            request.time,
            request.asked,
            found["actions"],
            facts["model_version"],
            facts["plan_time"],
            effort=effort,
        )

    def shown(self, plan: TimedPlan) -> TimedPlan:
        """See `Maker`."""
        facts, found = self._ask("shown", {"name": self._name}, {})
        candidates = None
        if "candidates" in found:
            candidates = Candidates(found["candidates"], found["returns"])
        return replace(
            plan,
            states=found.get("states"),
            predicted_return=facts["predicted_return"],
            candidates=candidates,
        )

    def _ask(self, what: str, values: dict[str, Any], arrays: Arrays) -> Answer:
        try:
            return self._process.plan(what, values, arrays)
        except (CallError, LineError) as error:
            raise PlanningError(str(error)) from error
