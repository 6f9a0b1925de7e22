"""Learning: fitting models to data, and the learner that keeps a run."""

from mbrl_node.learning.fit import fit
from mbrl_node.learning.imagination import PolicyReport, PolicyTrainer
from mbrl_node.learning.inverse import InverseTrainer
from mbrl_node.learning.learner import Learner, LearnerConfig, Update, lock_run
from mbrl_node.learning.trainer import Trainer, TrainerConfig, TrainReport, trajectory_weights

__all__ = [
    "InverseTrainer",
    "Learner",
    "LearnerConfig",
    "PolicyReport",
    "PolicyTrainer",
    "TrainReport",
    "Trainer",
    "TrainerConfig",
    "Update",
    "fit",
    "lock_run",
    "trajectory_weights",
]
