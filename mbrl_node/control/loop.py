"""One tick of control: state in, limited action and transition out; stops, episodes and the goal.

This is the whole control logic, without clocks, threads or ROS: the caller says what time it is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl_node.control.controller import Observation
from mbrl_node.control.manager import ControllerManager
from mbrl_node.control.safety import Envelope, SafetyFilter
from mbrl_node.control.stops import Stops
from mbrl_node.data import Transition
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.goals import Goals
from mbrl_node.spec.robot import delay_periods
from mbrl_node.spec.terms import RangeTermination, Targets, TermReward

Array = NDArray[np.float64]
RESETTING = "the robot is being reset"
BREAK = 0.25  # s without a tick after which what was planned before counts no more
LONGEST_AGE = 64  # ticks; the commands since an older measurement are not all known any more


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
        stops: what may stop the robot from outside; None: nothing does.
        dry_run: nothing is really sent, so there are no transitions.
        seed: of the targets that the robot sets itself.
    """

    def __init__(
        self,
        spec: RobotSpec,
        manager: ControllerManager,
        session: int,
        stops: Stops | None = None,
        dry_run: bool = False,
        seed: int = 0,
    ) -> None:
        self._spec, self._manager, self.session = spec, manager, session
        self._stops, self._dry_run = stops or Stops(), dry_run
        self._period, self._break = round(spec.dt * 1e9), round(max(BREAK, 5 * spec.dt) * 1e9)
        self._delay = delay_periods(spec)  # ticks
        self.safety = SafetyFilter(spec)
        self._envelope = Envelope(spec)
        self.goals = Goals(spec, seed)
        self._commands: deque[Array] = deque(maxlen=self._delay + LONGEST_AGE)
        self._settle()
        self._targets = Targets(spec)
        self._reward = TermReward(spec, self._targets)
        self._terminated = RangeTermination(spec)
        self._sent: _Sent | None = None
        self._started: int | None = None  # robot time of the first tick
        self._last_time = 0  # of the last tick
        self._episode_start: int | None = None
        self.resetting = False
        self._sequence = 0
        self.episode, self.step = 1, 0
        self.episode_return, self.last_return = 0.0, math.nan
        self.robot_time = 0.0  # s since the first tick
        self.safe_reason = "waits for the robot's state"

    @property
    def transitions(self) -> int:
        """How many transitions there have been."""
        return self._sequence

    @property
    def held_time(self) -> float:
        """s for which the goal holds without a break."""
        return self.goals.held_time

    @property
    def solved_at(self) -> float:
        """When the task was solved, s of robot time; see `Goals`."""
        return self.goals.solved_at

    @property
    def episode_time(self) -> float:
        """s since the episode began."""
        if self._started is None or self._episode_start is None:
            return 0.0
        return self.robot_time - (self._episode_start - self._started) * 1e-9

    @property
    def last_action(self) -> Array:
        """What the robot was sent last, [m]."""
        return self.safety.last_action

    def begin_episode(self) -> None:
        """The robot was reset; the next observation is the first of a new episode."""
        self._stops.release_envelope()
        self.resetting = False

    def restart(self) -> None:
        """Forgets what was commanded and planned: the robot has its safe command, and has had it
        for long enough."""
        self.safety.reset()
        self._settle()
        self._forget()

    def tick(
        self,
        observation: Observation | None,
        problem: str = "",
        send: Callable[[Array], None] = lambda action: None,
    ) -> Tick:
        """Decides what the robot is sent now.

        Args:
            observation: None when there is none that may be used.
            problem: why there is none, or why the robot must get its safe command in spite of it.
            send: called with the command as soon as it is known, before the bookkeeping.
        """
        if observation is None:
            return self._safe(problem, send)
        self._keep_time(observation.time)
        breach = self._envelope.check(observation.state)
        self._stops.watch(None if self.resetting else breach)
        if stop := self._stops.reason or problem:
            action = self._safe(stop, send).action
            leaves = breach is not None and breach.message == stop and not self.resetting
            if not leaves or not self._spec.episode.reset_service:
                return Tick(action)
            return Tick(action, None, True, [self._end_episode(observation, "left its envelope")])
        if self.resetting:
            return self._safe(RESETTING, send)
        if self._episode_start is None:
            self._episode_start = observation.time
        events = list(filter(None, (self.goals.aim(observation.time),)))
        sent = self._act(observation, breach.message if breach else "", send)
        transition = self._complete(observation)
        events += self.goals.watch(observation.state, observation.time, self._started or 0)
        self._sent = sent
        if transition is not None and (transition.terminated or transition.truncated):
            why = "left its limits" if transition.terminated else "reached its length"
            events.append(self._end_episode(observation, why))
            if self.resetting:  # which may be over before the next tick
                self._forget()
        return Tick(sent.action, transition, self.resetting, events)

    def _keep_time(self, now: int) -> None:
        if self._started is None or now < self._last_time:
            self._started = now  # first tick, or the clock was set back
            self._episode_start = None
            self._forget()
        elif now - self._last_time > self._break:
            self._settle()  # the process or the clock stood still
            self._forget()
        self._last_time = now
        self.robot_time = (now - self._started) * 1e-9

    def _settle(self) -> None:
        """The robot has had its last command for long enough for it to have its effect."""
        self._commands.extend([self.last_action] * (self._delay + LONGEST_AGE))

    def _forget(self) -> None:
        self.goals.begin()
        if self._sent is not None:
            self._sent = None
            self._manager.restart()

    def _act(self, observation: Observation, breach: str, send: Callable[[Array], None]) -> _Sent:
        age = observation.time - observation.stamp
        lag = self._delay + min(max(0, round(age / self._period)), LONGEST_AGE)
        if lag:
            in_flight = tuple(list(self._commands)[-lag:])
            observation = replace(observation, in_flight=in_flight)
        if self.goals.targets.size:
            observation = replace(observation, targets=self.goals.targets)
        requested = self._manager.update(observation, self.last_action, breach)
        action = self._send(requested, send)
        self._manager.commanded(observation, action)
        self.safe_reason = ""
        if self._manager.acting is self._manager.resting is not self._manager.active:
            self.safe_reason = self._manager.failure
        acting = self._manager.acting
        return _Sent(observation, action, requested, acting.name, acting.model_version)

    def _send(self, requested: Array, send: Callable[[Array], None]) -> Array:
        action = self.safety(requested)
        send(action)
        self._commands.append(action)
        return action

    def _safe(self, reason: str, send: Callable[[Array], None]) -> Tick:
        self.safe_reason = reason
        self._forget()
        return Tick(self._send(self._spec.action_safe, send))

    def _complete(self, now: Observation) -> Transition | None:
        """The transition from the tick before to this one."""
        sent = self._sent
        if sent is None or self._dry_run:
            return None
        in_effect = sent.observation.in_effect(sent.action)
        next_state = torch.as_tensor(now.state)
        state, action = torch.as_tensor(sent.observation.state), torch.as_tensor(in_effect)
        targets = sent.observation.targets
        if targets.size:
            self._targets.set(targets)
        reward = float(self._reward(state, action, next_state))
        terminated = bool(self._terminated(next_state))
        length = self._spec.episode.length
        transition = Transition(
            self.session,
            self._sequence,
            self.episode,
            self.step,
            sent.observation.stamp,
            now.stamp,
            sent.observation.state,
            in_effect,
            sent.requested,
            now.state,
            reward,
            terminated,
            not terminated and self.episode_time >= length - 1e-6,
            sent.controller,
            sent.model_version,
            targets,
        )
        self._sequence += 1
        self.step += 1
        self.episode_return += reward
        return transition

    def _end_episode(self, now: Observation, why: str) -> str:
        event = (
            f"episode {self.episode} {why} after {self.episode_time:.1f} s, "
            f"return {self.episode_return:.1f}"
        )
        self.last_return, self.episode_return = self.episode_return, 0.0
        self.episode, self.step = self.episode + 1, 0
        self.resetting = self._spec.episode.reset_service is not None
        self._episode_start = None if self.resetting else now.time
        return event
