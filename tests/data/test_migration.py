"""Runs of earlier versions: brought to this one in place, or read without being changed."""

import json
import logging
import math
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mbrl_node.data import (
    Episode,
    RunStore,
    SessionTask,
    StoreError,
    Transition,
    records_of,
    transitions_of,
)
from tests.data.tasks import REACH, SPEC

SCHEMA_1 = (
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
# Of schema 2, where it is not that of now.
RUN_2 = """CREATE TABLE run (
    robot TEXT NOT NULL, spec_hash INTEGER NOT NULL,
    state_dim INTEGER NOT NULL, action_dim INTEGER NOT NULL,
    record TEXT NOT NULL, mbrl TEXT NOT NULL, created INTEGER NOT NULL
)"""
LAYOUT_2 = """[["session", "<u8"], ["sequence", "<u8"], ["episode", "<u4"], ["step", "<u4"], \
["stamp", "<i8"], ["next_stamp", "<i8"], ["state", "<f8", [4]], ["action", "<f8", [1]], \
["action_requested", "<f8", [1]], ["next_state", "<f8", [4]], ["reward", "<f8"], \
["terminated", "|b1"], ["truncated", "|b1"], ["controller", "|S32"], ["model_version", "<u4"]]"""
UPDATES = """\
{"version": 1, "transitions": 20, "gradient_steps": 80, "train_time": 0.5, \
"held_out_error": NaN, "held_out_loss": NaN}
{"version": 2, "transitions": 40, "gradient_steps": 80, "held_o
{"version": 2, "transitions": 45, "gradient_steps": 80, "train_time": 0.25, \
"held_out_error": 0.125, "held_out_loss": -2.0}
[]
"""


def transition(session: int, sequence: int, **changes) -> Transition:
    rng = np.random.default_rng(sequence)
    values = {
        "session": session,
        "sequence": sequence,
        "episode": 1 + sequence // 10,
        "step": sequence % 10,
        "stamp": 10 * sequence,
        "next_stamp": 10 * sequence + 10,
        "state": rng.normal(size=4),
        "action": rng.normal(size=1),
        "action_requested": rng.normal(size=1),
        "next_state": rng.normal(size=4),
        "reward": 1.0,
        "terminated": False,
        "truncated": sequence % 10 == 9,
        "controller": "mppi",
        "model_version": 3,
    }
    return Transition(**{**values, **changes})


STORED = [
    *(transition(5, k) for k in range(12)),
    *(transition(7, k) for k in (0, 1, 4)),
    transition(8, 0, reward=math.nan, terminated=True, controller="\N{SNOWMAN}"),
]


def run_of_schema_1(folder: Path, stored=STORED, updates: str | None = UPDATES) -> Path:
    """The database of a run as it was written by earlier versions."""
    path = folder / "transitions.db"
    if updates is not None:
        (folder / "updates.jsonl").write_text(updates)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode=WAL")
        for table in SCHEMA_1:
            db.execute(table)
        db.execute("INSERT INTO run VALUES (?, ?)", (SPEC.name, str(SPEC.hash)))
        for t in stored:
            values = [getattr(t, name) for name in Transition.__slots__[:-1]]  # it knew no targets
            row = [v.tobytes() if isinstance(v, np.ndarray) else v for v in values]
            db.execute(f"INSERT INTO transition_ VALUES ({', '.join('?' * 15)})", row)
        db.execute("PRAGMA user_version=1")
    db.close()
    return path


def run_of_schema_2(folder: Path, layout: str = LAYOUT_2) -> Path:
    """The database of a run as it was written before there were targets."""
    path = run_of_schema_1(folder)
    RunStore(path, SPEC).close()
    with sqlite3.connect(path) as db:
        for table in ("run", "session_task"):
            db.execute(f"DROP TABLE {table}")
        db.execute(RUN_2)
        facts = SPEC.name, SPEC.hash, 4, 1, layout, "0.1", 12345
        db.execute("INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?)", facts)
        (size,) = db.execute("SELECT max(length(record)) FROM transition_").fetchone()
        db.execute("PRAGMA user_version=2")
        db.commit()
        db.execute("VACUUM")  # no room is left over
    db.close()
    assert size == 166  # as they were
    return path


def schema(path: Path) -> int:
    with sqlite3.connect(path) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def is_all_there(store: RunStore) -> None:
    for a, b in zip(STORED, transitions_of(store.records()), strict=True):
        for name in Transition.__slots__:
            assert np.array_equal(getattr(a, name), getattr(b, name), equal_nan=name == "reward")
    first, second, gap, last = store.episodes()
    assert first == Episode(5, 1, 0, 100, 10, 10.0, "truncated")
    assert second == Episode(5, 2, 100, 120, 2, 2.0, "")
    assert gap == Episode(7, 1, 0, 50, 3, 3.0, "")
    assert last.end == "terminated" and math.isnan(last.total)
    assert [store.stored(k) for k in (5, 6, 7, 8)] == [12, 0, 5, 1]
    assert len(store) == 16 and store.lost == 2  # those of then will not be sent again
    one, two = store.versions()
    assert (one.number, one.parent, one.transitions, one.state) == (1, 0, 20, "accepted")
    assert math.isnan(one.metrics["held_out_error"])
    assert (two.number, two.parent, two.transitions, two.state) == (2, 1, 45, "accepted")
    assert two.metrics == {
        "gradient_steps": 80,
        "train_time": 0.25,
        "held_out_error": 0.125,
        "held_out_loss": -2.0,
    }


def test_a_run_of_schema_1_is_migrated_in_place(tmp_path, caplog):
    path = run_of_schema_1(tmp_path)
    for system in (SPEC, None):
        store = RunStore(path, system)
        is_all_there(store)
        assert (store.robot, store.state_dim, store.action_dim) == (SPEC.name, 4, 1)
        store.close()
    assert schema(path) == 3
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    file = tmp_path / "updates.jsonl"
    assert warnings == [f"passed over: {file}: line {k} is not a whole record" for k in (2, 4)]
    with sqlite3.connect(path) as db:
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    assert not any("_1" in name for name in tables)


def test_a_run_of_schema_1_is_read_without_being_changed(tmp_path):
    path = run_of_schema_1(tmp_path)
    before = path.read_bytes()
    for system in (SPEC, None):
        store = RunStore(path, system, read_only=True)
        is_all_there(store)
        with pytest.raises(StoreError, match="cannot be written"):
            store.add(records_of([transition(5, 12)], 4, 1))
        store.close()
    assert path.read_bytes() == before and schema(path) == 1


def test_a_run_of_schema_1_goes_on(tmp_path):
    store = RunStore(run_of_schema_1(tmp_path), SPEC)
    assert len(store.add(records_of([transition(5, k) for k in range(10, 15)], 4, 1))) == 3
    assert store.episodes()[1] == Episode(5, 2, 100, 150, 5, 5.0, "")


def test_a_run_of_schema_2_is_migrated_in_place(tmp_path, caplog):
    path = run_of_schema_2(tmp_path)
    with caplog.at_level(logging.INFO, "mbrl_node.data"):
        store = RunStore(path, SPEC)
    assert caplog.messages[-1] == "16 transitions brought from schema 2 to 3"
    is_all_there(store)
    assert schema(path) == 3 and store.target_dim == 0
    assert store.tasks == dict.fromkeys((5, 7, 8), SessionTask())  # it did not say
    assert len(store.add(records_of([transition(9, 0)], 4, 1))) == 1
    assert store.tasks[9] == SessionTask("swing_up")
    store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT mbrl, created FROM run").fetchall() == [("0.1", 12345)]
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    assert not any("_2" in name for name in tables)


@pytest.mark.parametrize("earlier", [run_of_schema_1, run_of_schema_2])
def test_an_earlier_run_goes_on_with_a_task_that_has_targets(tmp_path, caplog, earlier):
    path = earlier(tmp_path)
    with caplog.at_level(logging.INFO, "mbrl_node.data"):
        store = RunStore(path, REACH)
    assert caplog.messages[-1] == "16 transitions have room for 3 targets, not 0"
    is_all_there(store)
    assert np.isnan(store.records()["targets"]).all()
    new = transition(9, 0, targets=np.arange(3.0))
    store.add(records_of([new], 4, 1, 3))
    assert [*transitions_of(store.records())][-1].targets.tolist() == [0.0, 1.0, 2.0]


def test_a_run_of_schema_2_is_read_without_being_changed(tmp_path):
    path = run_of_schema_2(tmp_path)
    before = path.read_bytes()
    for system in (SPEC, REACH, None):
        store = RunStore(path, system, read_only=True)
        is_all_there(store)
        assert set(store.tasks) == {5, 7, 8}
        store.close()
    assert path.read_bytes() == before and schema(path) == 2


def test_a_layout_of_schema_2_that_is_not_known_is_left_as_it_is(tmp_path):
    path = run_of_schema_2(tmp_path, LAYOUT_2.replace("<u8", "<i8"))
    with pytest.raises(StoreError, match="layout that is not known"):
        RunStore(path, SPEC)
    assert schema(path) == 2


@pytest.mark.parametrize("earlier", [run_of_schema_1, run_of_schema_2])
def test_a_run_of_another_robot_is_refused_and_not_migrated(tmp_path, earlier):
    path = earlier(tmp_path)
    before = schema(path)
    for read_only in (False, True):
        with pytest.raises(StoreError, match="holds transitions of another robot"):
            RunStore(path, SPEC.with_overrides(rate=50.0), read_only)
    assert schema(path) == before


def test_an_empty_run_of_schema_1_needs_its_robot(tmp_path):
    path = run_of_schema_1(tmp_path, [], None)
    assert len(RunStore(path, read_only=True)) == 0
    with pytest.raises(StoreError, match="name its robot, cartpole"):
        RunStore(path)
    assert schema(path) == 1
    store = RunStore(path, SPEC)
    assert (len(store), store.state_dim, store.action_dim) == (0, 4, 1) and store.versions() == []


def test_damaged_rows_are_told_and_left_as_they_are(tmp_path):
    short = [*STORED, transition(9, 0, state=np.zeros(3))]
    path = run_of_schema_1(tmp_path, short)
    for read_only in (False, True):
        with pytest.raises(StoreError, match=r"transitions\.db: cannot be used"):
            RunStore(path, SPEC, read_only)
    assert schema(path) == 1


@pytest.mark.parametrize("earlier", [run_of_schema_1, run_of_schema_2])
def test_a_disk_that_is_full_leaves_an_earlier_run_as_it_was(tmp_path, monkeypatch, earlier):
    path = earlier(tmp_path)
    before = schema(path)
    connect = sqlite3.connect

    def on_a_full_disk(*args, **kwargs):
        db = connect(*args, **kwargs)
        db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').fetchone()[0]}")
        return db

    monkeypatch.setattr(sqlite3, "connect", on_a_full_disk)
    with pytest.raises(StoreError, match="disk is full"):
        RunStore(path, REACH)
    monkeypatch.undo()
    assert schema(path) == before
    is_all_there(RunStore(path, SPEC))


# Where a migration, or what makes room for targets, is stopped: what is changed by then.
STOPS = {
    "schema 1": "schema._versions_1 = stopped",  # all transitions
    "schema 2": "store._room = stopped",  # all but the room
    "room": "schema.layout = stopped",  # the room of all transitions
}


@pytest.mark.parametrize("where", STOPS)
def test_kill_9_in_the_middle_of_a_migration_leaves_what_was(tmp_path, where):
    path = run_of_schema_1(tmp_path) if where == "schema 1" else run_of_schema_2(tmp_path)
    if where == "room":
        RunStore(path, SPEC).close()
    before = schema(path)
    code = f"""
import time
from pathlib import Path
from mbrl_node.data import RunStore, schema, store
from tests.data.tasks import REACH
def stopped(*_):
    print("here", flush=True)
    time.sleep(600)
{STOPS[where]}
RunStore(Path({os.fspath(path)!r}), REACH)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert schema(path) == before
    is_all_there(RunStore(path, SPEC, read_only=True))
    store = RunStore(path, REACH)
    is_all_there(store)
    assert schema(path) == 3 and store.target_dim == 3


def test_the_database_tells_its_own_layout(tmp_path):
    path = run_of_schema_1(tmp_path)
    RunStore(path, SPEC).close()
    with sqlite3.connect(path) as db:
        (layout,) = db.execute("SELECT record FROM run").fetchone()
    fields = json.loads(layout)
    assert fields[6] == ["state", "<f8", [4]] and fields[10] == ["reward", "<f8"]
    with sqlite3.connect(path) as db:
        db.execute("UPDATE run SET record = ?", (json.dumps(fields[:-1]),))
    with pytest.raises(StoreError, match="layout that is not known"):
        RunStore(path, SPEC)
