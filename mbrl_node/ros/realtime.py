"""The operating system's part in keeping time."""

from __future__ import annotations

import gc
import os
import threading


def raise_priority(priority: int) -> str:
    """Gives this thread, and no thread that it starts, a real-time priority (SCHED_FIFO), or if
    that is not allowed a better nice value; tells what came of it.

    Args:
        priority: 1 to 99, as `thread_priority` of ros2_control; 0: nothing is done.
    """
    if priority == 0:
        return "priority as it was"
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    try:
        os.sched_setscheduler(0, policy, os.sched_param(priority))
        return f"real-time priority {priority}"
    except OSError as error:
        reason = error.strerror
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -10)
        return f"nice value -10 (no real-time priority: {reason})"
    except OSError:
        return f"no priority over other programs: {reason} (docs/safety.md says how to allow it)"


def settle_memory() -> None:
    """What is there now stays: a collection of garbage need not look at it again. With torch loaded
    one takes 50 ms otherwise, and holds up every thread."""
    gc.collect()
    gc.freeze()
