"""Transitions on their way: none is lost, whatever is killed; what is damaged is told."""

import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbrl_node.data import Transition, transitions_of
from mbrl_node.data.outbox import HEADER_SIZE, Outbox, OutboxError, left_over, open_outbox
from mbrl_node.data.repeater import LONGEST_PATIENCE, PATIENCE, WINDOW, Repeater
from tests.data.tasks import REACH, SPEC

SMALL = HEADER_SIZE + 10 * (166 + 4)  # bytes: room for 10 transitions


def transition(sequence: int, session: int = 7) -> Transition:
    state = np.full(4, float(sequence))
    action = np.array([0.5])
    return Transition(
        *(session, sequence, 1, sequence, sequence, sequence + 1),
        *(state, action, action, state + 1.0),
        *(math.nan, False, False, "mppi", 3),
    )


def filled(count: int, size: int = SMALL) -> Outbox:
    box = Outbox(SPEC, 7, size=size)
    for k in range(count):
        box.put(transition(k))
    return box


def sequences(box: Outbox) -> list[int]:
    return box.read(0, 1000)["sequence"].tolist()


@pytest.fixture
def kept(tmp_path):
    """Makes an outbox in a file, with some transitions, that nobody uses any more."""
    (tmp_path / "shm").mkdir()

    def make(count: int, acknowledged: int = 0, session: int = 7):
        box = Outbox(SPEC, session, tmp_path / "run", tmp_path / "shm", SMALL)
        for k in range(count):
            box.put(transition(k, session))
        box.acknowledge(acknowledged)
        os.close(box._file)  # as the end of a process does
        return box.path

    return make


def left(tmp_path, run="run", system=SPEC):
    return left_over(system, tmp_path / run, [tmp_path / "shm"])


@given(st.integers(0, 35), st.integers(0, 40))
def test_it_has_the_newest_that_are_not_acknowledged(count, acknowledged):
    box = filled(count)
    box.acknowledge(acknowledged)
    begin = max(min(acknowledged, count), count - 10, 0)
    assert box.capacity == 10 and sequences(box) == list(range(begin, count))
    assert len(box) == count - begin and box.oldest == begin
    assert box.dropped == max(0, count - 10)


def test_what_was_acknowledged_in_time_is_not_dropped():
    box = filled(8)
    box.acknowledge(8)
    for k in range(8, 18):
        box.put(transition(k))
    assert box.dropped == 0 and sequences(box) == list(range(8, 18))


def test_a_transition_comes_out_as_it_went_in():
    [found] = transitions_of(filled(1).read(0, 5))
    wanted = transition(0)
    for name in Transition.__slots__:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_the_next_process_of_the_run_takes_over_what_was_left_behind(tmp_path, kept):
    kept(14, acknowledged=6)
    kept(3, session=5)
    old, new = left(tmp_path)
    assert (old.session, sequences(old)) == (5, [0, 1, 2])
    assert (new.session, sequences(new)) == (7, list(range(6, 14)))
    new.acknowledge(14)
    new.close()
    assert not new.path.exists() and left(tmp_path) == []  # the other is in use


def test_one_that_is_in_use_is_left_alone(tmp_path):
    (tmp_path / "shm").mkdir()
    box = Outbox(SPEC, 7, tmp_path / "run", tmp_path / "shm", SMALL)
    box.put(transition(0))
    assert left(tmp_path) == []
    box.close()
    assert [sequences(b) for b in left(tmp_path)] == [[0]]


def test_one_without_anything_to_send_is_removed(tmp_path, kept):
    path = kept(3, acknowledged=3)
    assert left(tmp_path) == [] and not path.exists()


def test_another_run_in_the_same_folder_does_not_get_it(tmp_path, kept):
    kept(3)
    shutil.rmtree(tmp_path / "run")
    assert left(tmp_path) == [] and left(tmp_path, "another") == []


@given(st.integers(0, 169))
def test_a_transition_that_was_being_put_is_not_there_yet(byte):
    box = filled(5)
    at = HEADER_SIZE + 4 * 170 + byte
    box._memory[at] ^= 0xFF
    assert sequences(box) == [0, 1, 2, 3]


def test_what_is_damaged_is_set_aside(tmp_path, kept, caplog):
    path = kept(3)
    content = bytearray(path.read_bytes())
    content[16] ^= 1
    path.write_bytes(content)
    assert left(tmp_path) == [] and "is damaged, or of another version" in caplog.text
    assert path.with_name(path.name + ".damaged").exists() and not path.exists()
    kept(3).write_bytes(b"short")
    assert left(tmp_path) == [] and "is cut off" in caplog.text


def test_one_of_another_task_is_taken_over_with_its_targets(tmp_path, kept):
    kept(2)
    box = Outbox(REACH, 8, tmp_path / "run", tmp_path / "shm", SMALL)
    for k in range(3):
        box.put(replace(transition(k, 8), targets=np.array([k, 0.5, -0.5])))
    os.close(box._file)
    del box
    for system in (SPEC, REACH):
        boxes = left(tmp_path, system=system)
        assert [sequences(each) for each in boxes] == [[0, 1], [0, 1, 2]]
        assert [t.targets.tolist() for t in transitions_of(boxes[0].read(0, 9))] == [[], []]
        *_, last = transitions_of(boxes[1].read(0, 9))
        assert last.targets.tolist() == [2.0, 0.5, -0.5]
        for each in boxes:
            each.close()
        del boxes, each


def test_one_of_an_earlier_version_is_told_and_set_aside(tmp_path, kept, caplog):
    path = kept(3)
    content = bytearray(path.read_bytes())
    content[:8] = b"mbrlbox1"
    path.write_bytes(content)
    assert left(tmp_path) == []
    assert "is of another version of mbrl: its transitions are not sent again" in caplog.text
    assert path.with_name(path.name + ".damaged").exists() and not path.exists()


def test_one_of_another_robot_is_named_and_stays(tmp_path, kept):
    path = kept(3)
    with pytest.raises(OutboxError, match="is of another robot than 'cartpole'"):
        Outbox.taken_over(path, SPEC.with_overrides(rate=50.0))
    assert path.exists()


def test_where_there_is_no_room_it_says_so_and_goes_on(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(
        "mbrl_node.data.outbox.folders", lambda: [tmp_path / "no", tmp_path / "nor"]
    )
    box = open_outbox(SPEC, 7, tmp_path / "run", SMALL)
    box.put(transition(0))
    assert box.path is None and sequences(box) == [0]
    assert "a kill -9 of this process will lose" in caplog.text


def test_kill_9_loses_nothing_that_was_put(tmp_path):
    (tmp_path / "shm").mkdir()
    code = f"""
        import sys
        from pathlib import Path
        from tests.data.test_outbox import SPEC, transition
        from mbrl_node.data.outbox import Outbox
        folder = Path({str(tmp_path)!r})
        box = Outbox(SPEC, 7, folder / "run", folder / "shm", 2**22)
        for k in range(10**6):
            box.put(transition(k))
            sys.stdout.write(f"{{k}}\\n")
            sys.stdout.flush()
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for _ in range(500):
        line = child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    said = int(([line, *child.stdout.read().splitlines()][-1]).strip() or line)
    child.wait()
    [box] = left(tmp_path)
    assert sequences(box) == list(range(max(0, box.written - box.capacity), box.written))
    assert box.written in (said + 1, said + 2)


def test_what_is_not_acknowledged_is_sent_again_after_a_while_and_no_faster_than_it_is_stored():
    box = filled(1000, HEADER_SIZE + 2000 * 170)
    it = Repeater(box)
    assert len(it.due(0.0, 200)) == 0  # it may be on its way
    assert len(it.due(PATIENCE - 0.1, 200)) == 0
    assert it.due(PATIENCE, 200)["sequence"].tolist() == list(range(200))
    assert it.due(PATIENCE, 300)["sequence"].tolist() == list(range(200, WINDOW))
    assert len(it.due(PATIENCE, 300)) == 0
    box.acknowledge(300)
    assert it.due(PATIENCE + 0.1, 300)["sequence"].tolist() == list(range(400, 700))
    box.acknowledge(1000)
    assert len(it.due(PATIENCE + 1.0, 300)) == 0


def test_a_learner_that_says_nothing_is_asked_less_and_less_often():
    it, sent = Repeater(filled(3)), []
    for k in range(400):
        if len(it.due(0.05 * k, 10)):
            sent.append(0.05 * k)
    gaps = np.diff(sent)
    assert gaps[0] < gaps[1] and gaps[-1] == pytest.approx(LONGEST_PATIENCE, abs=0.06)
