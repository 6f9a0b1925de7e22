"""When a run came to its goal, worked out from what is stored: that is there for every run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl_node.data import Records
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.terms import Targets, weighted

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Attained:
    """What became of a goal; times are s of the run's robot time."""

    solved_at: (
        float  # the hold that solved it began, or the last of the targets in a row was reached; NaN
    )
    longest: float  # s for which the goal held without a break, at most
    reached: tuple[float, ...]  # when each target was
    given_up: int  # targets


def attained(records: Records, times: Array, spec: RobotSpec) -> Attained | None:
    """What `mbrl_node.spec.goals.Goals` has seen; None where the task has no goal.

    Args:
        records: of sessions that had this task, [N].
        times: when each began, s, [N].
    """
    if spec.goal is None or not spec.goal.conditions:
        return None
    need, in_a_row, longest = spec.goal.hold_time - 1e-6, 0, 0.0
    solved, reached, given_up = math.nan, [], 0
    before: tuple[object, ...] = ()  # session and targets
    done = True  # what these were about
    for rows, began in _stretches(records, times):
        aim = rows["targets"][0, : len(spec.target_names)]
        now = int(rows["session"][0]), aim.tobytes()
        if now != before:
            if not done:
                given_up, in_a_row = given_up + 1, 0
            if before and now[0] != before[0]:
                in_a_row = 0
            before, done = now, not spec.targets
        for start, held in _holds(rows, aim, spec):
            longest = max(longest, held)
            if held < need:
                continue
            if spec.targets:
                if done:
                    continue
                done, in_a_row = True, in_a_row + 1
                reached.append(began + start)
            if math.isnan(solved) and (not spec.targets or in_a_row == spec.goal.in_a_row):
                solved = began + start
    return Attained(solved, longest, tuple(reached), given_up)


def _stretches(records: Records, times: Array) -> Iterator[tuple[Records, float]]:
    """Rows that follow on each other, aim at the same and are of one episode, and when they began;
    a row of which it is not known when it was is left out."""
    known = np.isfinite(times)
    records, times = records[known], times[known]
    if not len(records):
        return
    breaks = records["stamp"][1:] != records["next_stamp"][:-1]
    for name in ("session", "episode"):
        breaks |= records[name][1:] != records[name][:-1]
    aims = np.nan_to_num(records["targets"])
    breaks |= (aims[1:] != aims[:-1]).any(axis=1)
    for first, end in pairwise([0, *(np.flatnonzero(breaks) + 1).tolist(), len(records)]):
        yield records[first:end], float(times[first])


def _holds(rows: Records, aim: Array, spec: RobotSpec) -> Iterator[tuple[float, float]]:
    """Each time that the goal held: when that began, s from the first row on, and for how long."""
    assert spec.goal is not None
    states = np.concatenate((rows["state"], rows["next_state"][-1:]))
    seconds = np.append(rows["stamp"], rows["next_stamp"][-1:]).astype(np.int64)
    seconds = (seconds - seconds[0]) * 1e-9
    targets = Targets(spec)
    if aim.size:
        targets.set(aim)
    good = np.isfinite(states).all(axis=1)
    for condition in spec.goal.conditions:
        value = weighted(spec, condition, 1.0).value(torch.from_numpy(states), targets).numpy()
        low, high = condition.min, condition.max
        good &= (low is None) | (value >= (low or 0.0))
        good &= (high is None) | (value <= (high or 0.0))
    edges = np.flatnonzero(np.diff(np.concatenate(([False], good, [False])).astype(np.int8)))
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        yield float(seconds[first]), float(seconds[end - 1] - seconds[first])
