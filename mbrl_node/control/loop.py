"""One tick of control: state in, safe action and transition out; episodes and the goal.

This is the whole control logic, without clocks, threads or ROS: the caller says what time it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl_node.control.controller import Observation
from mbrl_node.control.manager import ControllerManager
from mbrl_node.control.safety import SafetyFilter
from mbrl_node.data import Transition
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.terms import RangeTermination, TermReward, goal_function

Array = NDArray[np.float64]
RESETTING = "the robot is being reset"


@dataclass(frozen=True, slots=True)
class Tick:
    """What came of a tick."""

    action: Array  # the last that was sent, [m]
    transition: Transition | None = None
    reset: bool = False  # the episode ended: the robot is to be reset, then `begin_episode` called
    events: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Sent:
    observation: Observation
    action: Array
    requested: Array
    controller: str
    model_version: int


class ControlLoop:
    """Runs the active controller on one robot.

    Args:
        session: identifies this run in the transitions, see `Transition`.
    """

    def __init__(self, spec: RobotSpec, manager: ControllerManager, session: int) -> None:
        self._spec, self._manager, self._session = spec, manager, session
        self._safety = SafetyFilter(spec)
        self._reward = TermReward(spec)
        self._terminated = RangeTermination(spec)
        self._goal = goal_function(spec)
        self._sent: _Sent | None = None
        self.last_action = spec.action_safe  # what the robot was sent last, [m]
        self._started: int | None = None  # robot time of the first tick
        self._last_time = 0  # of the last tick
        self._episode_start: int | None = None
        self._goal_since: int | None = None
        self.resetting = False
        self._sequence = 0
        self.episode, self.step = 1, 0
        self.episode_return, self.last_return = 0.0, math.nan
        self.solved_at = math.nan  # s of robot time at which the hold that solved the task began
        self.held_time = 0.0  # s for which the goal holds without a break
        self.robot_time = 0.0  # s since the first tick
        self.safe_reason = "waits for the robot's state"

    @property
    def transitions(self) -> int:
        """How many transitions there have been."""
        return self._sequence

    @property
    def episode_time(self) -> float:
        """s since the episode began."""
        if self._started is None or self._episode_start is None:
            return 0.0
        return self.robot_time - (self._episode_start - self._started) * 1e-9

    def begin_episode(self) -> None:
        """The robot was reset; the next observation is the first of a new episode."""
        self.resetting = False

    def tick(
        self,
        observation: Observation | None,
        problem: str = "",
        send: Callable[[Array], None] = lambda action: None,
    ) -> Tick:
        """Decides what the robot is sent now.

        Args:
            observation: None when there is none that may be used.
            problem: why there is none.
            send: called with the command as soon as it is known, before the bookkeeping; a second
                time, with the safe command, when that finds that the episode is over.
        """
        if observation is None:
            return self._safe(problem, send)
        if self._started is None or observation.time < self._last_time:
            self._started = observation.time  # first tick, or the clock was set back
            self._episode_start, self._goal_since, self._sent = None, None, None
        self._last_time = observation.time
        self.robot_time = (observation.time - self._started) * 1e-9
        if self.resetting:
            return self._safe(RESETTING, send)
        if self._episode_start is None:
            self._episode_start = observation.time
        sent = self._act(observation, send)
        events = self._watch_goal(observation)
        transition = self._complete(observation)
        self._sent = sent
        if transition is not None and (transition.terminated or transition.truncated):
            events.append(self._end_episode(observation, transition))
            if self.resetting:
                action = self._safe(RESETTING, send).action
                return Tick(action, transition, True, events)
        return Tick(sent.action, transition, False, events)

    def _act(self, observation: Observation, send: Callable[[Array], None]) -> _Sent:
        requested = self._manager.update(observation, self.last_action)
        action, refused = self._safety(requested, self.last_action)
        send(action)
        self.last_action = action
        self._manager.commanded(observation, action)
        acting = self._manager.acting
        self.safe_reason = self._manager.failure or (f"{acting.name}: {refused}" if refused else "")
        return _Sent(observation, action, requested, acting.name, acting.model_version)

    def _safe(self, reason: str, send: Callable[[Array], None]) -> Tick:
        self.safe_reason = reason
        if self._sent is not None:
            self._sent = None
            self._manager.restart()
        self._goal_since, self.held_time = None, 0.0
        self.last_action, _ = self._safety(self._spec.action_safe, self.last_action)
        send(self.last_action)
        return Tick(self.last_action)

    def _complete(self, now: Observation) -> Transition | None:
        """The transition from the tick before to this one."""
        sent = self._sent
        if sent is None:
            return None
        next_state = torch.as_tensor(now.state)
        state, action = torch.as_tensor(sent.observation.state), torch.as_tensor(sent.action)
        reward = float(self._reward(state, action, next_state))
        terminated = bool(self._terminated(next_state))
        length = self._spec.episode.length
        transition = Transition(
            self._session,
            self._sequence,
            self.episode,
            self.step,
            sent.observation.stamp,
            now.stamp,
            sent.observation.state,
            sent.action,
            sent.requested,
            now.state,
            reward,
            terminated,
            not terminated and self.episode_time >= length - 1e-6,
            sent.controller,
            sent.model_version,
        )
        self._sequence += 1
        self.step += 1
        self.episode_return += reward
        return transition

    def _end_episode(self, now: Observation, last: Transition) -> str:
        why = "left its limits" if last.terminated else "reached its length"
        event = (
            f"episode {self.episode} {why} after {self.episode_time:.1f} s, "
            f"return {self.episode_return:.1f}"
        )
        self.last_return, self.episode_return = self.episode_return, 0.0
        self.episode, self.step = self.episode + 1, 0
        self.resetting = self._spec.episode.reset_service is not None
        self._episode_start = None if self.resetting else now.time
        return event

    def _watch_goal(self, now: Observation) -> list[str]:
        if self._goal is None or self._spec.goal is None or not self._goal(now.state):
            self._goal_since, self.held_time = None, 0.0
            return []
        if self._goal_since is None:
            self._goal_since = now.time
        self.held_time = (now.time - self._goal_since) * 1e-9
        if not math.isnan(self.solved_at) or self.held_time < self._spec.goal.hold_time:
            return []
        self.solved_at = self.robot_time - self.held_time
        return [
            f"SOLVED: the goal has held for {self.held_time:.1f} s without a break, "
            f"beginning {self.solved_at:.1f} s after the first command"
        ]
