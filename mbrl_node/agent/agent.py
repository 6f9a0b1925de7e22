"""One agent that learns while it acts: what the ROS nodes do in two processes, in one thread."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mbrl_node.control import Observation, RandomActions
from mbrl_node.data import Transition, records_of
from mbrl_node.learning import GateConfig, Learner, LearnerConfig, TrainerConfig, Update
from mbrl_node.models import InverseConfig, ModelConfig, PolicyConfig
from mbrl_node.planning import (
    PLANNERS,
    ActionSpace,
    CEMConfig,
    ICEMConfig,
    MPPIConfig,
    Planner,
    RandomShootingConfig,
    Rollout,
    RolloutConfig,
    graphed,
)
from mbrl_node.spec.plugins import find
from mbrl_node.spec.robot import delay_periods
from mbrl_node.spec.system import System
from mbrl_node.spec.task import Task

Array = NDArray[np.float64]


class AgentConfig(BaseModel):
    """Everything that can be set; the sections are those of config/mbrl.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    planner: str = Field(
        "mppi", description="which planner acts: random_shooting, cem, icem, mppi or a plugin"
    )
    rollout: RolloutConfig = RolloutConfig()
    mppi: MPPIConfig = MPPIConfig()
    icem: ICEMConfig = ICEMConfig()
    cem: CEMConfig = CEMConfig()
    random_shooting: RandomShootingConfig = RandomShootingConfig()
    learner: LearnerConfig = LearnerConfig()
    gate: GateConfig = GateConfig()
    trainer: TrainerConfig = TrainerConfig()
    model: ModelConfig = ModelConfig()
    policy: PolicyConfig = PolicyConfig()
    inverse: InverseConfig = InverseConfig()
    plugins: dict[str, dict[str, Any]] = Field(
        {}, description="parameters of planners that are plugins, by name"
    )

    def make_planner(self, space: ActionSpace, dt: float, seed: int) -> Planner:
        """The planner that acts.

        Raises:
            PluginError, ValueError: there is no such planner, or its parameters are wrong.
        """
        kind = find("mbrl.planners", self.planner, PLANNERS, Planner)
        section = getattr(self, self.planner) if self.planner in PLANNERS else None
        if section is None:
            section = kind.Config.model_validate(self.plugins.get(self.planner, {}))
        return kind(section, space, dt, seed)


class Agent:
    """Acts, remembers and learns, one control period after the other.

    Until there is a model, actions are random. Then each action is the first of a plan made from
    the measured state, or, where a robot's commands take effect late, from the one predicted for
    then. After every `learner.period` of robot time the model is trained. All that it learned is in
    `run_dir`, and an agent made on the same folder goes on from there.

    Args:
        learn: False only acts, with the newest model of the folder.
    """

    def __init__(
        self,
        system: System,
        task: Task,
        run_dir: Path,
        config: AgentConfig | None = None,
        seed: int = 0,
        device: str = "cpu",
        learn: bool = True,
    ) -> None:
        self.system, self._task = system, task
        self.config = config = config or AgentConfig()
        space = ActionSpace.of(system).to(torch.device(device))
        self._planner = graphed(config.make_planner(space, system.dt, seed))
        self.learner = Learner(
            system,
            task,
            run_dir,
            config.learner,
            config.trainer,
            config.model,
            seed,
            device,
            config.policy,
            config.inverse,
            config.gate,
        )
        self._learn = learn
        self._explorer = RandomActions("random", system, seed=seed)
        self._rollout: Rollout | None = None
        self._session, self._sequence = time.time_ns(), 0
        self.steps = len(self.learner.store)  # in this run, those of earlier sessions too
        self.episode = 0
        self.plan_time = 0.0  # s that the last plan took
        self._delay = delay_periods(system)
        self._take_model()
        self.begin_episode()

    def begin_episode(self) -> None:
        """The environment was reset."""
        self.episode += 1
        self._step = 0
        self._planner.reset()
        self._states: list[Array] = []  # that the model looks back at, oldest first
        self._actions: list[Array] = []
        self._last_action = self.system.action_safe
        self._in_flight = [self._last_action] * self._delay  # without effect yet, oldest first

    def act(self, observation: Array) -> Array:
        """The action [m] for a state [n], or a state and the task's targets [n + t].

        Raises:
            PlanningError: the model gives no finite return from this state.
        """
        state, targets = np.split(observation, [self.system.state_dim])
        if self._rollout is None:
            now = round(self._step * self.system.dt * 1e9)
            return self._explorer.update(Observation(now, now, state), self._last_action)
        begin = time.perf_counter()
        if targets.size:
            self._rollout.aim(targets)
        states, actions = (
            torch.as_tensor(np.array(x), dtype=torch.float32, device=self._rollout.device)
            for x in ([*self._states, state], self._actions)
        )
        last = torch.as_tensor(self._last_action, dtype=torch.float32, device=states.device)
        start = self._rollout.model_state(states, actions)
        for sent in self._in_flight:
            in_effect = torch.as_tensor(sent, dtype=torch.float32, device=start.device)
            start = self._rollout.step(start, in_effect)
        proposals = self._rollout.proposals(start, self._planner.horizon)
        plan = self._planner.plan(self._rollout, start, last, proposals)
        self._planner.shift(1)
        action: Array = plan[0].cpu().numpy().astype(np.float64)
        self.plan_time = time.perf_counter() - begin
        return action

    def observe(
        self,
        state: Array,
        action: Array,
        next_state: Array,
        reward: float,
        terminated: bool = False,
        truncated: bool = False,
    ) -> Update | None:
        """Takes in what came of an action; the new version where the model was trained.

        Args:
            state, next_state: [n], or with the task's targets, [n + t].
        """
        n = self.system.state_dim
        state, targets = np.split(np.asarray(state, np.float64), [n])
        next_state = np.asarray(next_state, np.float64)[:n]
        period = round(self.system.dt * 1e9)
        in_effect = self._remember(state, action)
        if not self._learn:
            return None
        transition = Transition(
            self._session,
            self._sequence,
            self.episode,
            self._step,
            self._sequence * period,
            (self._sequence + 1) * period,
            state,
            in_effect,
            np.asarray(action, np.float64),
            next_state,
            float(reward),
            terminated,
            truncated,
            "random" if self._rollout is None else self.config.planner,
            self.learner.latest.version if self.learner.latest else 0,
            targets,
        )
        n, m = self.system.state_dim, self.system.action_dim
        self.learner.add(records_of([transition], n, m, len(targets)))
        self._sequence += 1
        self._step += 1
        self.steps += 1
        every = max(1, round(self.config.learner.period / self.system.dt))
        if self._sequence % every or not self.learner.due:
            return None
        update = self.learner.update()
        self._take_model()
        return update

    def _remember(self, state: Array, action: Array) -> Array:
        """The action that was in effect."""
        self._last_action = np.array(action, np.float64)
        in_effect, *self._in_flight = *self._in_flight, self._last_action
        keep = self.config.model.history - 1
        if keep:
            self._states = [*self._states, state][-keep:]
            self._actions = [*self._actions, in_effect][-keep:]
        return in_effect

    def _take_model(self) -> None:
        if self.learner.latest is not None:
            self._rollout = Rollout(
                self.learner.model,
                self._task,
                self.config.rollout,
                seed=self.learner.latest.version,
            )

    def close(self) -> None:
        """Closes the store; everything learned is on disk already."""
        self.learner.store.close()
