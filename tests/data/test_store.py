"""The durable store: nothing is lost, doubled or damaged."""

import math
import os
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from mbrl_node.data import (
    Records,
    RunStore,
    StoreError,
    Transition,
    records_of,
    transitions_of,
)
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole")


def transition(sequence: int, session: int = 1, reward: float = 0.5) -> Transition:
    state = np.arange(4.0) + sequence
    return Transition(
        session,
        sequence,
        1,
        sequence,
        10 * sequence,
        10 * sequence + 10,
        state,
        np.array([0.5]),
        np.array([7.0]),
        state + 1,
        reward,
        False,
        sequence % 2 == 1,
        "mppi",
        3,
    )


def records(*sequences: int, session: int = 1, **changes) -> Records:
    result = records_of([transition(k, session) for k in sequences], 4, 1)
    for name, value in changes.items():
        result[name] = value
    return result


def sequences(store: RunStore) -> dict[int, list[int]]:
    """Of each session, as they are read."""
    found: dict[int, list[int]] = {}
    for session, sequence in store.records()[["session", "sequence"]].tolist():
        found.setdefault(session, []).append(sequence)
    return found


@pytest.fixture
def store(tmp_path):
    it = RunStore(tmp_path / "t.db", SPEC)
    yield it
    it.close()


def reopened(store: RunStore, read_only: bool = False) -> RunStore:
    store.close()
    return RunStore(store.path, SPEC, read_only)


def test_what_is_stored_is_read_back_exactly(store):
    stored = [transition(i) for i in range(5)]
    store.add(records_of(stored, 4, 1))
    again = reopened(store)
    assert again.records().tobytes() == records(*range(5)).tobytes() and len(again) == 5
    for a, b in zip(stored, transitions_of(again.records()), strict=True):
        assert all(np.array_equal(getattr(a, f), getattr(b, f)) for f in Transition.__slots__)


def test_what_is_read_may_be_changed(store):
    store.add(records(0))
    read = store.records()
    read["reward"] = 3.0
    assert store.records()["reward"] == 0.5


def test_a_transition_added_twice_is_stored_once_and_told_to_be_new_once(store):
    assert store.add(records(0, 1))["sequence"].tolist() == [0, 1]
    assert store.add(records(1, 2, 2, 1))["sequence"].tolist() == [2]
    assert len(store.add(records(0, 1, 2))) == 0
    assert sequences(store) == {1: [0, 1, 2]} and len(store) == 3


def test_sessions_do_not_mix(store):
    first = records_of([transition(0, 2), transition(0, 1), transition(1, 2)], 4, 1)
    assert store.add(first).tobytes() == first.tobytes()  # in the order given
    assert sequences(store) == {1: [0], 2: [0, 1]} and len(store) == 3


def test_a_reward_that_is_not_a_number_survives(store):
    store.add(records(0, reward=math.nan))
    assert np.isnan(store.records()["reward"]).all() and math.isnan(store.episodes()[0].total)


def test_a_database_of_another_robot_is_refused_by_name(store):
    with pytest.raises(StoreError, match=r"t\.db: holds transitions of another robot"):
        RunStore(store.path, SPEC.with_overrides(rate=50.0))


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "t.db"
    path.write_text("a diary, not a database, and long enough to have a header" * 10)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"t\.db: cannot be used"):
        RunStore(path, SPEC)
    assert path.read_bytes() == before


def test_a_database_of_a_newer_version_is_refused(store):
    store.close()
    with sqlite3.connect(store.path) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="newer version"):
        RunStore(store.path, SPEC)


def test_a_writer_that_is_killed_loses_nothing_it_had_added(tmp_path):
    code = f"""
import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})
from pathlib import Path
from test_store import SPEC, RunStore, records
store = RunStore(Path({str(tmp_path / "t.db")!r}), SPEC)
for i in range(100000):
    store.add(records(i))
    print(i, flush=True)
"""
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(50)]
    writer.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    writer.wait()
    stored = sequences(RunStore(tmp_path / "t.db", SPEC))[1]
    assert stored[: len(acknowledged)] == acknowledged
    assert len(stored) <= len(acknowledged) + 1
