"""Learning: fitting models to data, and the learner that keeps a run."""

from mbrl_node.learning.fit import fit
from mbrl_node.learning.gate import Gate, GateConfig
from mbrl_node.learning.imagination import PolicyReport, PolicyTrainer
from mbrl_node.learning.inverse import InverseTrainer
from mbrl_node.learning.learner import Learner, lock_run
from mbrl_node.learning.trainer import Trainer, TrainerConfig, TrainReport, trajectory_weights
from mbrl_node.learning.update import LearnerConfig, LearnerProgress, Update
from mbrl_node.learning.versions import VersionError, Versions

__all__ = [
    "Gate",
    "GateConfig",
    "InverseTrainer",
    "Learner",
    "LearnerConfig",
    "LearnerProgress",
    "PolicyReport",
    "PolicyTrainer",
    "TrainReport",
    "Trainer",
    "TrainerConfig",
    "Update",
    "VersionError",
    "Versions",
    "fit",
    "lock_run",
    "trajectory_weights",
]
