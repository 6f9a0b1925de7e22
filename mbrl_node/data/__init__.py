"""Transitions and where they are kept."""

from mbrl_node.data.buffer import Batch, ReplayBuffer
from mbrl_node.data.store import StoreError, TransitionStore
from mbrl_node.data.transition import Transition

__all__ = ["Batch", "ReplayBuffer", "StoreError", "Transition", "TransitionStore"]
