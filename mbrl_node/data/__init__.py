"""Transitions and where they are kept."""

from mbrl_node.data.buffer import Batch, ReplayBuffer
from mbrl_node.data.records import Records, record_type, records_of, transitions_of
from mbrl_node.data.store import Episode, Event, RunStore, SessionTask, StoreError, Version
from mbrl_node.data.transition import Transition

__all__ = [
    "Batch",
    "Episode",
    "Event",
    "Records",
    "ReplayBuffer",
    "RunStore",
    "SessionTask",
    "StoreError",
    "Transition",
    "Version",
    "record_type",
    "records_of",
    "transitions_of",
]
