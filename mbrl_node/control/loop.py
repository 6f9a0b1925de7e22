"""One tick of control: state in, limited action and transition out; stops, episodes, the way back
to where one begins, trust and the goal.

This is the whole control logic, without clocks, threads or ROS: the caller says what time it is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl_node.control.controller import Observation, no_limits
from mbrl_node.control.manager import ControllerManager
from mbrl_node.control.recovery import RecoveryError, RecoveryRoutine
from mbrl_node.control.safety import Envelope, SafetyFilter
from mbrl_node.control.stops import StopError, Stops
from mbrl_node.control.trust import Trust
from mbrl_node.data import Transition
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.goals import Goals
from mbrl_node.spec.operation import Episode
from mbrl_node.spec.robot import delay_periods
from mbrl_node.spec.terms import RangeTermination, Targets, TermReward

Array = NDArray[np.float64]
RESETTING = "the robot is being reset"
GO = "an operator's go (~/go)"
RELEASE = "an operator's release (~/release_estop)"
BREAK = 0.25  # s without a tick after which what was planned before counts no more
LONGEST_AGE = 64  # ticks; the commands since an older measurement are not all known any more


class Phase(Enum):
    """What the robot does: an episode, or what leads from one to the next, in this order."""

    EPISODE = auto()
    RECOVERY = auto()  # a controller brings it back
    RESET = auto()  # a service does
    HAND = auto()  # an operator does, and says go


class Event(NamedTuple):
    """Something that the history of a run must tell; see mbrl_msgs/Event."""

    kind: str  # episode, target or trust
    text: str


@dataclass(frozen=True, slots=True)
class Tick:
    """What came of a tick."""

    action: Array  # the last that was sent, [m]
    transition: Transition | None = None
    reset: bool = False  # the robot is to be reset now, then `begin_episode` called
    events: list[Event] = field(default_factory=list)


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
        model: the version of the model in use, 0 where there is none, and its held-out error.

    Attributes:
        phase: what the robot does now.
    """

    def __init__(
        self,
        spec: RobotSpec,
        manager: ControllerManager,
        session: int,
        stops: Stops | None = None,
        dry_run: bool = False,
        seed: int = 0,
        model: Callable[[], tuple[int, float]] = lambda: (0, math.nan),
    ) -> None:
        self._spec, self._manager, self.session = spec, manager, session
        self._stops, self._dry_run = stops or Stops(), dry_run
        self._period, self._break = round(spec.dt * 1e9), round(max(BREAK, 5 * spec.dt) * 1e9)
        self._delay = delay_periods(spec)  # ticks
        self.safety = SafetyFilter(spec)
        self._envelope = Envelope(spec)
        self._model, self.trust, self._limits = model, Trust(spec), no_limits()
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
        self._outside = False  # of the ranges that end an episode
        self._phases = _phases(spec.episode)
        self.phase = Phase.HAND if spec.episode.reset_by_hand else Phase.EPISODE
        recovery = spec.episode.recovery
        self._recovery = (
            RecoveryRoutine(spec, recovery, lambda: manager.controllers) if recovery else None
        )
        self._refusal = "nothing is commanded yet"  # why an operator's go would be refused
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

    @property
    def resetting(self) -> bool:
        """Whether a service is to reset the robot, or does so now."""
        return self.phase is Phase.RESET

    @property
    def acting(self) -> str:
        """Name of the controller in command."""
        controller = self._recovery.controller if self._recovery else None
        return (controller or self._manager.acting).name

    @property
    def waits_for(self) -> str:
        """What has to happen before the active controller may act; empty: nothing."""
        return RELEASE if self._stops.reason else self._next

    @property
    def _next(self) -> str:
        """What leads to the next episode; empty: one is going on."""
        episode = self._spec.episode
        if self.phase is Phase.RECOVERY and episode.recovery is not None:
            return f"its recovery by '{episode.recovery.controller}'"
        if self.phase is Phase.RESET:
            return f"its reset by {episode.reset_service}"
        return GO if self.phase is Phase.HAND else ""

    def begin_episode(self) -> None:
        """The robot was reset by its service; the next observation is the first of a new episode.
        May be called from any thread."""
        if self.phase is Phase.RESET:
            self.phase = Phase.EPISODE

    def go(self) -> str:
        """An operator says that an episode may begin; tells what follows.

        Raises:
            StopError: nobody waits for that, or the robot would not be commanded.
        """
        if self.phase is not Phase.HAND:
            other = f", but for {self.waits_for}" if self.waits_for else ""
            raise StopError(f"the robot does not wait for a go{other}")
        if self._refusal:
            raise StopError(self._refusal)
        self.phase = Phase.EPISODE
        return f"episode {self.episode} begins"

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
            if self._recovery is not None and self._recovery.controller is not None:
                self._stops.trip(f"the recovery failed: {problem}")
            return self.stop(problem, send)
        self._keep_time(observation.time)
        breach = self._envelope.check(observation.state)
        beyond, hard = ("", False) if breach is None else (breach.message, breach.hard)
        before, events = self.phase, list[Event]()
        left = self._stops.watch(breach, latches=before is Phase.EPISODE)
        if left:
            _note(events, "trust", self.trust.lose(beyond))
        stop = self._stops.reason or problem
        self._refusal = stop or (beyond if hard else "")
        if stop:
            action = self._safe(stop, send)
            if left and stop == beyond and self._spec.episode.resets:
                self._stops.release_envelope()  # it is not commanded before it is back
                self._end_episode(observation, f"left its envelope ({beyond})", events)
            return Tick(action, None, self.resetting and left, events)
        if before is Phase.RECOVERY:
            recovering = self._recover(observation, beyond if hard else "", events, send)
            if recovering is not None:
                return Tick(recovering, None, False, events)
        if self.phase is Phase.EPISODE:
            return self._go_on(observation, beyond, events, send)
        reason = RESETTING if self.resetting else f"waits for {self._next}"
        action = self._safe(reason, send)
        return Tick(action, None, self.resetting and before is not Phase.RESET, events)

    def stop(self, reason: str, send: Callable[[Array], None] = lambda action: None) -> Tick:
        """A tick that only takes the command to the safe one."""
        self._refusal = reason
        return Tick(self._safe(reason, send))

    def _recover(
        self, now: Observation, outside: str, events: list[Event], send: Callable[[Array], None]
    ) -> Array | None:
        """What is sent on the way back; None: the robot is back."""
        assert self._recovery is not None
        now = self._completed(now)
        try:
            requested = self._recovery.update(now, self.last_action, outside)
        except RecoveryError as error:
            self._stops.trip(f"the recovery failed: {error}")
            return self._safe(self._stops.reason, send)
        if requested is None:
            self._recovery.restart()
            self.phase = self._following()
            then = f"waits for {self._next}" if self._next else f"begins episode {self.episode}"
            _note(events, "episode", f"the robot is back, and {then}")
            return None
        action = self._send(requested, send)
        self._recovery.commanded(now, action)
        self.safe_reason = ""
        return action

    def _go_on(
        self, now: Observation, beyond: str, events: list[Event], send: Callable[[Array], None]
    ) -> Tick:
        """A tick of an episode."""
        if self._episode_start is None:
            self._episode_start = now.time
        version, error = self._model()
        _note(events, "trust", self.trust.look(version))
        kind = "target" if self._spec.targets else "episode"
        _note(events, kind, self.goals.aim(now.time))
        sent = self._act(now, beyond, send)
        transition = self._complete(now)
        _note(events, kind, *self.goals.watch(now.state, now.time, self._started or 0))
        before, self._sent = self._sent, sent
        if before is None or transition is None:
            return Tick(sent.action, None, False, events)
        if before.model_version:
            acted = 1e-9 * (now.time - before.observation.time)
            _note(events, "trust", self.trust.earn(acted, error))
        # Where nothing leads back, leaving counts once, not at each tick outside.
        leaves = transition.terminated and (self._spec.episode.resets or not self._outside)
        self._outside = transition.terminated
        if leaves or transition.truncated:
            self._end_episode(now, "left its limits" if leaves else "reached its length", events)
            if self.phase is not Phase.EPISODE:  # it may be again before the next tick
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
        if self._recovery is not None:
            self._recovery.restart()
        if self._sent is not None:
            self._sent = None
            self._manager.restart()

    def _completed(self, observation: Observation) -> Observation:
        """With all that a controller is told."""
        age = observation.time - observation.stamp
        lag = self._delay + min(max(0, round(age / self._period)), LONGEST_AGE)
        if lag:
            in_flight = tuple(list(self._commands)[-lag:])
            observation = replace(observation, in_flight=in_flight)
        if self.goals.targets.size:
            observation = replace(observation, targets=self.goals.targets)
        if self.trust.limits.size:
            observation = replace(observation, limits=self.trust.limits)
        return observation

    def _act(self, observation: Observation, breach: str, send: Callable[[Array], None]) -> _Sent:
        observation = self._completed(observation)
        requested = self._manager.update(observation, self.last_action, breach)
        action = self._send(requested, send)
        self._manager.commanded(observation, action)
        self.safe_reason = ""
        if self._manager.acting is self._manager.resting is not self._manager.active:
            self.safe_reason = self._manager.failure
        acting = self._manager.acting
        return _Sent(observation, action, requested, acting.name, acting.model_version)

    def _send(self, requested: Array, send: Callable[[Array], None]) -> Array:
        if self._limits is not self.trust.limits:
            self._limits = self.trust.limits
            self.safety.narrow(self._limits)
        action = self.safety(requested)
        send(action)
        self._commands.append(action)
        return action

    def _safe(self, reason: str, send: Callable[[Array], None]) -> Array:
        self.safe_reason = reason
        self._forget()
        return self._send(self._spec.action_safe, send)

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

    def _end_episode(self, now: Observation, why: str, events: list[Event]) -> None:
        took, total = self.episode_time, self.episode_return
        event = f"episode {self.episode} {why} after {took:.1f} s, return {total:.1f}"
        self.last_return, self.episode_return = self.episode_return, 0.0
        self.episode, self.step = self.episode + 1, 0
        self.phase = self._following()
        self._episode_start = now.time if self.phase is Phase.EPISODE else None
        if self.phase in (Phase.RECOVERY, Phase.HAND):
            event += f"; the robot waits for {self._next}"
        _note(events, "episode", event)

    def _following(self) -> Phase:
        """What comes after the phase of now."""
        return self._phases[(self._phases.index(self.phase) + 1) % len(self._phases)]


def _phases(episode: Episode) -> list[Phase]:
    """What an episode of a robot is followed by, again and again."""
    wanted = (
        (Phase.EPISODE, True),
        (Phase.RECOVERY, episode.recovery is not None),
        (Phase.RESET, episode.reset_service is not None),
        (Phase.HAND, episode.reset_by_hand),
    )
    return [phase for phase, there in wanted if there]


def _note(events: list[Event], kind: str, *said: str) -> None:
    events.extend(Event(kind, text) for text in said if text)
