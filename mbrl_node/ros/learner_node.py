"""The learner node: keeps transitions and offers new models, in a process that yields to all
others."""

from __future__ import annotations

import os
import queue
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch
from mbrl_msgs.msg import ModelUpdate, Transition
from mbrl_msgs.srv import Learn
from rclpy.node import Node

from mbrl_node import data
from mbrl_node.data import StoreError
from mbrl_node.learning import Learner, LearnerConfig, TrainerConfig, lock_run
from mbrl_node.models import InverseConfig, ModelConfig, PolicyConfig
from mbrl_node.ros.convert import transition_from_msg, update_to_msg
from mbrl_node.ros.device import torch_device
from mbrl_node.ros.lockstep import LockStepService, StepError
from mbrl_node.ros.logs import forward_logs
from mbrl_node.ros.parameters import declare, declare_config, declare_robot
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.ros.qos import LATEST, TRANSITIONS
from mbrl_node.spec.task import Task

ARRIVAL = 10.0  # s that a lesson waits for the transitions it is about


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
        run_dir = declare(self, "run_dir", "", "the run's folder: transitions and models")
        if not run_dir:
            raise ConfigurationError("mbrl_learner: parameter run_dir: must be given")
        seed = declare(self, "seed", 0, "of the first weights and of the batches")
        device = torch_device(declare(self, "device", "cpu", "where it trains: cpu or cuda"))
        self._sync = declare(self, "sync", False, "learn only when ~/learn asks for it")
        self._config = declare_config(self, "learner", LearnerConfig)
        trainer = declare_config(self, "trainer", TrainerConfig)
        model = declare_config(self, "model", ModelConfig)
        policy = declare_config(self, "policy", PolicyConfig)
        inverse = declare_config(self, "inverse", InverseConfig)
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
        )
        self._received: queue.SimpleQueue[data.Transition] = queue.SimpleQueue()
        self._unstored: list[data.Transition] = []
        self._models = self.create_publisher(ModelUpdate, "~/model", LATEST)
        if self._learner.latest is not None:
            self._offer()
        stored = len(self._learner.buffer)
        version = self._learner.latest.version if self._learner.latest else 0
        self.get_logger().info(f"run {run_dir}: {stored} transitions, model {version}")
        self.create_subscription(
            Transition, "mbrl_controller/transitions", self._on_transition, TRANSITIONS
        )

    def _on_transition(self, msg: Transition) -> None:
        try:
            self._received.put(transition_from_msg(msg, self._spec))
        except ValueError as error:
            self.get_logger().warning(f"transition {msg.sequence} refused: {error}")

    def run(self, stop: threading.Event) -> None:
        """Stores what comes, while another thread trains, until told to stop."""
        if self._sync:
            self._run_in_step(stop)
            return
        training = threading.Thread(target=self._train, args=(stop,), name="train", daemon=True)
        training.start()
        while not stop.wait(0.05):
            self._store()
        training.join(1.0)
        self._store()

    def _train(self, stop: threading.Event) -> None:
        """Retrains whenever there is something new. Only this thread yields to everyone else, so
        that storing and stopping stay prompt."""
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # 0: this thread
        next_update = 0.0
        while not stop.is_set():
            now = time.monotonic()
            if not self._learner.due or now < next_update:
                stop.wait(0.02)
                continue
            next_update = now + self._config.period
            self._update(stop)

    def _update(self, stop: threading.Event) -> None:
        try:
            if self._learner.update(stop.is_set):
                self._offer()
        except Exception as error:  # the next update may work; without it learning would end
            self.get_logger().error(
                f"update given up: {type(error).__name__}: {error}", throttle_duration_sec=5.0
            )

    def _run_in_step(self, stop: threading.Event) -> None:
        service = LockStepService(self, Learn, "~/learn", partial(self._on_learn, stop))
        while not stop.is_set():
            service.serve(timeout=0.05)
            self._store()

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
            try:
                self._unstored.append(self._received.get(timeout=0.1))
            except queue.Empty:
                continue
            self._store()
        if self._learner.due:
            self._update(stop)
        if self._learner.latest is not None:
            response.update = update_to_msg(self._learner.latest, self._spec, time.time_ns())
        response.success = True

    def _store(self) -> None:
        while not self._received.empty():
            self._unstored.append(self._received.get())
        if not self._unstored:
            return
        try:
            n, m = self._spec.state_dim, self._spec.action_dim
            self._learner.add(data.records_of(self._unstored, n, m))
            self._unstored = []
        except StoreError as error:  # kept and tried again; nothing stored is harmed
            self.get_logger().error(str(error), throttle_duration_sec=5.0)

    def _offer(self) -> None:
        if self._learner.latest is not None:
            self._models.publish(update_to_msg(self._learner.latest, self._spec, time.time_ns()))

    def close(self) -> None:
        """Closes the store."""
        self._learner.store.close()
        self._end_logs()


def _lock(run_dir: Path) -> TextIO:
    try:
        return lock_run(run_dir)
    except BlockingIOError as error:
        raise ConfigurationError(f"{run_dir}: another learner is working on this run") from error
    except OSError as error:
        raise ConfigurationError(f"{run_dir}: cannot be used as run_dir: {error}") from error
