"""New models on their way to the controllers that act by them, and back from one that is bad."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from mbrl_msgs.msg import ModelUpdate

from mbrl_node.control import Controller, PlanningController
from mbrl_node.control.line import CallError
from mbrl_node.control.loaded_models import LoadedModels
from mbrl_node.control.model_watch import ModelWatch, Rollback, RollbackError
from mbrl_node.control.planning_process import PlanningProcess
from mbrl_node.control.return_watch import Fall
from mbrl_node.models import CheckpointError, WorldModel, load_checkpoint, newest_checkpoint
from mbrl_node.planning import RolloutConfig
from mbrl_node.ros.controllers import Learned
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.spec import RobotSpec

log = logging.getLogger(__name__)

REMEMBERED = 64  # versions that may be gone back to


@dataclass(frozen=True)
class _Taken:
    held_out_error: float
    others: WorldModel | None  # with a policy or an inverse model; None: it has neither


class ModelIntake:
    """Hands the newest model out, for the next plan of each: to the planning process, and what it
    has for policy and tracking to the controllers here. Where a version turns out worse than the
    good one before it, all go back to that.

    Args:
        controllers: those there are now, by name.
        planning: None: plans are made here, in lock-step. Then `rollout.precision: auto` means
            fp32, as what is measured to be faster may differ from run to run.

    Attributes:
        rollbacks: how often it went back by itself.
        say: told of each rollback and of each model that cannot be used, see mbrl_msgs/Event.
    """

    def __init__(
        self,
        spec: RobotSpec,
        device: torch.device,
        controllers: Callable[[], dict[str, Controller]],
        planning: PlanningProcess | None,
    ) -> None:
        self._spec, self._controllers = spec, controllers
        self._models: PlanningProcess | LoadedModels
        if planning is not None:
            self._models = planning
            planning.on_rollback = self._went_back
        else:
            self._models = LoadedModels(spec, device, self._went_back)
        self.rollbacks = 0
        self.say: Callable[[str, str, str], None] = lambda kind, subject, text: None
        self._taken: dict[int, _Taken] = {}  # the newest last
        self._taken_at = math.nan
        self._handed_out: tuple[WorldModel, int] | None = None
        self._lock = threading.RLock()  # around what is handed out
        self._taking = threading.Lock()  # one model at a time

    # What there is: any thread.

    @property
    def version(self) -> int:
        """Of the model in use; 0: there is none."""
        return self._models.version

    @property
    def good_version(self) -> int:
        """That would be gone back to; 0: none has proved to be good yet."""
        return self._models.good_version

    @property
    def held_out_error(self) -> float:
        """Of the model in use, see mbrl_msgs/ModelUpdate."""
        taken = self._taken.get(self.version)
        return taken.held_out_error if taken else math.nan

    @property
    def prediction_error(self) -> float:
        """Of what was in use lately, see mbrl_msgs/ControllerStatus."""
        return self._models.prediction_error

    @property
    def watch(self) -> ModelWatch | None:
        """Of the models here, in lock-step; None: the planning process has them."""
        return self._models.watch if isinstance(self._models, LoadedModels) else None

    @property
    def age(self) -> float | None:
        """s since the model in use was taken up; None: there is none."""
        return time.monotonic() - self._taken_at if self.version else None

    # Forwards.

    def take_aside(self, msg: ModelUpdate) -> None:
        """As `take`, in a thread of its own: reading the file takes milliseconds, which callbacks
        must not wait."""
        threading.Thread(target=self.take, args=(msg,), name="model", daemon=True).start()

    def take(self, msg: ModelUpdate) -> None:
        """Uses a model from the next plan on, unless it cannot be used, there is a newer one, or it
        is one that was rolled back."""
        if not self._is_new(msg.version):
            return
        try:
            if msg.spec_hash != self._spec.hash:
                raise CheckpointError(f"{msg.path}: is of another robot than '{self._spec.name}'")
            self._take(Path(msg.path), msg.version, msg.held_out_error)
        except (CheckpointError, CallError) as error:
            self._refuse(msg.version, str(error))
        except Exception as error:  # the one in use goes on
            self._refuse(msg.version, f"{type(error).__name__}: {error}")

    def _refuse(self, version: int, reason: str) -> None:
        log.error("model %d refused: %s", version, reason)
        self.say("model", str(version), f"refused: {reason}")

    def _is_new(self, version: int) -> bool:
        return version > max(self._models.version, self._models.refused)

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
            if not self._is_new(version):
                return
            model: WorldModel | None
            if isinstance(self._models, LoadedModels):
                model = self._models.load(file, version)
            else:
                others = self._models.load(file, version)
                model = load_checkpoint(file, self._spec)[0] if others else None
            with self._lock:
                if version != self.version:
                    return  # it was rolled back at once
                useful = model is not None and (model.policy or model.inverse)
                self._taken[version] = _Taken(held_out_error, model if useful else None)
                for old in list(self._taken)[:-REMEMBERED]:
                    if old != self.good_version:
                        del self._taken[old]
                self._taken_at = time.monotonic()
                self._hand_out(version)

    def _hand_out(self, version: int) -> None:
        taken = self._taken.get(version)
        if taken is None or taken.others is None:
            return
        self._handed_out = (taken.others, version)
        for controller in self._controllers().values():
            self._give(controller)

    def _give(self, controller: Controller) -> None:
        wants = isinstance(controller, Learned) and not isinstance(controller, PlanningController)
        if self._handed_out is not None and wants:
            controller.set_model(*self._handed_out)  # type: ignore[attr-defined]

    def equip(self, controller: Controller) -> None:
        """Gives the model in use to a controller that came later."""
        with self._lock:
            self._give(controller)

    def set_rollout(self, config: RolloutConfig) -> None:
        """From the next plan on, models are rolled out in this way."""
        if isinstance(self._models, LoadedModels) and config.precision == "auto":
            config = config.model_copy(update={"precision": "fp32"})
        self._models.set_rollout(config)

    def prepare(self, config: RolloutConfig) -> Callable[[], None]:
        """What calls `set_rollout`."""
        return partial(self.set_rollout, config)

    # Back.

    def roll_back(self) -> str:
        """Goes back to the good version before the one in use, because an operator wants it; says
        what was done.

        Raises:
            RollbackError: there is none.
        """
        rollback = self._models.go_back("an operator wanted it")
        self._tell(rollback)
        return f"model {rollback.bad} rolled back to {rollback.good}"

    def blame(self, fall: Fall) -> None:
        """The reward has fallen: goes back to the version that held it, unless the one in use
        predicts better. Elsewhere than in lock-step the planning process is asked in a thread."""
        reason = (
            f"the reward of a step fell from {fall.before:.3g} to {fall.now:.3g} within "
            f"{fall.seconds:.1f} s"
        )

        def work() -> None:
            try:
                rollback = self._models.go_back(reason, fall.good, unless_better=True)
            except RollbackError as error:
                log.warning("%s; it is not gone back: %s", reason, error)
            else:
                self._went_back(rollback)

        if isinstance(self._models, LoadedModels):
            work()
        else:
            threading.Thread(target=work, name="roll-back", daemon=True).start()

    def _went_back(self, rollback: Rollback) -> None:
        """It has been gone back by itself. Also called in planning threads."""
        self.rollbacks += 1
        self._tell(rollback)

    def _tell(self, rollback: Rollback) -> None:
        try:
            with self._lock:
                self._taken_at = time.monotonic()
                if self.version == rollback.good:  # else a newer one came meanwhile
                    self._hand_out(rollback.good)
            log.warning(
                "model %d rolled back to %d: %s", rollback.bad, rollback.good, rollback.reason
            )
            self.say("rollback", f"{rollback.bad} {rollback.good}", rollback.reason)
        except Exception as error:  # a plan is being made, with the good model
            log.error("after the rollback of model %d: %s", rollback.bad, error)
