"""What the operating system is asked for, whether it grants that or not."""

from __future__ import annotations

import errno
import gc
import os
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from mbrl_node.ros.realtime import NICE, make_real_time, prefer_process, settle_memory

Result = TypeVar("Result")
FIFO = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK


def in_a_thread(work: Callable[[], Result]) -> Result:
    """The result of it there: what it does to its thread must not be done to the tests'."""
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int, int]]]:
    """What was asked of the scheduler, which grants it."""
    calls: list[tuple[int, int, int]] = []

    def grant(pid: int, policy: int, param: os.sched_param) -> None:
        calls.append((pid, policy, param.sched_priority))

    monkeypatch.setattr(os, "sched_setscheduler", grant)
    yield calls


def test_a_real_time_priority_is_for_this_thread_and_none_that_it_starts(asked: list) -> None:
    assert make_real_time(50) == "real-time priority 50"
    assert asked == [(0, FIFO, 50)]


def test_without_a_priority_nothing_is_asked_for(asked: list) -> None:
    assert make_real_time(0) == f"no real-time priority, nice value {nice()}" and asked == []


def test_where_it_is_not_allowed_that_is_said_with_the_reason_and_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert make_real_time(50) == (
        "no real-time priority (Operation not permitted; docs/safety.md says how to allow it), "
        f"nice value {nice()}"
    )


def test_here_it_is_as_it_says() -> None:
    def work() -> tuple[str, int, int]:
        said = make_real_time(10)
        return said, os.sched_getscheduler(0), in_a_thread(lambda: os.sched_getscheduler(0))

    said, mine, of_another = in_a_thread(work)
    granted = said == "real-time priority 10"
    assert granted == (mine == FIFO) and of_another == os.SCHED_OTHER


def test_threads_of_the_process_come_before_others_where_that_is_allowed() -> None:
    def work() -> tuple[int, int]:
        prefer_process()
        return nice(), in_a_thread(nice)

    before = nice()
    mine, of_another = in_a_thread(work)
    assert mine == of_another and mine in (NICE, before)


def test_where_that_is_not_allowed_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "setpriority", refuse)
    prefer_process()


def test_what_is_in_memory_is_not_looked_at_by_later_collections() -> None:
    before = gc.get_freeze_count()
    try:
        settle_memory()
        assert gc.get_freeze_count() > max(before, 1000)
    finally:
        gc.unfreeze()
