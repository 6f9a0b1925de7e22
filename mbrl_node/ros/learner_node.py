"""The learner node: keeps transitions and offers new models, in a process that yields to all
others."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch
from mbrl_msgs.msg import ModelUpdate
from mbrl_msgs.srv import Learn, Promote
from rclpy.node import Node
from std_srvs.srv import SetBool

from mbrl_node.data import Event, StoreError
from mbrl_node.learning import (
    GateConfig,
    Learner,
    LearnerConfig,
    TrainerConfig,
    VersionError,
    lock_run,
)
from mbrl_node.models import InverseConfig, ModelConfig, PolicyConfig
from mbrl_node.ros.convert import update_to_msg
from mbrl_node.ros.curves import RunCurves
from mbrl_node.ros.device import torch_device
from mbrl_node.ros.events import EventPublisher
from mbrl_node.ros.intake import Intake
from mbrl_node.ros.learner_status import LearnerReports
from mbrl_node.ros.lockstep import LockStepService, StepError
from mbrl_node.ros.logs import forward_logs
from mbrl_node.ros.parameters import Config, declare, declare_config, declare_robot, settings_of
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.ros.qos import LATEST
from mbrl_node.spec.task import Task

ARRIVAL = 10.0  # s that a lesson waits for the transitions it is about
RETRY = 5.0  # s after an update that failed
LAST_WORDS = 3.0  # s that it waits, at the end, for a controller that ends as well


class LearnerNode(Node):
    """Transitions come in one thread, are stored in the main thread and learned from in a third.

    With `sync:=true` it learns in the main thread, when `~/learn` asks for it and only then. The
    same transitions and lessons then give the same model, bit by bit.
    """

    def __init__(self) -> None:
        super().__init__("mbrl_learner")
        self._end_logs = forward_logs(self)
        torch.set_num_threads(1)
        self._spec = declare_robot(self)
        self._settings = settings_of(self._spec)
        run_dir = declare(self, "run_dir", "", "the run's folder: transitions and models")
        if not run_dir:
            raise ConfigurationError("mbrl_learner: parameter run_dir: must be given")
        seed = declare(self, "seed", 0, "of the first weights and of the batches")
        device = torch_device(declare(self, "device", "cpu", "where it trains: cpu or cuda"))
        self._sync = declare(self, "sync", False, "learn only when ~/learn asks for it")
        self._config = self._declared("learner", LearnerConfig)
        trainer = self._declared("trainer", TrainerConfig)
        model = self._declared("model", ModelConfig)
        policy = self._declared("policy", PolicyConfig)
        inverse = self._declared("inverse", InverseConfig)
        gate = self._declared("gate", GateConfig)
        self._lock = _lock(Path(run_dir))
        self._learner = Learner(
            self._spec,
            Task.of(self._spec),
            Path(run_dir),
            self._config,
            trainer,
            model,
            seed,
            str(device),
            policy,
            inverse,
            gate,
        )
        self._stop_update, self._changing = threading.Event(), threading.Lock()
        self._paused = threading.Event()
        self._update_problem = ""
        self._events = EventPublisher(self, time.time_ns(), lambda event: self._intake.keep(event))
        self._learner.say = self._events.say
        self._intake = Intake(self, self._spec, self._learner, self._on_event, self._events.say)
        self._models = self.create_publisher(ModelUpdate, "~/model", LATEST)
        self._offer()
        stored = len(self._learner.buffer)
        version = self._learner.latest.version if self._learner.latest else 0
        self.get_logger().info(f"run {run_dir}: {stored} transitions, model {version}")
        self._reports = LearnerReports(
            self,
            self._spec,
            Path(run_dir),
            self._learner,
            lambda: self._intake.problem or self._update_problem,
            self._paused.is_set,
        )
        configs = {
            **{"learner": self._config, "trainer": trainer, "model": model, "policy": policy},
            **{"inverse": inverse, "gate": gate},
        }
        self._curves = RunCurves(self, self._spec.name, Path(run_dir), self._learner, configs)
        self.create_service(Promote, "~/promote", self._on_promote)
        self.create_service(SetBool, "~/pause", self._on_pause)

    def _declared(self, prefix: str, kind: type[Config]) -> Config:
        return declare_config(self, prefix, kind, settings=self._settings)

    def run(self, stop: threading.Event) -> None:
        """Stores what comes, while another thread trains, until told to stop."""
        if self._sync:
            self._run_in_step(stop)
        else:
            training = threading.Thread(target=self._train, args=(stop,), name="train", daemon=True)
            training.start()
            while not stop.wait(0.05):
                self._intake.store()
                self._curves.write()
            training.join(1.0)
        deadline = time.monotonic() + LAST_WORDS
        while self._intake.hears_controller and time.monotonic() < deadline:
            self._intake.store(wait=0.05)
        self._events.flush()
        self._intake.store()
        self._curves.write()

    def _train(self, stop: threading.Event) -> None:
        """Retrains whenever there is something new. Only this thread yields to everyone else, so
        that storing and stopping stay prompt."""
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # 0: this thread
        next_update = 0.0
        while not stop.is_set():
            now = time.monotonic()
            if now < next_update or self._paused.is_set() or not self._learner.due:
                stop.wait(0.02)
                continue
            went_well = self._update(stop)
            took = time.monotonic() - now
            wait = max(self._config.period, took / self._config.budget)
            next_update = now + (wait if went_well else RETRY)

    def _update(self, stop: threading.Event) -> bool:
        """One update; tells whether nothing went wrong."""
        try:
            if self._learner.update(lambda: stop.is_set() or self._stop_update.is_set()):
                self._offer()
        except Exception as error:  # the next update may work; without it learning would end
            problem = f"{type(error).__name__}: {error}"
            self.get_logger().error(f"update given up: {problem}", throttle_duration_sec=5.0)
            if not self._update_problem:
                self._events.say("problem", "learner", f"update given up: {problem}")
            self._update_problem = problem
            return False
        self._update_problem = ""
        return True

    @contextmanager
    def _no_update(self) -> Iterator[None]:
        """An update that is under way is given up, and none begins meanwhile."""
        with self._changing:
            self._stop_update.set()
            try:
                yield
            finally:
                self._stop_update.clear()

    def _run_in_step(self, stop: threading.Event) -> None:
        service = LockStepService(self, Learn, "~/learn", partial(self._on_learn, stop))
        while not stop.is_set():
            service.serve(timeout=0.05)
            self._intake.store()
            self._curves.write()

    def _on_learn(self, stop: threading.Event, request: Any, response: Any) -> None:
        """Answers `~/learn`: one update if one is due.

        Raises:
            StepError: the transitions did not come.
        """
        deadline = time.monotonic() + ARRIVAL
        while (stored := self._learner.store.stored(request.session)) < request.transitions:
            if stop.is_set() or time.monotonic() > deadline:
                raise StepError(
                    f"{stored} of {request.transitions} transitions of session {request.session} "
                    f"were stored in {ARRIVAL:g} s"
                )
            self._intake.store(wait=0.1)
        if self._learner.due and not self._paused.is_set():
            self._update(stop)
        if self._learner.latest is not None:
            response.update = update_to_msg(self._learner.latest, self._spec, time.time_ns())
        response.success = True

    def _on_promote(self, request: Any, response: Any) -> Any:
        """Answers `~/promote`."""
        try:
            with self._no_update():
                response.version = self._learner.promote(request.version).version
        except (VersionError, StoreError, OSError) as error:
            response.message = str(error)
        else:
            self._offer()
            response.success = True
            response.message = f"version {request.version} is in use as {response.version}"
        self.get_logger().info(f"promotion of version {request.version}: {response.message}")
        return response

    def _on_pause(self, request: Any, response: Any) -> Any:
        """Answers `~/pause`."""
        if request.data:
            self._paused.set()
        else:
            self._paused.clear()
        response.success = True
        response.message = "paused: it stores, and does not learn" if request.data else "it learns"
        self.get_logger().info(response.message)
        return response

    def _on_event(self, event: Event) -> None:
        """The controller went back to an older version of the model, and so does learning."""
        if event.kind != "rollback":
            return
        try:
            bad, good = map(int, event.subject.split())
            in_use = {v.number for v in self._learner.versions.all() if v.state == "accepted"}
            if bad not in in_use:  # it is an old story
                return
            with self._no_update():
                self._learner.roll_back(bad, good, event.text)
        except Exception as error:  # the controller does without it; storing has to go on
            self.get_logger().error(f"rollback {event.subject}: {type(error).__name__}: {error}")
        self._offer()

    def _offer(self) -> None:
        if self._learner.latest is not None:
            self._models.publish(update_to_msg(self._learner.latest, self._spec, time.time_ns()))

    def close(self) -> None:
        """Closes the store and leaves the run to others."""
        self._curves.close()
        self._learner.store.close()
        self._lock.close()
        self._end_logs()


def _lock(run_dir: Path) -> TextIO:
    try:
        return lock_run(run_dir)
    except BlockingIOError as error:
        raise ConfigurationError(f"{run_dir}: another learner is working on this run") from error
    except OSError as error:
        raise ConfigurationError(f"{run_dir}: cannot be used as run_dir: {error}") from error
