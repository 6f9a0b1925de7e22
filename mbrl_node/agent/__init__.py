"""The agent without ROS: learner and planner on a Gymnasium environment, step by step.

from mbrl_node.agent import evaluate, train

result = train("Pendulum-v1", steps=3000, seed=0, run_dir="runs/pendulum")
print(result.returns)
print(evaluate(result.run_dir, episodes=5))
"""

from mbrl_node.agent.agent import Agent, AgentConfig
from mbrl_node.agent.environment import UnsuitableEnvironment, system_of, task_of
from mbrl_node.agent.evaluation import SEED, Episode, evaluate, record
from mbrl_node.agent.progress import RECENT, Progress, ProgressDisplay
from mbrl_node.agent.run import RunError, RunInfo, system_and_task
from mbrl_node.agent.settings import SettingsError
from mbrl_node.agent.training import TrainResult, default_run_dir, train

__all__ = [
    "RECENT",
    "SEED",
    "Agent",
    "AgentConfig",
    "Episode",
    "Progress",
    "ProgressDisplay",
    "RunError",
    "RunInfo",
    "SettingsError",
    "TrainResult",
    "UnsuitableEnvironment",
    "default_run_dir",
    "evaluate",
    "record",
    "system_and_task",
    "system_of",
    "task_of",
    "train",
]
