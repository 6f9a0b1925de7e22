"""The operating system's part in keeping time."""

from __future__ import annotations

import contextlib
import gc
import os
import threading


def make_real_time(priority: int) -> str:
    """Gives this thread a real-time priority (SCHED_FIFO) and all others of this process, and those
    that they start, the one below it, if that is allowed; tells what came of it.

    All of them: a thread that waits for a processor may hold Python's lock or one of DDS's, and
    then control waits with it. Linux lets threads of the usual kind wait for milliseconds.

    Args:
        priority: 2 to 98, as `thread_priority` of ros2_control; 0: nothing is done.
    """
    if priority == 0:
        return "no real-time priority, as configured"
    own = threading.get_native_id()
    try:
        os.sched_setscheduler(own, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        return f"no real-time priority ({error.strerror}; docs/safety.md says how to allow it)"
    for thread in map(int, os.listdir("/proc/self/task")):
        if thread != own:
            with contextlib.suppress(OSError):  # it has just ended
                os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority - 1))
    return f"real-time priority {priority}"


def settle_memory() -> None:
    """What is there now stays: a collection of garbage need not look at it again. With torch loaded
    one takes 50 ms otherwise, and holds up every thread."""
    gc.collect()
    gc.freeze()
