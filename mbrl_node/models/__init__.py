"""Learned models of a robot: its dynamics, and its task where that is not given."""

from mbrl_node.models.checkpoint import (
    CheckpointError,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from mbrl_node.models.dynamics import DynamicsModel, ModelConfig
from mbrl_node.models.inverse import InverseConfig, InverseModel, inverse_consistency
from mbrl_node.models.outcome import RewardModel, TerminationModel
from mbrl_node.models.policy import Policy, PolicyConfig
from mbrl_node.models.trajectory import TrajectoryModel, trajectory_rows
from mbrl_node.models.world import WorldModel

__all__ = [
    "CheckpointError",
    "DynamicsModel",
    "InverseConfig",
    "InverseModel",
    "ModelConfig",
    "Policy",
    "PolicyConfig",
    "RewardModel",
    "TerminationModel",
    "TrajectoryModel",
    "WorldModel",
    "inverse_consistency",
    "load_checkpoint",
    "newest_checkpoint",
    "save_checkpoint",
    "trajectory_rows",
]
