"""Learned models of a robot: its dynamics, and its task where that is not given."""

from mbrl_node.models.checkpoint import (
    CheckpointError,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from mbrl_node.models.dynamics import DynamicsModel, ModelConfig
from mbrl_node.models.outcome import RewardModel, TerminationModel
from mbrl_node.models.world import WorldModel

__all__ = [
    "CheckpointError",
    "DynamicsModel",
    "ModelConfig",
    "RewardModel",
    "TerminationModel",
    "WorldModel",
    "load_checkpoint",
    "newest_checkpoint",
    "save_checkpoint",
]
