"""A controller and a planner of the table of faults, that fail in the ways that they are told to.

Both do what the file says that the environment variable MBRL_FAULT names: one word; empty: all is
well. The controller then pushes to and fro with 1 N.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mbrl_node.control import Controller
from mbrl_node.planning import RandomShooting

FILE = "MBRL_FAULT"


def fault() -> str:
    """What is to go wrong now."""
    return Path(os.environ[FILE]).read_text().strip()


def cause(path: Path, what: str) -> None:
    """From now on this goes wrong in the processes that have been given this path."""
    part = path.with_suffix(".part")
    part.write_text(what)
    part.replace(path)


class FaultyController(Controller):
    """Fails as told."""

    def __init__(self, name: str, spec: object) -> None:
        super().__init__(name)
        self._ticks = 0

    def activate(self) -> None:
        if fault() == "activate raises":
            raise RuntimeError("the gripper does not answer")
        if fault() == "activate hangs":
            time.sleep(3.0)

    def update(self, observation: object, last_action: object) -> Any:
        self._ticks += 1
        push = np.array([1.0 if self._ticks % 20 < 10 else -1.0])
        what = fault()
        if what == "raises":
            raise RuntimeError("index 7 is out of range")
        if what == "hangs":
            time.sleep(0.6)  # fifteen control periods
        if what == "slow":
            time.sleep(0.06)
        wrong: dict[str, Any] = {
            "NaN": np.array([math.nan]),
            "inf": [math.inf],
            "huge": np.array([1e308]),
            "two values": np.zeros(2),
            "nothing": None,
            "text": "full speed",
        }
        return wrong.get(what, push)


class FaultyPlanner(RandomShooting):
    """Fails as told."""

    def plan(self, *arguments: Any, **settings: Any) -> torch.Tensor:
        plan = super().plan(*arguments, **settings)
        what = fault()
        if what == "plan raises":
            raise RuntimeError("the cost matrix is singular")
        if what == "plan slow":
            time.sleep(0.4)  # ten control periods
        if what == "plan NaN":
            plan = torch.full_like(plan, math.nan)
        if what == "plan short":
            plan = plan[:, :0]
        return plan
