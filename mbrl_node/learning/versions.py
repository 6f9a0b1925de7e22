"""The versions of a run's model: what was offered, refused and taken back, and their files.

`RUN/models` holds the versions that may be used, the newest of which is in use; its folder
`refused` those that were not good enough, or turned out so in use. The database has a row for each
that there ever was. A version never changes: one that comes back is a new one.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from mbrl_node.data import RunStore, Version
from mbrl_node.models import CheckpointError, WorldModel, save_checkpoint
from mbrl_node.models.checkpoint import (
    checkpoint_info,
    checkpoint_path,
    checkpoints,
    copy_checkpoint,
)

log = logging.getLogger(__name__)

KEPT = 20  # newest files in use
KEPT_REFUSED = 5
NOT_METRICS = ("version", "parent", "created", "transitions")


class VersionError(ValueError):
    """A version cannot be used; the message names it and says why."""


class Versions:
    """The model files of a run and their rows in its database; only one process may write them.

    Args:
        run_dir: the run's folder.
        store: its database.
    """

    def __init__(self, run_dir: Path, store: RunStore) -> None:
        self.folder, self.refused_folder = run_dir / "models", run_dir / "models" / "refused"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._store = store
        self._rows = {version.number: version for version in store.versions()}
        for path in checkpoints(self.folder):
            self._adopt(path)
        files = [*checkpoints(self.folder), *checkpoints(self.refused_folder)]
        known = [*self._rows, *(_number(path) for path in files)]
        self._next = max(known, default=0) + 1

    def _adopt(self, path: Path) -> None:
        """Gives a file its row: it was written by a process that was killed just then, or put
        there by somebody."""
        if _number(path) in self._rows:
            return
        try:
            info = checkpoint_info(path)
        except CheckpointError as error:
            log.warning("passed over: %s", error)
            return
        metrics = {
            key: float(value)
            for key, value in info.items()
            if isinstance(value, int | float) and key not in NOT_METRICS
        }
        parent, created, transitions = (int(str(info.get(key, 0))) for key in NOT_METRICS[1:])
        reason = str(info.get("reason", "found"))
        self._keep(
            Version(_number(path), parent, created, transitions, "accepted", reason, metrics)
        )

    def all(self) -> list[Version]:
        """Every version that there was, by number."""
        return [self._rows[number] for number in sorted(self._rows)]

    def write(
        self, model: WorldModel, parent: int, reason: str, refused: bool, facts: dict[str, Any]
    ) -> tuple[Version, Path]:
        """Writes a new version: first its file, then its row.

        Args:
            parent: the version it was trained from; 0: none.
            reason: how it came to be, or why it is refused.
            facts: `transitions` and metrics; kept in the file, too.

        Raises:
            OSError, StoreError: it could not be written.
        """
        number = self._next
        folder = self.refused_folder if refused else self.folder
        path = checkpoint_path(folder, number)
        path.parent.mkdir(exist_ok=True)
        version = Version(
            number,
            parent,
            time.time_ns(),
            int(facts["transitions"]),
            "refused" if refused else "accepted",
            reason,
            {key: float(value) for key, value in facts.items() if key != "transitions"},
        )
        save_checkpoint(model, path, self._info(version) | facts)
        self._keep(version)
        self._next = number + 1
        self._retain()
        return version, path

    def promote(self, number: int) -> tuple[Version, Path]:
        """Makes an older or refused version the newest one, under a new number.

        Raises:
            VersionError: its file is not there any more, or cannot be read.
        """
        source = next((path for path in self._places(number) if path.exists()), None)
        if source is None:
            kept = sorted(
                _number(path)
                for folder in (self.folder, self.refused_folder)
                for path in checkpoints(folder)
            )
            raise VersionError(
                f"version {number} has no file; kept are {', '.join(map(str, kept))}"
            )
        before = self._rows.get(number)
        version = Version(
            self._next,
            number,
            time.time_ns(),
            before.transitions if before else 0,
            "accepted",
            f"promoted from {number}",
            before.metrics if before else {},
        )
        path = checkpoint_path(self.folder, version.number)
        try:
            copy_checkpoint(source, path, self._info(version))
        except CheckpointError as error:
            raise VersionError(str(error)) from error
        self._keep(version)
        self._next += 1
        self._retain()
        return version, path

    def roll_back(self, to: int, reason: str) -> list[int]:
        """Takes back every version after one; gives their numbers."""
        taken = [n for n, v in sorted(self._rows.items()) if n > to and v.state == "accepted"]
        for number in taken:
            self._keep(replace(self._rows[number], state="rolled back", reason=reason))
            path = checkpoint_path(self.folder, number)
            if path.exists():
                self.refused_folder.mkdir(exist_ok=True)
                os.replace(path, checkpoint_path(self.refused_folder, number))
        self._retain()
        return taken

    def _places(self, number: int) -> list[Path]:
        return [checkpoint_path(f, number) for f in (self.folder, self.refused_folder)]

    def _info(self, version: Version) -> dict[str, Any]:
        return {
            "version": version.number,
            "parent": version.parent,
            "created": version.created,
            "reason": version.reason,
            "mbrl": version_of("mbrl-node"),
        }

    def _keep(self, version: Version) -> None:
        self._store.add_version(version)
        self._rows[version.number] = version

    def _retain(self) -> None:
        # Versions 1, 2, 4, 8, … stay: half of a run is then data that some kept model never saw,
        # and a diagnosis needs such data.
        milestones = {1 << k for k in range(self._next.bit_length())}
        for old in checkpoints(self.folder)[:-KEPT]:
            if _number(old) not in milestones:
                old.unlink(missing_ok=True)
        for old in checkpoints(self.refused_folder)[:-KEPT_REFUSED]:
            old.unlink(missing_ok=True)


def _number(path: Path) -> int:
    """The version that a file is of."""
    return int(path.stem[1:])
