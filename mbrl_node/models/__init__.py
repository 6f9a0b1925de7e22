"""Learned models of a robot's dynamics."""

from mbrl_node.models.checkpoint import (
    CheckpointError,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from mbrl_node.models.dynamics import DynamicsModel, ModelConfig

__all__ = [
    "CheckpointError",
    "DynamicsModel",
    "ModelConfig",
    "load_checkpoint",
    "newest_checkpoint",
    "save_checkpoint",
]
