"""Transitions and where they are kept."""

from mbrl_node.data.buffer import Batch, ReplayBuffer
from mbrl_node.data.records import Records, record_type, records_of, transitions_of
from mbrl_node.data.scalars import Scalars
from mbrl_node.data.store import Episode, Event, RunStore, SessionTask, StoreError, Version
from mbrl_node.data.timeline import Timeline
from mbrl_node.data.timing_log import Second, Started, TimingLog, read_timing_log
from mbrl_node.data.transition import Transition

__all__ = [
    "Batch",
    "Episode",
    "Event",
    "Records",
    "ReplayBuffer",
    "RunStore",
    "Scalars",
    "Second",
    "SessionTask",
    "Started",
    "StoreError",
    "Timeline",
    "TimingLog",
    "Transition",
    "Version",
    "read_timing_log",
    "record_type",
    "records_of",
    "transitions_of",
]
