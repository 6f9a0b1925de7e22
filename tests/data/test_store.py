"""The durable store: nothing is lost, doubled or damaged."""

import math
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from mbrl_node.data import (
    Event,
    Records,
    RunStore,
    SessionTask,
    StoreError,
    Transition,
    Version,
    records_of,
    transitions_of,
)
from tests.data.tasks import REACH, SPEC


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


def aimed(*sequences: int, session: int) -> Records:
    """As `records`, of the task that has targets."""
    steps = [replace(transition(k, session), targets=np.array([k, 0.5, -0.5])) for k in sequences]
    return records_of(steps, 4, 1, 3)


def targets(store: RunStore) -> list[list[float]]:
    """Of each transition, without those that its task does not have."""
    return [t.targets.tolist() for t in transitions_of(store.records())]


@pytest.mark.parametrize("first", [SPEC, REACH], ids=["fewer", "more"])
def test_a_run_goes_on_with_another_task_of_the_robot(tmp_path, first):
    rows = {SPEC.task: records(0, 1, session=1), REACH.task: aimed(0, 1, session=2)}
    for spec in (first, REACH if first is SPEC else SPEC):
        store = RunStore(tmp_path / "t.db", spec)
        assert store.add(rows[spec.task]).tobytes() == rows[spec.task].tobytes()
        store.close()
    for read_only in (False, True):
        store = RunStore(tmp_path / "t.db", SPEC, read_only)
        assert targets(store) == [[], [], [0.0, 0.5, -0.5], [1.0, 0.5, -0.5]]
        of_reach = SessionTask("reach", ("goal_x", "goal_z", "speed"))
        assert store.tasks == {1: SessionTask("swing_up"), 2: of_reach}
        newest = [*store.tasks.values()][-1]
        assert newest == (of_reach if first is SPEC else SessionTask("swing_up"))
        store.close()


def test_what_a_session_of_another_task_left_behind_is_stored_as_its_own(store):
    of_reach = SessionTask.of(REACH)
    assert len(store.add(aimed(0, session=2), {2: of_reach})) == 1  # there was no room for it
    store.add(records(0))
    assert len(store.add(np.concatenate((aimed(0, 1, session=2), aimed(2, session=2))))) == 2
    assert store.target_dim == 3 and store.tasks == {1: SessionTask("swing_up"), 2: of_reach}
    assert targets(reopened(store)) == [[], *([float(k), 0.5, -0.5] for k in range(3))]


def test_room_for_more_targets_is_made_while_others_read(store):
    store.add(records(0, 1))
    reader = RunStore(store.path, read_only=True)
    assert reader.records()["targets"].shape == (2, 0)
    writer = RunStore(store.path, REACH)
    assert reader.records()["targets"].shape == (2, 3)
    writer.add(aimed(0, session=2))
    assert len(reader.records()) == 3 and set(reader.tasks) == {1, 2}
    writer.close()
    reader.close()


def test_a_write_that_fails_leaves_the_tasks_as_they_were(store):
    store._db.execute("PRAGMA query_only=1")
    with pytest.raises(StoreError, match="transitions cannot be written"):
        store.add(aimed(0, session=2))
    assert store.tasks == {} and store.target_dim == 0
    store._db.execute("PRAGMA query_only=0")
    assert len(store.add(aimed(0, session=2))) == 1 and store.target_dim == 3


def test_records_of_another_size_are_refused(store):
    for wrong in (records_of([], 4, 2), records_of([], 5, 1, 3), np.zeros(3)):
        with pytest.raises(ValueError, match="records are"):
            store.add(wrong)
    with pytest.raises(ValueError, match="it has 3 targets, and there is room for 2"):
        records_of([*transitions_of(aimed(0, session=2))], 4, 1, 2)


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


def test_what_comes_late_fills_its_gap_and_what_never_came_is_lost_only_once_it_is_given_up(store):
    store.add(records(0, 1, 4, 5))
    assert store.stored(1) == 2 and store.lost == 0
    assert store.add(records(3, 4))["sequence"].tolist() == [3]
    assert store.skip(1, 1) == 0 and store.stored(1) == 2
    assert store.skip(1, 5) == 1 and store.skip(1, 5) == 0
    assert store.stored(1) == 6 and store.lost == 1
    again = reopened(store)
    assert again.stored(1) == 6 and again.lost == 1 and again.stored(2) == 0
    assert again.add(records(2))["sequence"].tolist() == [2]  # it came in spite of that
    assert again.lost == 0 and sequences(again) == {1: list(range(6))}
    assert again.skip(2, 3) == 3 and again.stored(2) == 3 and again.lost == 3


def test_a_store_that_was_opened_again_knows_what_it_has(store):
    store.add(records(0, 1, 2, 5, 9, 10))
    again = reopened(store)
    assert again.add(records(*range(12)))["sequence"].tolist() == [3, 4, 6, 7, 8, 11]
    assert again.stored(1) == 12


def test_episodes_grow_with_their_transitions(store):
    store.add(records(0, 2, truncated=False))  # of which one is sent again, and one comes late
    first = store.episodes()
    assert [(e.steps, e.stamp, e.end_stamp, e.total, e.end) for e in first] == [(2, 0, 30, 1.0, "")]
    store.add(records(1, 2, truncated=False))
    store.add(records(3, reward=2.0, terminated=True, truncated=True))
    store.add(records(4, 5, episode=2, truncated=True))
    store.add(records(0, session=9, truncated=False))
    found = [(e.session, e.episode, e.steps, e.total, e.end) for e in reopened(store).episodes()]
    assert found == [
        (1, 1, 4, 3.5, "terminated"),
        (1, 2, 2, 1.0, "truncated"),
        (9, 1, 1, 0.5, ""),
    ]


def test_versions_are_kept_with_their_metrics_and_replaced_by_number(store):
    two = Version(2, 1, 10**18, 40, "accepted", "warm update", {"held_out_error": 0.25, "x": 1.0})
    one = Version(1, 0, 0, 20, "accepted", "refit", {"held_out_error": math.nan})
    for version in (two, one, replace(two, state="rolled back", reason="fell over")):
        store.add_version(version)
    first, second = reopened(store).versions()
    assert math.isnan(first.metrics.pop("held_out_error")) and first == replace(one, metrics={})
    assert second == replace(two, state="rolled back", reason="fell over")


def test_events_are_kept_once_and_switches_are_a_table_of_their_own(store):
    switch = Event(1, 0, 10**18, math.nan, "switch", "mppi", "asked for")
    stop = Event(1, 1, 10**18 + 5, 2.5, "stop", "estop", "pressed")
    store.add_events([switch, stop])
    store.add_events([replace(stop, text="again"), replace(switch, session=0, robot_time=1.0)])
    again = reopened(store)
    assert [(e.session, e.sequence) for e in again.events()] == [(0, 0), (1, 0), (1, 1)]
    assert again.events("stop") == [stop] and math.isnan(again.events()[1].robot_time)
    query = "SELECT session, controller, reason FROM controller_switch"
    with sqlite3.connect(store.path) as db:
        assert db.execute(query).fetchall() == [(0, "mppi", "asked for"), (1, "mppi", "asked for")]


def full(store: RunStore) -> None:
    """From now on the disk is full."""
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count={pages}")


def emptied(store: RunStore) -> None:
    store._db.execute("PRAGMA max_page_count=1000000000")


def protected(store: RunStore) -> None:
    """From now on the disk is read-only."""
    store._db.execute("PRAGMA query_only=1")


def unprotected(store: RunStore) -> None:
    store._db.execute("PRAGMA query_only=0")


@pytest.mark.parametrize(("break_", "mend"), [(full, emptied), (protected, unprotected)])
def test_what_cannot_be_written_is_told_and_may_be_added_again(store, break_, mend):
    store.add(records(*range(10)))
    version = Version(1, 0, 0, 10, "accepted", "x" * 10000, {})
    event = Event(1, 0, 0, 0.0, "stop", "", "x" * 10000)
    break_(store)
    for write in (
        lambda: store.add(records(*range(1000))),
        lambda: store.add_version(version),
        lambda: store.add_events([event]),
    ):
        with pytest.raises(StoreError, match=r"t\.db: .* cannot be written: "):
            write()
    assert len(store) == 10 and store.stored(1) == 10 and store.episodes()[0].steps == 10
    assert store.versions() == [] and store.events() == []
    if break_ is protected:
        with pytest.raises(StoreError):
            store.skip(1, 20)
        assert store.lost == 0
    mend(store)
    assert len(store.add(records(*range(1000)))) == 990
    store.add_version(version)
    store.add_events([event])
    again = reopened(store)
    assert sequences(again) == {1: list(range(1000))} and again.episodes()[0].steps == 1000
    assert again.versions() == [version] and again.events() == [event]


def test_a_file_that_may_not_grow_any_more_harms_nothing_that_is_stored(store):
    store.add(records(0, 1, 2))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (store.path.parent / "t.db-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5000, limits[1]))
    try:
        with pytest.raises(StoreError, match="cannot be written"):
            store.add(records(*range(1000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sequences(store) == {1: [0, 1, 2]} and store.stored(1) == 3
    store.add(records(3))
    assert sequences(reopened(store)) == {1: [0, 1, 2, 3]}


def test_numbers_that_are_too_large_for_the_database_are_refused(store):
    with pytest.raises(StoreError, match="cannot be written"):
        store.add(records(0, session=2**64 - 1))
    with pytest.raises(ValueError, match="records are"):
        store.add(records_of([], 3, 1))
    assert len(store) == 0 and store.stored(1) == 0


def test_another_process_that_wrote_too_is_told_and_then_known(store):
    other = RunStore(store.path, SPEC)
    other.add(records(0, 1))
    with pytest.raises(StoreError, match="cannot be written"):
        store.add(records(0, 1, 2))
    assert store.add(records(0, 1, 2))["sequence"].tolist() == [2]
    assert sequences(store) == {1: [0, 1, 2]} and store.episodes()[0].steps == 3
    other.close()


def test_what_is_written_is_seen_by_who_only_reads(store):
    reader = RunStore(store.path, read_only=True)
    assert (reader.robot, reader.spec_hash) == (SPEC.name, SPEC.hash)
    assert (reader.state_dim, reader.action_dim) == (4, 1)
    for k in range(3):
        store.add(records(2 * k))
        assert len(reader) == len(reader.records()) == k + 1
    assert reader.stored(1) == 1 and reader.lost == 0
    with pytest.raises(StoreError, match="cannot be written"):
        reader.add(records(7))
    reader.close()


def test_who_only_reads_makes_no_database_and_refuses_what_is_none(tmp_path):
    with pytest.raises(StoreError, match="there is no such database"):
        RunStore(tmp_path / "run" / "t.db")
    with pytest.raises(StoreError, match=r"t\.db: cannot be used"):
        RunStore(tmp_path / "run" / "t.db", SPEC, read_only=True)
    assert list(tmp_path.iterdir()) == []
    with sqlite3.connect(tmp_path / "diary.db") as db:
        db.execute("CREATE TABLE diary (day TEXT)")
    for system in (None, SPEC):
        with pytest.raises(StoreError, match=r"diary\.db: is not the database of a run"):
            RunStore(tmp_path / "diary.db", system)


def test_a_run_on_a_medium_that_cannot_be_written_is_read(store, monkeypatch):
    store.add(records(0, 1))
    store.close()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    reader = RunStore(store.path, SPEC, read_only=True)
    assert sequences(reader) == {1: [0, 1]}
    assert [p.name for p in store.path.parent.iterdir()] == ["t.db"]
    reader.close()


def test_a_record_that_is_damaged_is_told(store):
    store.add(records(0))
    with sqlite3.connect(store.path) as db:
        db.execute("INSERT INTO transition_ VALUES (1, 1, ?)", (b"short",))
    with pytest.raises(StoreError, match=r"t\.db: cannot be read"):
        store.records()


def test_many_threads_may_use_it(store):
    def add(part: int) -> None:
        for k in range(part, 400, 4):
            store.add(records(k, k + 4))  # each one twice
            store.episodes(), store.stored(1), len(store)

    threads = [threading.Thread(target=add, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sequences(store) == {1: list(range(404))} and store.episodes()[0].steps == 404


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
    reader = RunStore(tmp_path / "t.db", read_only=True)
    stored = sequences(reader)[1]
    reader.close()
    assert sequences(RunStore(tmp_path / "t.db", SPEC))[1] == stored
    assert stored[: len(acknowledged)] == acknowledged
    assert len(stored) <= len(acknowledged) + 1
