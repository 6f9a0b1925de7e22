"""RobotSpec: the contract between a robot and everything that learns from it or drives it.

A robot is a YAML file; config/robots/cartpole.yaml explains every key. A RobotSpec does not change,
and what it holds is consistent: names are unique, references resolve, limits and times make sense.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, PrivateAttr, ValidationError

from mbrl_node.spec.action import ActionTopic
from mbrl_node.spec.display import Display
from mbrl_node.spec.errors import Location, Problem, SpecError, from_pydantic, line, show
from mbrl_node.spec.operation import Episode, Trust
from mbrl_node.spec.parts import (
    Constraint,
    EnvelopeRange,
    Goal,
    ListOf,
    Name,
    NonEmptyListOf,
    Positive,
    RewardTerm,
    SpecModel,
    StateRange,
)
from mbrl_node.spec.references import reference_problems
from mbrl_node.spec.simulation import Sim
from mbrl_node.spec.system import FloatArray, Quaternion, System, hash_of
from mbrl_node.spec.targets import TargetField, TargetTopic
from mbrl_node.spec.topics import StateField, StateTopic

# What a task is; a task's file has some of these keys, and takes the place of the robot's own.
DEFAULT_TASK = "default"
TASK_KEYS = (
    "task",
    "targets",
    "reward",
    "termination",
    "constraints",
    "goal",
    "episode",
    "settings",
)


class RobotSpec(SpecModel):
    """A robot and its task. Made by `load_spec` from a file or by `RobotSpec.from_dict`."""

    name: Name = Field(description="the robot's name")
    rate: Positive = Field(description="control rate in Hz")
    state: NonEmptyListOf[StateTopic] = Field(description="the topics the state comes from")
    action: ActionTopic = Field(description="where commands go, and their limits")
    envelope: ListOf[EnvelopeRange] = Field(
        (), description="the ranges outside of which the robot is pushed back or stopped"
    )
    trust: Trust | None = Field(None, description="how far commands may go at first")
    task: Name = Field(DEFAULT_TASK, description="the task's name")
    targets: ListOf[TargetTopic] = Field(
        (), description="what the task aims at, told on topics: goals and references"
    )
    reward_terms: NonEmptyListOf[RewardTerm] = Field(
        alias="reward", description="the terms whose weighted sum is the reward"
    )
    termination: ListOf[StateRange] = Field((), description="the ranges that end an episode")
    constraints: ListOf[Constraint] = Field((), description="the ranges that plans keep within")
    settings: dict[str, Any] = Field(
        {}, description="parameters that fit this robot better than the defaults"
    )
    goal: Goal | None = Field(None, description="when the task counts as solved")
    episode: Episode = Field(description="how long an episode is, and how to reset")
    sim: Sim | None = Field(None, description="how PyBullet builds the robot")
    display: Display | None = Field(None, description="the state fields that are a place")

    _path: Path | None = PrivateAttr(None)
    _source: str = PrivateAttr("robot spec")

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, object],
        source: str = "robot spec",
        path: Path | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> RobotSpec:
        """Validates what a YAML file says.

        Args:
            data: the parsed document: mappings, lists, text, numbers.
            source: what the lines of an error begin with; a file's path as the user gave it.
            path: the file it came from.
            sources: the same as `source`, of keys that came from another file.

        Raises:
            SpecError: with one line for every problem.
        """
        try:
            spec = cls.model_validate(data)
        except ValidationError as error:
            problems = (*from_pydantic(error, cls), *reference_problems(data))
            from_other = sources or {}
            raise SpecError(
                line(from_other.get(str(problem.at[0]), source) if problem.at else source, problem)
                for problem in dict.fromkeys(problems)
            ) from None
        spec._path, spec._source = path, source
        return spec

    def with_overrides(self, **overrides: object) -> RobotSpec:
        """The same robot with some keys changed; a mapping changes only the keys it names.

        `spec.with_overrides(rate=50.0, episode={"length": 10.0})`

        Raises:
            SpecError: the result is not valid.
        """
        if not overrides:
            return self
        data = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        spec = RobotSpec.from_dict(
            _merged(data, overrides), f"{self._source} with overrides", self._path
        )
        spec._source = self._source
        return spec

    def check(self) -> Iterator[Problem]:
        references = list(reference_problems(self.model_dump(mode="json", by_alias=True)))
        yield from references
        yield from self._check_times()
        yield from self._check_settings()
        if not references:
            yield from self._check_angles()

    def _check_settings(self) -> Iterator[Problem]:
        for section, values in self.settings.items():
            if not isinstance(values, dict) and section != "controller":
                text = f"{show(values)} is not a mapping of parameters, such as {{samples: 200}}"
                yield Problem(("settings", section), text)

    def _check_times(self) -> Iterator[Problem]:
        length = self.episode.length
        if length < self.dt:
            yield Problem(
                ("episode", "length"),
                f"{show(length)} is shorter than one control period, {show(self.dt)} s",
            )
        if self.action.delay > length:
            yield Problem(
                ("action", "delay"),
                f"{show(self.action.delay)} is longer than episode.length {show(length)}",
            )
        if self.goal is not None and self.goal.in_a_row > 1 and not self.targets:
            yield Problem(("goal", "in_a_row"), "is of targets, and the task has none")
        if self.goal is not None and self.goal.hold_time > length:
            yield Problem(
                ("goal", "hold_time"),
                f"{show(self.goal.hold_time)} is longer than episode.length {show(length)}",
            )
        if self.sim is not None and self.sim.state_rate < self.rate:
            yield Problem(
                ("sim", "state_rate"),
                f"{show(self.sim.state_rate)} is below the control rate {show(self.rate)}",
            )
        for i, topic in enumerate(self.state):
            if self.sim is not None and topic.timeout < 1.0 / self.sim.state_rate:
                yield Problem(
                    ("state", i, "timeout"),
                    f"{show(topic.timeout)} is shorter than a period of sim.state_rate"
                    f" {show(self.sim.state_rate)}",
                )

    def _check_angles(self) -> Iterator[Problem]:
        angles = {field.name for field in self.state_fields if field.angle}
        bounds: list[tuple[Location, str, float | None]] = []
        for i, term in enumerate(self.reward_terms):
            bounds.append((("reward", i, "limit"), term.of[0], term.limit))
        for key, ranges in (("termination", self.termination), ("constraints", self.constraints)):
            for i, allowed in enumerate(ranges):
                bounds.append(((key, i, "min"), allowed.of, allowed.min))
                bounds.append(((key, i, "max"), allowed.of, allowed.max))
        for i, limits in enumerate(self.envelope):
            for key in ("min", "max", "soft_min", "soft_max"):
                bounds.append((("envelope", i, key), limits.of, getattr(limits, key)))
        for at, name, bound in bounds:
            if name in angles and bound is not None and abs(bound) >= math.pi:
                yield Problem(
                    at, f"{show(bound)} is never passed: {name} is an angle, within (-pi, pi]"
                )

    @property
    def path(self) -> Path | None:
        """The file the spec was loaded from, if any."""
        return self._path

    @property
    def dt(self) -> float:
        """The control period in s."""
        return 1.0 / self.rate

    @property
    def state_fields(self) -> tuple[StateField, ...]:
        """The fields of the state vector, in order, whichever topic they come from."""
        return tuple(field for topic in self.state for field in topic.fields)

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.state_fields)

    @property
    def action_names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.action.fields)

    @property
    def state_dim(self) -> int:
        return len(self.state_fields)

    @property
    def action_dim(self) -> int:
        return len(self.action.fields)

    @property
    def target_fields(self) -> tuple[TargetField, ...]:
        """The numbers that the task aims at, in order, whichever topic they come from."""
        return tuple(field for topic in self.targets for field in topic.fields)

    @property
    def target_names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.target_fields)

    @property
    def angle_mask(self) -> npt.NDArray[np.bool_]:
        """Which state fields are angles, [state_dim]."""
        return np.array([field.angle for field in self.state_fields])

    @property
    def quaternions(self) -> tuple[Quaternion, ...]:
        """The columns of four fields of one topic with the paths P.x, P.y, P.z and P.w, where P
        ends in orientation or rotation."""
        found: list[Quaternion] = []
        first = 0
        for topic in self.state:
            for x, y, z, w in topic.orientations:
                found.append((first + x, first + y, first + z, first + w))
            first += len(topic.fields)
        return tuple(found)

    @property
    def model_inputs(self) -> tuple[str, ...]:
        """The state fields that a dynamics model looks at, in order."""
        return tuple(field.name for field in self.state_fields if field.model_input)

    @property
    def action_min(self) -> FloatArray:
        """The lowest action, [action_dim]."""
        return np.array([field.min for field in self.action.fields])

    @property
    def action_max(self) -> FloatArray:
        """The highest action, [action_dim]."""
        return np.array([field.max for field in self.action.fields])

    @property
    def action_safe(self) -> FloatArray:
        """The action to send when there is nothing better, [action_dim]."""
        return np.array([field.safe for field in self.action.fields])

    @property
    def action_max_rate(self) -> FloatArray:
        """The fastest change of the action per s, inf where it has no limit, [action_dim]."""
        rates = (field.max_rate for field in self.action.fields)
        return np.array([math.inf if rate is None else rate for rate in rates])

    @property
    def action_max_jerk(self) -> FloatArray:
        """The fastest change of the action's change per s^2, inf where it has no limit,
        [action_dim]."""
        jerks = (field.max_jerk for field in self.action.fields)
        return np.array([math.inf if jerk is None else jerk for jerk in jerks])

    @cached_property
    def hash(self) -> int:
        """A number from 1 to 2^63 - 1 that says what the numbers of a transition mean.

        Two specs with the same hash can share transitions and dynamics models. It covers what
        state, action and one step are: the rate, and for each field in order its name, source or
        destination (topic, type, and joint, value or path), unit and angle flag. A topic counts
        because it decides what a number does: the same array drives an effort or a velocity
        controller. So does the delay of the commands: a transition has the one in effect.

        It leaves out what can change without making old data wrong: the action's limits (3 N is
        3 N whether 5 or 10 are allowed), the envelope, the timeout, what a model looks at, the
        simulation and the display, and the task (reward, termination, goal, episode), because
        models learn the dynamics alone.
        """
        state = [
            (topic.topic, topic.type, field.name, *field.source, field.unit, field.angle)
            for topic in self.state
            for field in topic.fields
        ]
        action = [
            (self.action.topic, self.action.type, field.name, field.destination, field.unit)
            for field in self.action.fields
        ]
        delay = [self.action.delay] if self.action.delay else []  # hashes from before it stay
        return hash_of([self.rate, state, action, *delay])


def delay_periods(system: System) -> int:
    """Control periods from a command's being sent to its effect: 0 but for a robot whose file says
    otherwise."""
    return round(system.action.delay / system.dt) if isinstance(system, RobotSpec) else 0


def target_names(system: System) -> tuple[str, ...]:
    """The names of the targets of a task: those of a robot's file, and else none."""
    return system.target_names if isinstance(system, RobotSpec) else ()


def _merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(data)
    for key, change in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(change, Mapping):
            result[key] = _merged(old, change)
        else:
            result[key] = change
    return result
