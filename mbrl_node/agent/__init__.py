"""The agent without ROS: learner and planner on a Gymnasium environment, step by step."""

from mbrl_node.agent.agent import Agent, AgentConfig
from mbrl_node.agent.environment import system_of, task_of

__all__ = ["Agent", "AgentConfig", "system_of", "task_of"]
