"""Curves for tensorboard, in a run's folder `tensorboard`."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class Scalars:
    """Adds an event file to RUN/tensorboard; without the package for it there is a warning and no
    file.

    Written in the thread that calls: the writer's own thread would end with the first error, and
    whoever adds to it then waits for ever.
    """

    def __init__(self, run_dir: Path) -> None:
        self._writer: Any = None
        self._folder, self._told = run_dir / "tensorboard", False
        try:
            import tensorboardX.event_file_writer
            import tensorboardX.proto.event_pb2
            import tensorboardX.summary
        except ImportError:
            log.warning("no curves for tensorboard: `pip install tensorboardX` (extra `viz`)")
            self._package: Any = None
        else:
            self._package = tensorboardX

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each curve; none where the value is NaN. What cannot be written is left
        out and said once."""
        if self._package is None:
            return
        try:
            self._add(step, values)
        except OSError as error:
            if not self._told:
                log.warning("%s: no curves for tensorboard: %s", self._folder, error)
            self._told = True

    def _add(self, step: int, values: Mapping[str, float]) -> None:
        package, now = self._package, time.time()
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            prefix, suffix = str(self._folder / "events"), f".{os.getpid()}"
            self._writer = package.event_file_writer.EventsWriter(prefix, suffix)
        for name, value in values.items():
            if not math.isnan(value):
                summary = package.summary.scalar(name, value)
                event = package.proto.event_pb2.Event(wall_time=now, step=step, summary=summary)
                self._writer.write_event(event)
        self._writer.flush()

    def close(self) -> None:
        """Ends writing."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
            self._writer = None
