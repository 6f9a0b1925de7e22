"""New models on their way to the controllers that act by them."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mbrl_msgs.msg import ModelUpdate

from mbrl_node.control import Controller
from mbrl_node.control.line import CallError
from mbrl_node.control.planning_process import PlanningProcess
from mbrl_node.models import CheckpointError, WorldModel, load_checkpoint, newest_checkpoint
from mbrl_node.planning import Rollout, RolloutConfig
from mbrl_node.ros.controllers import Learned
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.task import Task

log = logging.getLogger(__name__)


class ModelIntake:
    """Hands the newest model out, for the next plan of each: to the planning process, and what it
    has for policy and tracking to the controllers here.

    Args:
        controllers: those there are now, by name.
        planning: None: plans are made here, in lock-step. Then `rollout.precision: auto` means
            fp32, as what is measured to be faster may differ from run to run.

    Attributes:
        config: how rollouts are made; changed by what `prepare` gives.
        version: of the model in use; 0: there is none.
        held_out_error: of the model in use, see mbrl_msgs/ModelUpdate.
    """

    def __init__(
        self,
        spec: RobotSpec,
        device: torch.device,
        controllers: Callable[[], dict[str, Controller]],
        planning: PlanningProcess | None,
    ) -> None:
        self._spec, self._device, self._controllers = spec, device, controllers
        self._planning = planning
        self.config = RolloutConfig()
        self.version, self.held_out_error = 0, math.nan
        self._taken_at = math.nan
        self._model: WorldModel | None = None
        self._handed_out: tuple[Rollout | WorldModel, int] | None = None
        self._lock = threading.Lock()  # around what is handed out
        self._taking = threading.Lock()  # one model at a time

    @property
    def age(self) -> float | None:
        """s since the model in use was taken up; None: there is none."""
        return time.monotonic() - self._taken_at if self.version else None

    def take_aside(self, msg: ModelUpdate) -> None:
        """As `take`, in a thread of its own: reading the file takes milliseconds, which callbacks
        must not wait."""
        threading.Thread(target=self.take, args=(msg,), name="model", daemon=True).start()

    def take(self, msg: ModelUpdate) -> None:
        """Uses a model from the next plan on, unless it cannot be used or there is a newer one."""
        if msg.version <= self.version:
            return
        try:
            if msg.spec_hash != self._spec.hash:
                raise CheckpointError(f"{msg.path}: is of another robot than '{self._spec.name}'")
            self._take(Path(msg.path), msg.version, msg.held_out_error)
        except (CheckpointError, CallError) as error:
            log.error("model %d refused: %s", msg.version, error)
        except Exception as error:  # the one in use goes on
            log.error("model %d refused: %s: %s", msg.version, type(error).__name__, error)

    def load_newest(self, run_dir: Path, needed: bool) -> None:
        """Uses the newest model of a run, if there is one that can be used.

        Raises:
            ConfigurationError: there is none, and one is needed.
        """
        newest = newest_checkpoint(run_dir / "models", self._spec)
        if newest is not None:
            file, _, info = newest
            self._take(file, int(info["version"]), float(info["held_out_error"]))  # type: ignore[call-overload,arg-type]
        elif needed:
            raise ConfigurationError(
                f"{run_dir}: has no model of '{self._spec.name}', and learn is false"
            )

    def _take(self, file: Path, version: int, held_out_error: float) -> None:
        with self._taking:
            if version <= self.version:
                return
            model: Rollout | WorldModel | None = None
            if self._planning is None:
                self._model, _ = load_checkpoint(file, self._spec)
                model = self._make_rollout(self._model, self.config)
            elif self._planning.load(file, version):
                model, _ = load_checkpoint(file, self._spec)
            self.version, self.held_out_error = version, held_out_error
            self._taken_at = time.monotonic()
            if model is not None:
                self._hand_out(model)

    def _make_rollout(self, model: WorldModel, config: RolloutConfig) -> Rollout:
        if config.precision == "auto":
            config = config.model_copy(update={"precision": "fp32"})
        return Rollout(model.to(self._device), Task.of(self._spec), config)

    def _hand_out(self, model: Rollout | WorldModel) -> None:
        with self._lock:
            self._handed_out = (model, self.version)
            for controller in self._controllers().values():
                if isinstance(controller, Learned):
                    controller.set_model(*self._handed_out)

    def equip(self, controller: Controller) -> None:
        """Gives the model in use to a controller that came later."""
        with self._lock:
            if self._handed_out is not None and isinstance(controller, Learned):
                controller.set_model(*self._handed_out)

    def prepare(self, config: RolloutConfig) -> Callable[[], None]:
        """What makes rollouts of the model in use, and of those to come, in another way."""

        def commit() -> None:
            self.config = config
            if self._planning is not None:
                self._planning.set_rollout(config)
            elif self._model is not None:
                self._hand_out(self._make_rollout(self._model, config))

        return commit
