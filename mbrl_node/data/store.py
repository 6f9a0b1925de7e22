"""The durable store of a run: one SQLite database in write-ahead-log mode.

A process that is killed loses only what it had not committed, and never damages the file. A
transition that is added twice is stored once, so that a sender may repeat itself.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mbrl_node.data.transition import Transition
from mbrl_node.spec.system import System

SCHEMA_VERSION = 1
_TABLES = (
    "CREATE TABLE run (robot TEXT NOT NULL, spec_hash TEXT NOT NULL)",
    """CREATE TABLE transition_ (
    session INTEGER NOT NULL, sequence INTEGER NOT NULL,
    episode INTEGER NOT NULL, step INTEGER NOT NULL,
    stamp INTEGER NOT NULL, next_stamp INTEGER NOT NULL,
    state BLOB NOT NULL, action BLOB NOT NULL, action_requested BLOB NOT NULL,
    next_state BLOB NOT NULL,
    reward REAL, terminated INTEGER NOT NULL, truncated INTEGER NOT NULL,
    controller TEXT NOT NULL, model_version INTEGER NOT NULL,
    PRIMARY KEY (session, sequence)
) WITHOUT ROWID""",
)
_COLUMNS = 15


class StoreError(Exception):
    """The database cannot be used; the message names the file and says why."""


class TransitionStore:
    """The transitions of one run of one robot.

    Args:
        path: of the database; made where there is none.
        spec: the robot; a database of another robot is refused.

    Raises:
        StoreError: not a database, of another robot, or of a newer version of this program.
    """

    def __init__(self, path: Path, spec: System) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._create(spec)
            elif version > SCHEMA_VERSION:
                raise StoreError(
                    f"{path}: was written by a newer version of mbrl (schema {version})"
                )
            robot, spec_hash = self._db.execute("SELECT robot, spec_hash FROM run").fetchone()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path}: cannot be used as a transition store: {error}") from error
        if spec_hash != str(spec.hash):
            raise StoreError(
                f"{path}: holds transitions of another robot ('{robot}') or of another version of "
                f"'{spec.name}'; choose another run_dir"
            )

    def _create(self, spec: System) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        for table in _TABLES:
            self._db.execute(table)
        self._db.execute("INSERT INTO run VALUES (?, ?)", (spec.name, str(spec.hash)))
        self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        self._db.execute("COMMIT")

    def add(self, transitions: list[Transition]) -> None:
        """Commits the transitions in one write; those already stored are left as they are.

        Raises:
            StoreError: the disk is full or cannot be written; nothing of the batch is stored.
        """
        marks = ", ".join("?" * _COLUMNS)
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany(
                    f"INSERT OR IGNORE INTO transition_ VALUES ({marks})", map(_row, transitions)
                )
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: transitions cannot be written: {error}") from error

    def __len__(self) -> int:
        return int(self._db.execute("SELECT COUNT(*) FROM transition_").fetchone()[0])

    def __iter__(self) -> Iterator[Transition]:
        """All transitions, session by session in sequence."""
        for row in self._db.execute("SELECT * FROM transition_ ORDER BY session, sequence"):
            values = list(row)
            values[6:10] = (np.frombuffer(blob, np.float64) for blob in row[6:10])
            values[10] = math.nan if row[10] is None else row[10]  # SQLite keeps NaN as NULL
            values[11:13] = map(bool, row[11:13])
            yield Transition(*values)

    def sequences(self) -> dict[int, list[int]]:
        """The sequence numbers of each session, in order."""
        result: dict[int, list[int]] = {}
        query = "SELECT session, sequence FROM transition_ ORDER BY session, sequence"
        for session, sequence in self._db.execute(query):
            result.setdefault(session, []).append(sequence)
        return result

    def close(self) -> None:
        """Ends the connection; everything added is on disk already."""
        self._db.close()


def _row(t: Transition) -> tuple[object, ...]:
    return (
        t.session,
        t.sequence,
        t.episode,
        t.step,
        t.stamp,
        t.next_stamp,
        t.state.tobytes(),
        t.action.tobytes(),
        t.action_requested.tobytes(),
        t.next_state.tobytes(),
        t.reward,
        t.terminated,
        t.truncated,
        t.controller,
        t.model_version,
    )
