"""What the operating system is asked for, whether it grants that or not."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from mbrl_node.ros.realtime import make_real_time, settle_memory

Result = TypeVar("Result")


def in_a_thread(work: Callable[[], Result]) -> Result:
    """The result of it there: what it does to its thread must not be done to the tests'."""
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int, int]]]:
    """What was asked of the scheduler, which grants it."""
    calls: list[tuple[int, int, int]] = []

    def grant(pid: int, policy: int, param: os.sched_param) -> None:
        calls.append((pid, policy, param.sched_priority))

    monkeypatch.setattr(os, "sched_setscheduler", grant)
    yield calls


def test_this_thread_comes_first_and_all_others_of_the_process_next(asked: list) -> None:
    ended, waiting = threading.Event(), threading.Thread(target=lambda: ended.wait(60))
    waiting.start()
    assert make_real_time(50) == "real-time priority 50"
    ended.set()
    assert asked[0] == (threading.get_native_id(), os.SCHED_FIFO, 50)
    assert (waiting.native_id, os.SCHED_FIFO, 49) in asked[1:]
    assert {call[1:] for call in asked[1:]} == {(os.SCHED_FIFO, 49)}


def test_without_a_priority_nothing_is_asked_for(asked: list) -> None:
    assert make_real_time(0) == "no real-time priority, as configured" and asked == []


def test_where_it_is_not_allowed_that_is_said_with_the_reason_and_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert make_real_time(50) == (
        "no real-time priority (Operation not permitted; docs/safety.md says how to allow it)"
    )


def test_here_it_is_as_it_says() -> None:
    code = (
        "import os, threading; from mbrl_node.ros.realtime import make_real_time\n"
        "print(make_real_time(10)); print(os.sched_getscheduler(0) == os.SCHED_FIFO)\n"
        "said = lambda: print(os.sched_getscheduler(0) == os.SCHED_FIFO)\n"
        "thread = threading.Thread(target=said); thread.start(); thread.join()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, mine, of_another = done.stdout.split("\n")[:3]
    assert mine == of_another == str(said == "real-time priority 10")


def test_what_is_in_memory_is_not_looked_at_by_later_collections() -> None:
    before = gc.get_freeze_count()
    try:
        settle_memory()
        assert gc.get_freeze_count() > max(before, 1000)
    finally:
        gc.unfreeze()
