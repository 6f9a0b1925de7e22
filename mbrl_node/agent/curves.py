"""Curves of `train` for tensorboard, and how long its plans take."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from mbrl_node.data import Scalars, Second, TimingLog
from mbrl_node.learning import Update


class Curves:
    """Points against steps of the environment; those of a run that goes on are added to what there
    is. To be used in a `with` statement.

    Args:
        dt: s of a step.
    """

    def __init__(self, run_dir: Path, dt: float) -> None:
        self._scalars, self._timing, self._dt = Scalars(run_dir), TimingLog(run_dir), dt

    def update(self, update: Update, steps: int) -> None:
        """A new version of the model after so many steps."""
        values = {
            "model/held_out_error": update.held_out_error,  # NaN of the first
            "model/held_out_loss": update.held_out_loss,
            "time/train_steps_per_s": update.gradient_steps / update.train_time,
        }
        self._scalars.add(steps, values)

    def episode(self, total: float, plan_time: float, steps: int) -> None:
        """An episode's return, and what its plans took on average, s."""
        self._scalars.add(steps, {"episode/return": total, "time/plan_ms": 1e3 * plan_time})
        self._timing.write(Second(steps * self._dt, plan_time=plan_time))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._scalars.close()
        self._timing.close()
