"""Curves of a run for tensorboard, in its folder `tensorboard`."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, Self

from mbrl_node.learning import Update

log = logging.getLogger(__name__)


class Curves:
    """Writes event files; without the package for it there is a warning and no file.

    A run that goes on adds to what is there. To be used in a `with` statement.
    """

    def __init__(self, run_dir: Path) -> None:
        self._writer: Any = None
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            log.warning("no curves for tensorboard: `pip install tensorboardX` (extra `viz`)")
        else:
            self._writer = SummaryWriter(str(run_dir / "tensorboard"), flush_secs=10)

    def update(self, update: Update, steps: int) -> None:
        """A new version of the model after so many steps."""
        self._add(
            steps,
            {
                "model/held_out_error": update.held_out_error,
                "model/held_out_loss": update.held_out_loss,
                "time/train_steps_per_s": update.gradient_steps / update.train_time,
            },
        )

    def episode(self, total: float, plan_time: float, steps: int) -> None:
        """An episode's return, and what its plans took on average, s."""
        self._add(steps, {"episode/return": total, "time/plan_ms": 1e3 * plan_time})

    def _add(self, steps: int, values: dict[str, float]) -> None:
        if self._writer is not None:
            for name, value in values.items():
                if not math.isnan(value):  # as the first model's error is
                    self._writer.add_scalar(name, value, steps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
