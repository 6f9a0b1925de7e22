"""All that is learned of a robot and its task, as one module and one file."""

from __future__ import annotations

from torch import nn

from mbrl_node.models.dynamics import DynamicsModel, ModelConfig
from mbrl_node.models.inverse import InverseConfig, InverseModel
from mbrl_node.models.outcome import RewardModel, TerminationModel
from mbrl_node.models.policy import Policy, PolicyConfig
from mbrl_node.spec.plugins import find
from mbrl_node.spec.system import System
from mbrl_node.spec.task import Task


class WorldModel(nn.Module):
    """The dynamics, whatever of the task is not given (reward and termination), and if wanted a
    policy and an inverse model.

    Args:
        learns_reward: there is no formula for the reward.
        learns_termination: there is no formula for the end of an episode.

    Raises:
        PluginError: there is no such `config.kind`, or it cannot be used.
    """

    def __init__(
        self,
        system: System,
        config: ModelConfig | None = None,
        learns_reward: bool = False,
        learns_termination: bool = False,
        policy: PolicyConfig | None = None,
        inverse: InverseConfig | None = None,
    ) -> None:
        super().__init__()
        config = config or ModelConfig()
        kind = find("mbrl.models", config.kind, {"ensemble": DynamicsModel}, base=nn.Module)
        self.dynamics = kind(system, config)
        self.reward = RewardModel(system) if learns_reward else None
        self.termination = TerminationModel(system) if learns_termination else None
        self.policy = Policy(system, policy) if policy is not None else None
        self.inverse = InverseModel(system, inverse) if inverse is not None else None

    @classmethod
    def for_task(cls, system: System, task: Task, config: ModelConfig | None = None) -> WorldModel:
        """A new one that learns what the task does not give."""
        return cls(system, config, task.reward is None, task.termination is None)

    def completed(self, task: Task) -> Task:
        """The task with what is learned in the place of what is not given."""
        return Task(
            task.reward or self.reward, task.termination or self.termination, task.constraint
        )
