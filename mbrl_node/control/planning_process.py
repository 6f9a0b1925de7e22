"""Planning in a process of its own, so that control shares neither Python's lock nor a crash with
it."""

from __future__ import annotations

import contextlib
import logging
import math
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
from mbrl_node.control.model_watch import Rollback, RollbackError
from mbrl_node.control.plan_maker import PlanRequest, TimedPlan
from mbrl_node.models.checkpoint import checkpoints
from mbrl_node.planning import Effort, PlanningError, RolloutConfig
from mbrl_node.planning.planner import PlannerConfig
from mbrl_node.spec import RobotSpec

log = logging.getLogger(__name__)

Call = tuple[str, dict[str, Any]]

SHORTEST_LIFE = 1.0  # s between two starts
REMEMBERED = 64  # versions whose file is known


@dataclass(frozen=True)
class _Planner:
    kind: str
    config: PlannerConfig


@dataclass(frozen=True)
class _Model:
    file: Path
    history: int  # states that it looks at


class PlanningProcess:
    """The process, started when it is first needed, and again when it has died; then it is told all
    that was set.

    Args:
        device: of torch.
        seed: of the planners.

    Attributes:
        version: of the model in use; 0: there is none yet.
        good_version: that would be gone back to, see `ModelWatch`; 0: none yet.
        prediction_error: of what was in use lately, see `ModelWatch`.
        refused: versions up to this one are not taken any more.
        on_rollback: called in a planning thread when the process has gone back by itself.
    """

    def __init__(self, spec: RobotSpec, device: str, seed: int) -> None:
        self._spec, self._device, self._seed = spec, device, seed
        self._planners: dict[str, _Planner] = {}
        self._rollout = RolloutConfig()
        self._models: dict[int, _Model] = {}  # the newest last
        self._changing = threading.Lock()  # around which model is in use
        self.version, self.good_version, self.refused = 0, 0, 0
        self.prediction_error = math.nan
        self.on_rollback: Callable[[Rollback], None] = lambda rollback: None
        self._starting = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._plans: Line | None = None
        self._settings: Line | None = None
        self._started_at = 0.0
        self._closed = False

    @property
    def history(self) -> int:
        """States that the model in use looks at; 0: there is no model yet."""
        model = self._models.get(self.version)
        return model.history if model else 0

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
        answer, _ = self._call(lambda: self._settings, *self._model_call(file, version), {})
        with self._changing:
            self._models[version] = _Model(file, answer["history"])
            self.version = version if version > self.refused else self.version
            for old in list(self._models)[:-REMEMBERED]:
                if old not in (self.version, self.good_version):
                    del self._models[old]
        return bool(answer["others"])

    def go_back(self, reason: str, to: int | None = None, unless_better: bool = False) -> Rollback:
        """Goes back to an older version, see `ModelWatch.go_back`.

        Raises:
            RollbackError: it does not; the message says why.
        """
        values = {"reason": reason, "to": to, "unless_better": unless_better}
        try:
            answer, _ = self._call(lambda: self._settings, "back", values, {})
        except (CallError, LineError) as error:
            raise RollbackError(str(error)) from error
        rollback = Rollback(**answer["rollback"])
        self._went_back(rollback)
        return rollback

    def _went_back(self, rollback: Rollback) -> None:
        with self._changing:
            self.refused = max(self.refused, rollback.bad)
            if self.version <= rollback.bad:  # else a newer one came meanwhile
                self.version = rollback.good
            self.good_version = rollback.good
            for version in list(self._models):
                if rollback.good < version <= rollback.bad:
                    del self._models[version]

    def hear(self, watched: dict[str, Any]) -> None:
        """Takes in how the model in use does. In a planning thread."""
        for each in watched["rollbacks"]:
            rollback = Rollback(**each)
            self._went_back(rollback)
            self.on_rollback(rollback)
        self.good_version, self.prediction_error = watched["good"], watched["error"]

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

    def _model_call(self, file: Path, version: int, good: bool = False) -> Call:
        return "model", {"file": str(file), "version": version, "good": good}

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
        for what, values in calls:
            answer, _ = line.call(what, values)
            self._tell(answer)
        self._teach_models(line)

    def _teach_models(self, line: Line) -> None:
        """The good model and the one in use; where their files are gone, the newest there is."""
        with self._changing:
            wanted = [v for v in (self.good_version, self.version) if v in self._models]
        loaded = [v for v in dict.fromkeys(wanted) if self._load_again(line, v)]
        if self.version in loaded or not wanted:
            return
        before = self.version
        for file in checkpoints(self._models[before].file.parent)[::-1]:
            version = int(file.stem[1:])
            if version > self.refused and self._load_again(line, version, file):
                loaded.append(version)
                break
        if loaded:
            self.version = loaded[-1]
            log.warning("model %d is used instead of %d", self.version, before)

    def _load_again(self, line: Line, version: int, file: Path | None = None) -> bool:
        good = version == self.good_version
        file = file or self._models[version].file
        try:
            answer, _ = line.call(*self._model_call(file, version, good))
        except CallError as error:
            what = "the good model" if good else "model"
            log.warning("%s %d cannot be loaded again: %s", what, version, error)
            return False
        self._models[version] = _Model(file, answer["history"])
        return True

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
        arrays |= {"ages": request.ages, "ahead": request.ahead}
        arrays |= {"targets": request.targets, "limits": request.limits}
        facts, found = self._ask("plan", values, arrays)
        self._process.hear(facts["watch"])
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
