"""The durable store: nothing is lost, doubled or damaged."""

import os
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from mbrl_node.data import ReplayBuffer, StoreError, Transition, TransitionStore
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


def same(a: Transition, b: Transition) -> bool:
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in Transition.__slots__)


def test_what_is_stored_is_read_back_exactly(tmp_path):
    stored = [transition(i) for i in range(5)]
    TransitionStore(tmp_path / "t.db", SPEC).add(stored)
    read = list(TransitionStore(tmp_path / "t.db", SPEC))
    assert len(read) == 5 and all(map(same, stored, read))


def test_a_transition_added_twice_is_stored_once(tmp_path):
    store = TransitionStore(tmp_path / "t.db", SPEC)
    store.add([transition(0), transition(1)])
    store.add([transition(1), transition(2)])
    assert store.sequences() == {1: [0, 1, 2]}


def test_sessions_do_not_mix(tmp_path):
    store = TransitionStore(tmp_path / "t.db", SPEC)
    store.add([transition(0, session=2), transition(0, session=1), transition(1, session=2)])
    assert store.sequences() == {1: [0], 2: [0, 1]} and len(store) == 3


def test_a_reward_that_is_not_a_number_survives(tmp_path):
    store = TransitionStore(tmp_path / "t.db", SPEC)
    store.add([transition(0, reward=float("nan"))])
    assert np.isnan(next(iter(store)).reward)


def test_a_database_of_another_robot_is_refused_by_name(tmp_path):
    TransitionStore(tmp_path / "t.db", SPEC)
    with pytest.raises(StoreError, match=r"t\.db: holds transitions of another robot"):
        TransitionStore(tmp_path / "t.db", SPEC.with_overrides(rate=50.0))


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "t.db"
    path.write_text("a diary, not a database, and long enough to have a header" * 10)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"t\.db: cannot be used"):
        TransitionStore(path, SPEC)
    assert path.read_bytes() == before


def test_a_database_of_a_newer_version_is_refused(tmp_path):
    TransitionStore(tmp_path / "t.db", SPEC).close()
    with sqlite3.connect(tmp_path / "t.db") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="newer version"):
        TransitionStore(tmp_path / "t.db", SPEC)


def test_a_writer_that_is_killed_loses_nothing_it_had_added(tmp_path):
    code = f"""
import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})
from pathlib import Path
from test_store import SPEC, TransitionStore, transition
store = TransitionStore(Path({str(tmp_path / "t.db")!r}), SPEC)
for i in range(100000):
    store.add([transition(i)])
    print(i, flush=True)
"""
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(50)]
    writer.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    writer.wait()
    stored = TransitionStore(tmp_path / "t.db", SPEC).sequences()[1]
    assert stored[: len(acknowledged)] == acknowledged
    assert len(stored) <= len(acknowledged) + 1


def test_the_buffer_grows_and_keeps_the_order():
    buffer = ReplayBuffer(4, 1)
    for start in (0, 700, 1400):
        buffer.add([transition(i) for i in range(start, start + 700)])
    batch = buffer.batch(start=1000)
    assert (
        len(buffer) == 2100 and batch.state.shape == (1100, 4) and batch.action.shape == (1100, 1)
    )
    assert batch.state[0, 0] == 1000.0 and batch.next_state[-1, 3] == 2099 + 4
