"""Fitting models to what the robot did."""

from mbrl_node.learning.learner import Learner, LearnerConfig, Update
from mbrl_node.learning.trainer import Trainer, TrainerConfig

__all__ = ["Learner", "LearnerConfig", "Trainer", "TrainerConfig", "Update"]
