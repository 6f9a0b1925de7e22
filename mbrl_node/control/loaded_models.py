"""Models as plans are made with them: loaded from files, rolled out as configured, watched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from mbrl_node.control.model_watch import ModelWatch, Rollback
from mbrl_node.models import WorldModel, load_checkpoint
from mbrl_node.planning import Rollout, RolloutConfig
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.task import Task


class LoadedModels:
    """The version in use, and good ones before it.

    Args:
        device: of torch.
        on_rollback: see `ModelWatch`.

    Attributes:
        watch: who knows which version is in use.
    """

    def __init__(
        self,
        spec: RobotSpec,
        device: torch.device,
        on_rollback: Callable[[Rollback], None],
    ) -> None:
        self._spec, self._device = spec, device
        self._config = RolloutConfig()
        self.watch = ModelWatch(spec.dt, on_rollback)

    @property
    def version(self) -> int:
        """In use; 0: none."""
        used = self.watch.used
        return used[1] if used else 0

    @property
    def refused(self) -> int:
        """Versions up to this one are not taken any more."""
        return self.watch.refused

    @property
    def good_version(self) -> int:
        """That would be gone back to; 0: none has proved to be good yet."""
        good = self.watch.good
        return good[1] if good else 0

    @property
    def prediction_error(self) -> float:
        """Of what was in use lately, see `ModelWatch`."""
        return self.watch.error

    def go_back(self, reason: str, to: int | None = None, unless_better: bool = False) -> Rollback:
        """See `ModelWatch.go_back`."""
        return self.watch.go_back(reason, to, unless_better)

    def load(self, file: Path, version: int, good: bool = False) -> WorldModel:
        """The next plan uses this model.

        Args:
            good: it is known to be.

        Raises:
            CheckpointError: the file cannot be used, and the model before stays.
            RollbackError: this version was rolled back.
        """
        world, info = load_checkpoint(file, self._spec)
        known = info.get("transitions")
        transitions = known if isinstance(known, int) else 0
        self.watch.use(world, self._rolled_out(world), version, transitions, good)
        return world

    def set_rollout(self, config: RolloutConfig) -> None:
        """The next plan rolls models out in this way."""
        self._config = config
        self.watch.remake(self._rolled_out)

    def _rolled_out(self, world: WorldModel) -> Rollout:
        return Rollout(world.to(self._device), Task.of(self._spec), self._config)
