"""The operating system's part in keeping time."""

from __future__ import annotations

import contextlib
import gc
import os
import threading

NICE = -10  # of the control process, for those of its threads that are not real-time


def prefer_process() -> None:
    """Threads that this one starts from now on come before those of other programs, if that is
    allowed. One of them that waits for a processor while it holds Python's lock holds up control
    as well."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def make_real_time(priority: int) -> str:
    """Gives this thread, and no thread that it starts, a real-time priority (SCHED_FIFO) if that is
    allowed; tells what came of it.

    Args:
        priority: 1 to 99, as `thread_priority` of ros2_control; 0: nothing is done.
    """
    if priority:
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        try:
            os.sched_setscheduler(0, policy, os.sched_param(priority))
            return f"real-time priority {priority}"
        except OSError as error:
            reason = f" ({error.strerror}; docs/safety.md says how to allow it)"
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    return f"no real-time priority{reason if priority else ''}, nice value {nice}"


def settle_memory() -> None:
    """What is there now stays: a collection of garbage need not look at it again. With torch loaded
    one takes 50 ms otherwise, and holds up every thread."""
    gc.collect()
    gc.freeze()
