"""The tables of a run's database, and how one of an earlier version is brought to this one."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Iterable
from importlib.metadata import version as version_of
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from mbrl_node.data.records import Records, record_type
from mbrl_node.spec.robot import target_names
from mbrl_node.spec.system import System

log = logging.getLogger(__name__)

SCHEMA_VERSION = 3
# record: the layout of transition_.record, as JSON: (name, NumPy's type, shape) of each field.
_RUN = """CREATE TABLE run (
    robot TEXT NOT NULL, spec_hash INTEGER NOT NULL,
    state_dim INTEGER NOT NULL, action_dim INTEGER NOT NULL, target_dim INTEGER NOT NULL,
    record TEXT NOT NULL, mbrl TEXT NOT NULL, created INTEGER NOT NULL
)"""
# task: empty where it is not known; targets: their names, as JSON; created: with its first row.
_SESSION_TASK = """CREATE TABLE session_task (
    session INTEGER PRIMARY KEY, task TEXT NOT NULL, targets TEXT NOT NULL,
    created INTEGER NOT NULL
)"""
TABLES = (
    _RUN,
    _SESSION_TASK,
    """CREATE TABLE transition_ (
    session INTEGER NOT NULL, sequence INTEGER NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (session, sequence)
) WITHOUT ROWID""",
    # What is missing of a session below a sequence number will not come any more.
    "CREATE TABLE skipped (session INTEGER PRIMARY KEY, below INTEGER NOT NULL)",
    """CREATE TABLE episode (
    session INTEGER NOT NULL, episode INTEGER NOT NULL,
    stamp INTEGER NOT NULL, end_stamp INTEGER NOT NULL,
    steps INTEGER NOT NULL, total REAL, end TEXT NOT NULL,
    PRIMARY KEY (session, episode)
) WITHOUT ROWID""",
    """CREATE TABLE version (
    number INTEGER PRIMARY KEY, parent INTEGER NOT NULL, created INTEGER NOT NULL,
    transitions INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, metrics TEXT NOT NULL
)""",
    """CREATE TABLE event (
    session INTEGER NOT NULL, sequence INTEGER NOT NULL, stamp INTEGER NOT NULL, robot_time REAL,
    kind TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (session, sequence)
) WITHOUT ROWID""",
    """CREATE VIEW controller_switch AS
    SELECT session, sequence, stamp, robot_time, subject AS controller, text AS reason
    FROM event WHERE kind = 'switch'""",
)
_CHUNK = 10_000


def create(db: sqlite3.Connection, system: System) -> None:
    """Makes the tables; within a transaction of the caller's."""
    dims = system.state_dim, system.action_dim, len(target_names(system))
    _create(db, system.name, system.hash, *dims)


def _create(db: sqlite3.Connection, robot: str, spec_hash: int, *dims: int) -> None:
    for table in TABLES:
        db.execute(table)
    facts = (robot, spec_hash, *dims, layout(*dims), version_of("mbrl-node"), time.time_ns())
    db.execute(_INSERT_RUN, facts)
    db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


_INSERT_RUN = "INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def layout(state_dim: int, action_dim: int, target_dim: int) -> str:
    """`record_type` as the database says it."""
    return json.dumps(record_type(state_dim, action_dim, target_dim).descr)


def widen(db: sqlite3.Connection, target_dim: int) -> None:
    """Makes room for so many targets in every record, more than there were; within a transaction of
    the caller's."""
    n, m, before = db.execute("SELECT state_dim, action_dim, target_dim FROM run").fetchone()
    room = np.full(target_dim - before, nan, "<f8").tobytes()
    db.create_function("widened", 1, lambda record: record + room, deterministic=True)
    changed = db.execute("UPDATE transition_ SET record = widened(record)").rowcount
    facts = target_dim, layout(n, m, target_dim)
    db.execute("UPDATE run SET target_dim = ?, record = ?", facts)
    log.info("%d transitions have room for %d targets, not %d", changed, target_dim, before)


def insert(db: sqlite3.Connection, records: Records) -> None:
    """Adds records that are not there yet, and what they say of their episodes; within a
    transaction of the caller's."""
    records = np.ascontiguousarray(records)
    rows = zip(
        records["session"].tolist(),
        records["sequence"].tolist(),
        records.view(f"V{records.dtype.itemsize}").tolist(),
        strict=True,
    )
    db.executemany("INSERT INTO transition_ VALUES (?, ?, ?)", rows)
    db.executemany(
        """INSERT INTO episode VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
        stamp = min(stamp, excluded.stamp), end_stamp = max(end_stamp, excluded.end_stamp),
        steps = steps + excluded.steps, total = total + excluded.total,
        end = CASE end WHEN '' THEN excluded.end ELSE end END""",
        _episodes(records),
    )


def _episodes(records: Records) -> Iterable[tuple[Any, ...]]:
    """What records add to their rows of the episode table."""
    session, episode = records["session"], records["episode"]
    changes = (session[1:] != session[:-1]) | (episode[1:] != episode[:-1])
    for part in np.split(records, np.flatnonzero(changes) + 1):
        terminated, truncated = part["terminated"].any(), part["truncated"].any()
        yield (
            int(part["session"][0]),
            int(part["episode"][0]),
            int(part["stamp"].min()),
            int(part["next_stamp"].max()),
            len(part),
            float(part["reward"].sum()),
            "terminated" if terminated else "truncated" if truncated else "",
        )


def migrate(
    db: sqlite3.Connection, schema: int, updates: Path, dims: tuple[int, int] | None
) -> None:
    """Brings a database of an earlier schema to this one; within a transaction of the caller's.

    Args:
        updates: the file beside one of schema 1 that had a line for each version of the model.
        dims: n and m, which an empty database of schema 1 does not tell.

    Raises:
        ValueError: its rows are damaged, or it is empty and `dims` are not given.
    """
    if schema == 1:
        _migrate_1(db, updates, dims)
    else:
        _migrate_2(db)
    # Before there were targets there was one task for each robot; which, is not known any more.
    db.execute("INSERT INTO session_task SELECT DISTINCT session, '', '[]', 0 FROM episode")
    count = db.execute("SELECT total(steps) FROM episode").fetchone()[0]
    log.info("%d transitions brought from schema %d to %d", count, schema, SCHEMA_VERSION)


def _migrate_2(db: sqlite3.Connection) -> None:
    """Schema 2 had no targets: its records are those of schema 3 for a task that has none."""
    db.execute("ALTER TABLE run RENAME TO run_2")
    robot, spec_hash, n, m, record, mbrl, created = db.execute("SELECT * FROM run_2").fetchone()
    if json.loads(record) != json.loads(layout(n, m, 0))[:-1]:
        raise ValueError("its records have a layout that is not known here")
    db.execute(_RUN)
    db.execute(_SESSION_TASK)
    db.execute(_INSERT_RUN, (robot, spec_hash, n, m, 0, layout(n, m, 0), mbrl, created))
    db.execute("DROP TABLE run_2")
    db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _migrate_1(db: sqlite3.Connection, updates: Path, dims: tuple[int, int] | None) -> None:
    """Schema 1 had a column for each field of a transition."""
    robot, spec_hash = db.execute("SELECT robot, spec_hash FROM run").fetchone()
    first = db.execute("SELECT length(state), length(action) FROM transition_ LIMIT 1").fetchone()
    if first is not None:
        dims = first[0] // 8, first[1] // 8
    if dims is None:
        raise ValueError(f"it is empty and of an earlier version of mbrl: name its robot, {robot}")
    n, m = dims
    db.execute("ALTER TABLE run RENAME TO run_1")
    db.execute("ALTER TABLE transition_ RENAME TO transition_1")
    _create(db, robot, int(spec_hash), n, m, 0)
    rows = db.execute("SELECT * FROM transition_1 ORDER BY session, sequence")
    while chunk := rows.fetchmany(_CHUNK):
        insert(db, _records_1(chunk, n, m))
    # What a learner of then had not received when the next session began never came.
    db.execute("INSERT INTO skipped SELECT session, max(sequence) + 1 FROM transition_ GROUP BY 1")
    db.executemany(INSERT_VERSION, _versions_1(updates))
    db.execute("DROP TABLE transition_1")
    db.execute("DROP TABLE run_1")


INSERT_VERSION = "INSERT OR REPLACE INTO version VALUES (?, ?, ?, ?, ?, ?, ?)"


def _records_1(rows: list[tuple[Any, ...]], n: int, m: int) -> Records:
    """Rows of schema 1 as records: its columns are the fields of a record, in order."""
    result = np.zeros(len(rows), record_type(n, m))
    *names, _ = result.dtype.names or ()  # it knew no targets
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        if isinstance(column[0], bytes):
            result[name] = np.frombuffer(b"".join(column)).reshape(len(rows), -1)
        elif name == "reward":  # SQLite keeps NaN as NULL
            result[name] = [nan if value is None else value for value in column]
        elif name == "controller":
            result[name] = [value.encode() for value in column]
        else:
            result[name] = column
    return result


def _versions_1(path: Path) -> Iterable[tuple[Any, ...]]:
    """Rows of the version table from the lines of `updates.jsonl`."""
    text = path.read_text(errors="replace") if path.exists() else ""
    for at, line in enumerate(text.splitlines(), 1):
        try:
            record = json.loads(line)
            number, transitions = int(record.pop("version")), int(record.pop("transitions"))
            metrics = metrics_json({key: float(value) for key, value in record.items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            # A process that is killed while it writes leaves a torn line.
            log.warning("passed over: %s: line %d is not a whole record", path, at)
            continue
        yield number, number - 1, 0, transitions, "accepted", "", metrics


def metrics_json(metrics: dict[str, float]) -> str:
    """Numbers by name as JSON, which knows no numbers that are not finite."""
    return json.dumps({k: v if np.isfinite(v) else None for k, v in metrics.items()})


def runs_of(db: sqlite3.Connection) -> dict[int, list[tuple[int, int]]]:
    """The sequence numbers of each session as runs (first, end)."""
    whole = """SELECT session, min(sequence), max(sequence) + 1, count(*) FROM transition_
        GROUP BY session"""
    parts = """SELECT min(sequence), max(sequence) + 1 FROM (
        SELECT sequence, sequence - row_number() OVER (ORDER BY sequence) AS run
        FROM transition_ WHERE session = ?) GROUP BY run"""
    result = {}
    for session, first, end, count in db.execute(whole).fetchall():
        gapless = end - first == count
        result[session] = [(first, end)] if gapless else db.execute(parts, (session,)).fetchall()
    return result
