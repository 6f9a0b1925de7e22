"""The durable store of a run: one SQLite database in write-ahead-log mode.

A process that is killed loses only what it had not committed, and never damages the file. A
transition that is added twice is stored once, so that a sender may repeat itself. What cannot be
written, because the disk is full or read-only, may be added again; what is stored stays as it is.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Literal

import numpy as np

from mbrl_node.data.records import Records, record_type, with_room
from mbrl_node.data.schema import (
    INSERT_VERSION,
    SCHEMA_VERSION,
    create,
    insert,
    layout,
    metrics_json,
    migrate,
    runs_of,
    widen,
)
from mbrl_node.data.sequences import Sequences
from mbrl_node.spec.robot import RobotSpec, target_names
from mbrl_node.spec.system import System

_CHUNK = 1000  # rows read at once: they stay in the cache


class StoreError(Exception):
    """The database cannot be used; the message names the file and says why."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the model that there was, whether it is kept as a file or not."""

    number: int
    parent: int  # the version it was trained from; 0: none
    created: int  # ns since the epoch; 0: not known
    transitions: int  # it was trained on
    state: Literal["accepted", "refused", "rolled back"]
    reason: str  # why it was refused or rolled back, or how it came to be
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the history of a run must tell; the fields are those of mbrl_msgs/Event."""

    session: int
    sequence: int
    stamp: int  # ns since the epoch
    robot_time: float  # s since the first command; NaN: there was none
    kind: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Episode:
    """What is stored of an episode."""

    session: int
    episode: int
    stamp: int  # robot time in ns at which it began
    end_stamp: int
    steps: int
    total: float  # sum of the rewards
    end: Literal["", "terminated", "truncated"]  # empty: it goes on, or was cut off


@dataclass(frozen=True, slots=True)
class SessionTask:
    """What the robot was to do in a session."""

    task: str = ""  # its name; empty: there is none, or it is not known
    targets: tuple[str, ...] = ()  # their names, in the order of a transition's targets

    @classmethod
    def of(cls, system: System | None) -> SessionTask:
        """The task of a robot's file."""
        return cls(system.task, target_names(system)) if isinstance(system, RobotSpec) else cls()


class RunStore:
    """All that is kept of one run of one robot, but for the files of its models.

    May be used from several threads. Only one process may write; others may read beside it.

    Args:
        path: of the database; made where there is none.
        system: the robot, with the task of the sessions to come; a database of another robot is
            refused. None: whichever it is of.
        read_only: changes nothing on disk; one of an earlier version is converted in memory.

    Attributes:
        target_dim: for how many targets the records have room: as many as any task of the run has.

    Raises:
        StoreError: not a database, of another robot, or of a newer version of this program.
    """

    def __init__(self, path: Path, system: System | None = None, read_only: bool = False) -> None:
        self.path, self._lock = path, threading.Lock()
        try:
            if system is None and not path.exists():
                raise StoreError(f"{path}: there is no such database")
            self._db = _opened(path, system, read_only)
            facts = self._db.execute(
                "SELECT robot, spec_hash, state_dim, action_dim, target_dim, record FROM run"
            ).fetchone()
            self._sessions = {} if read_only else self._load()
            self._tasks = {} if read_only else self._load_tasks()
        except (OSError, sqlite3.Error, ValueError) as error:
            raise StoreError(f"{path}: cannot be used as the store of a run: {error}") from error
        self.robot: str = facts[0]
        self.spec_hash, self.state_dim, self.action_dim, self.target_dim = map(int, facts[1:5])
        self._read_only, self._task = read_only, SessionTask.of(system)
        if facts[5] != layout(self.state_dim, self.action_dim, self.target_dim):
            raise StoreError(f"{path}: its records have a layout that is not known here")

    def add(self, records: Records, tasks: Mapping[int, SessionTask] | None = None) -> Records:
        """Commits records [N] in one write; gives those that were new, in their order.

        Args:
            records: with any number of targets.
            tasks: of new sessions that had another task than this store was opened with.

        Raises:
            StoreError: the disk is full or cannot be written; nothing of the batch is stored, and
                it may be added again.
            ValueError: they are of a robot of another size.
        """
        targets = _target_dim(records)
        if records.dtype != (expected := record_type(self.state_dim, self.action_dim, targets)):
            raise ValueError(f"records are {records.dtype}, not {expected}")
        with self._lock:
            sessions, new = self._sessions, np.zeros(len(records), bool)
            sequence = records["sequence"].astype(np.int64)
            for session in map(int, np.unique(records["session"])):
                there = sessions.get(session, Sequences.of())
                mine = np.flatnonzero(records["session"] == session)
                mine = mine[~there.contain(sequence[mine])]
                numbers, first = np.unique(sequence[mine], return_index=True)
                new[mine[first]] = True
                sessions = sessions | {session: there.extended(numbers)}
            result: Records = records[new]
            if len(result):
                room = max(targets, self.target_dim)
                began = self._began(result, tasks or {})
                with self._written("transitions"):
                    if room > self.target_dim:
                        widen(self._db, room)
                    insert(self._db, with_room(result, room))
                    now = time.time_ns()
                    self._db.executemany(
                        "INSERT OR IGNORE INTO session_task VALUES (?, ?, ?, ?)",
                        [(k, it.task, json.dumps(it.targets), now) for k, it in began.items()],
                    )
                self._sessions, self._tasks = sessions, self._tasks | began
                self.target_dim = room
            return result

    def _began(self, records: Records, tasks: Mapping[int, SessionTask]) -> dict[int, SessionTask]:
        """The sessions of records of which there was nothing before."""
        sessions = [k for k in map(int, np.unique(records["session"])) if k not in self._tasks]
        return {session: tasks.get(session, self._task) for session in sessions}

    @property
    def tasks(self) -> Mapping[int, SessionTask]:
        """What the robot was to do, by session, in the order in which they began to be stored."""
        if not self._read_only:
            return self._tasks
        with self._reading():
            return self._load_tasks()

    def stored(self, session: int) -> int:
        """The sequence number below which all are stored or were skipped."""
        with self._reading():
            return self._known().get(session, Sequences.of()).complete

    def skip(self, session: int, oldest: int) -> int:
        """Takes what is missing below a sequence number as lost; how many more those are.

        Raises:
            StoreError: it cannot be written; all is as before.
        """
        with self._lock:
            before = self._sessions.get(session, Sequences.of())
            if oldest <= before.complete:
                return 0
            with self._written("what was lost"):
                self._db.execute("INSERT OR REPLACE INTO skipped VALUES (?, ?)", (session, oldest))
            after = replace(before, skipped=oldest)
            self._sessions = self._sessions | {session: after}
            return after.lost - before.lost

    @property
    def lost(self) -> int:
        """Transitions that never came, of all sessions."""
        with self._reading():
            return sum(sequences.lost for sequences in self._known().values())

    def __len__(self) -> int:
        """Transitions."""
        with self._reading():
            return int(self._db.execute("SELECT total(steps) FROM episode").fetchone()[0])

    def records(self) -> Records:
        """All transitions, session by session in sequence, [N]."""
        with self._reading(), transaction(self._db, "BEGIN"):
            # Where this only reads, a learner of another task may have made room meanwhile.
            self.target_dim = self._db.execute("SELECT target_dim FROM run").fetchone()[0]
            count = self._db.execute("SELECT count(*) FROM transition_").fetchone()[0]
            result = np.empty(count, record_type(self.state_dim, self.action_dim, self.target_dim))
            place, at = memoryview(result).cast("B"), 0  # type: ignore[arg-type]
            rows = self._db.execute("SELECT record FROM transition_ ORDER BY session, sequence")
            while chunk := rows.fetchmany(_CHUNK):
                joined = b"".join(map(itemgetter(0), chunk))
                place[at : at + len(joined)] = joined
                at += len(joined)
            if at != result.nbytes:
                raise ValueError("a record is not whole")
        return result

    def episodes(self) -> list[Episode]:
        """All episodes, session by session."""
        with self._reading():
            rows = self._db.execute("SELECT * FROM episode ORDER BY session, episode").fetchall()
        return [Episode(*(*row[:5], _number(row[5]), row[6])) for row in rows]

    def add_version(self, version: Version) -> None:
        """Keeps what is known of a version, instead of what was before.

        Raises:
            StoreError: it cannot be written.
        """
        *facts, metrics = astuple(version)
        with self._lock, self._written("the model's versions"):
            self._db.execute(INSERT_VERSION, (*facts, metrics_json(metrics)))

    def versions(self) -> list[Version]:
        """All versions, by number."""
        with self._reading():
            rows = self._db.execute("SELECT * FROM version ORDER BY number").fetchall()
        return [Version(*(*row[:6], _metrics(row[6]))) for row in rows]

    def add_events(self, events: Sequence[Event]) -> None:
        """Keeps events; those that are there already are left as they are.

        Raises:
            StoreError: they cannot be written; none is stored.
        """
        with self._lock, self._written("events"):
            self._db.executemany(
                "INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?, ?, ?)", map(astuple, events)
            )

    def events(self, kind: str | None = None) -> list[Event]:
        """All events, or those of one kind, session by session in sequence."""
        with self._reading():
            rows = self._db.execute(
                "SELECT * FROM event WHERE ?1 IS NULL OR kind = ?1 ORDER BY session, sequence",
                (kind,),
            ).fetchall()
        return [Event(*(*row[:3], _number(row[3]), *row[4:])) for row in rows]

    def close(self) -> None:
        """Ends the connection; everything added is on disk already."""
        with self._lock:
            self._db.close()

    def _load(self) -> dict[int, Sequences]:
        skipped = dict(self._db.execute("SELECT session, below FROM skipped").fetchall())
        runs = runs_of(self._db)
        return {
            session: Sequences.of(runs.get(session, ()), skipped.get(session, 0))
            for session in runs.keys() | skipped.keys()
        }

    def _load_tasks(self) -> dict[int, SessionTask]:
        rows = self._db.execute(
            "SELECT session, task, targets FROM session_task ORDER BY created, session"
        ).fetchall()
        return {
            session: SessionTask(task, tuple(json.loads(targets)))
            for session, task, targets in rows
        }

    def _known(self) -> dict[int, Sequences]:
        """What is stored; another process may be writing where this one only reads."""
        return self._load() if self._read_only else self._sessions

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except (sqlite3.Error, ValueError) as error:
                raise StoreError(f"{self.path}: cannot be read: {error}") from error

    @contextmanager
    def _written(self, what: str) -> Iterator[None]:
        """One transaction, of which all is on disk at the end or nothing."""
        try:
            with transaction(self._db):
                yield
        except (sqlite3.Error, OverflowError) as error:
            if isinstance(error, sqlite3.IntegrityError):  # somebody else wrote, too
                self._sessions, self._tasks = self._load(), self._load_tasks()
            raise StoreError(f"{self.path}: {what} cannot be written: {error}") from error


def _target_dim(records: Records) -> int:
    """For how many targets they have room; 0 for what is none of ours."""
    return records.dtype["targets"].shape[0] if "targets" in (records.dtype.names or ()) else 0


def _number(value: float | None) -> float:
    """SQLite and JSON keep NaN as null."""
    return math.nan if value is None else value


def _metrics(text: str) -> dict[str, float]:
    return {name: _number(value) for name, value in json.loads(text).items()}


@contextmanager
def transaction(db: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """Commits what is done within, or takes all of it back if anything is raised."""
    db.execute(begin)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # some errors end it by themselves
            db.execute("ROLLBACK")
        raise


def _opened(path: Path, system: System | None, read_only: bool) -> sqlite3.Connection:
    """A connection to a database of this schema and robot, with room for its targets; made, brought
    to this schema or widened where it is not."""
    if read_only:
        # Beside a database in WAL mode SQLite keeps files, even to read; without any log left over
        # it can do without them.
        log = path.with_name(f"{path.name}-wal")
        alone = not os.access(path.parent, os.W_OK) and not log.exists()
        mode = "immutable=1" if alone else "mode=ro"
        db = _connect(f"{path.absolute().as_uri()}?{mode}", uri=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = _connect(os.fspath(path))
    try:
        found = _check(db, path, system)
        if read_only and 0 < found < SCHEMA_VERSION:
            original, db = db, _connect("")
            original.backup(db)
            original.close()
        elif not read_only:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
        targets = 0 if read_only or system is None else len(target_names(system))
        if found != SCHEMA_VERSION or _room(db) < targets:
            dims = (0, 0) if read_only else None
            if system is not None:
                dims = system.state_dim, system.action_dim
            with transaction(db):
                found = _check(db, path, system)  # another process may have been faster
                if found == 0 and system is not None:
                    create(db, system)
                elif found != SCHEMA_VERSION:
                    migrate(db, found, path.with_name("updates.jsonl"), dims)
                if _room(db) < targets:
                    widen(db, targets)
        db.execute(f"PRAGMA query_only={int(read_only)}")
    except BaseException:
        db.close()
        raise
    return db


def _room(db: sqlite3.Connection) -> int:
    """For how many targets its records have room."""
    return int(db.execute("SELECT target_dim FROM run").fetchone()[0])


def _connect(database: str, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(database, isolation_level=None, check_same_thread=False, uri=uri)


def _check(db: sqlite3.Connection, path: Path, system: System | None) -> int:
    """The schema of a database, 0 where there is none yet.

    Raises:
        StoreError: it may not be used.
    """
    schema = int(db.execute("PRAGMA user_version").fetchone()[0])
    if schema > SCHEMA_VERSION:
        raise StoreError(f"{path}: was written by a newer version of mbrl (schema {schema})")
    if schema == 0:
        if system is None or db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise StoreError(f"{path}: is not the database of a run")
        return schema
    robot, spec_hash = db.execute("SELECT robot, spec_hash FROM run").fetchone()
    if system is not None and int(spec_hash) != system.hash:
        raise StoreError(
            f"{path}: holds transitions of another robot ('{robot}') or of another version of "
            f"'{system.name}'; choose another run_dir"
        )
    return schema
