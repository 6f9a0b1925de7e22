"""From measurements and commands to transitions, one a control period, as the controller of the
robot would have seen them.

A tick has the newest measurement of each topic that had come by then, not older than the topic's
timeout. Ticks follow the commands: a controller that runs at the control rate sends one a tick, and
which command was in effect is known to the tick only if ours are at the same times. Among commands
of another rate, ticks are one control period apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl_node.data.bags.gather import Samples, Times
from mbrl_node.data.records import Records, record_type
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.robot import delay_periods
from mbrl_node.spec.terms import RangeTermination, Targets, TermReward

CONTROLLER = b"bag"
HOLD = (
    0.5  # s for which a command stays in effect when none comes after it: whoever sent it is gone
)
_FOLLOW = 0.1  # part of the way to the nearest command that a tick moves
_EARLY = 0.25  # of a period: a command that comes this much after a tick is of this tick
_LONGEST_AGE = 64  # ticks

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Resampled:
    """The transitions, and what could not be used."""

    records: Records  # session 0
    unusable: Counter[str]  # why ticks were, and how many
    gaps: int  # between the first tick and the last
    notes: tuple[str, ...]


def resample(
    spec: RobotSpec, states: Sequence[Samples], commands: Samples, targets: Sequence[Samples]
) -> Resampled:
    """Transitions from what was recorded; their session is 0.

    An episode ends at a gap, where the robot's file says that one ends, and after its length.

    Args:
        states: of each state topic of the robot, in the order of its file.
        commands: values [K, m].
        targets: of each topic of the task's targets, in the order of the robot's file.
    """
    period, hold = round(spec.dt * 1e9), round(max(HOLD, 3 * spec.dt) * 1e9)
    timeouts = [round(topic.timeout * 1e9) for topic in spec.state]
    notes = [*_limit_notes(spec, commands), *_target_notes(spec, targets)]
    if clock := _other_clock(states, timeouts):
        notes.append(
            "measurements are stamped by another clock than the bag's, as in simulation: "
            "time is taken from the stamps"
        )
        states = [replace(it, received=clock(it.received)) for it in states]
        commands = replace(commands, received=clock(commands.received))
        targets = [replace(it, received=clock(it.received)) for it in targets]
    states = [_in_order(*pair) for pair in zip(states, timeouts, strict=True)]
    ticks, span = _ticks(commands.received, period, hold)
    until = max((int(it.received[-1]) for it in states if len(it.received)), default=0)
    ticks, span = ticks[ticks <= until], span[ticks <= until]
    state, stamp, why = _measured(spec, states, timeouts, ticks)
    # As the control loop does: the older the state, the earlier the command that was in effect.
    lag = delay_periods(spec) + np.clip(np.rint((ticks - stamp) / period), 0, _LONGEST_AGE)
    requested, _ = _commanded(commands, ticks, period, hold)
    action, known = _commanded(commands, ticks - lag.astype(np.int64) * period, period, hold)
    why[(why == "") & ~known] = "without a command that is known to have been in effect"

    measured = why == ""
    ended = measured & RangeTermination(spec)(torch.from_numpy(state)).numpy()
    follows = measured[:-1] & measured[1:] & (span[1:] == span[:-1])
    first = np.flatnonzero(follows & ~ended[:-1])
    why[1:][ended[1:] & ~(follows & ~ended[:-1])] = "beyond where an episode ends"
    aimed = _aimed(spec, targets, ticks[first])
    records = np.zeros(len(first), record_type(spec.state_dim, spec.action_dim, aimed.shape[1]))
    records["stamp"], records["next_stamp"] = stamp[first], stamp[first + 1]
    records["state"], records["next_state"] = state[first], state[first + 1]
    records["action"], records["action_requested"] = action[first], requested[first]
    records["targets"] = aimed
    aim = Targets(spec)
    aim.values = torch.from_numpy(aimed.T)  # of each row its own
    tensors = (torch.from_numpy(x) for x in (state[first], action[first], state[first + 1]))
    records["reward"] = TermReward(spec, aim)(*tensors).numpy()
    records["terminated"], records["controller"] = ended[first + 1], CONTROLLER
    gaps = _number(records, first, max(1, round(spec.episode.length / spec.dt)))
    return Resampled(records, Counter(why[why != ""].tolist()), gaps, tuple(notes))


def _other_clock(
    states: Sequence[Samples], timeouts: Sequence[int]
) -> Callable[[Times], Times] | None:
    """From the bag's time to that of the stamps, where these are of another clock."""
    for samples, timeout in zip(states, timeouts, strict=True):
        stamped = samples.stamp > 0
        received, stamp = samples.received[stamped], samples.stamp[stamped]
        if len(stamp) and np.median(np.abs(stamp - received)) > timeout:
            rising = stamp == np.maximum.accumulate(stamp)
            received, stamp = received[rising], stamp[rising]

            def convert(times: Times, x: Times = received, y: Times = stamp) -> Times:
                # Of differences, because a double does not hold all digits of a time.
                passed = np.interp(times - x[0], x - x[0], y - y[0])
                result: Times = np.rint(passed).astype(np.int64) + y[0]
                return result

            return convert
    return None


def _in_order(samples: Samples, timeout: int) -> Samples:
    """What a controller takes over: what is not from the future, and newer than all before."""
    stamp = np.where(samples.stamp > 0, samples.stamp, samples.received)
    there = stamp - samples.received <= timeout
    newest = np.maximum.accumulate(np.where(there, stamp, 0))
    there[1:] &= stamp[1:] > newest[:-1]
    return Samples(samples.received[there], stamp[there], samples.values[there])


def _ticks(commands: Times, period: int, hold: int) -> tuple[Times, NDArray[np.int64]]:
    """The ticks while there are commands, and for each the unbroken span of time it is in, [T]."""
    ticks: list[int] = []
    span: list[int] = []
    breaks = np.flatnonzero(np.diff(commands) > hold) + 1
    for number, part in enumerate(np.split(commands, breaks) if len(commands) else ()):
        times, near, tick = part.tolist(), 0, int(part[0])
        while tick <= times[-1] + hold:
            ticks.append(tick)
            span.append(number)
            tick += period
            while near + 1 < len(times) and abs(times[near + 1] - tick) <= abs(times[near] - tick):
                near += 1
            if abs(off := times[near] - tick) <= period / 2:
                tick += round(_FOLLOW * off)
    return np.array(ticks, np.int64), np.array(span, np.int64)


def _measured(
    spec: RobotSpec, states: Sequence[Samples], timeouts: Sequence[int], ticks: Times
) -> tuple[NDArray[np.float64], Times, NDArray[Any]]:
    """State [T, n] and its stamp [T] at ticks, and why there is none, "" where there is [T]."""
    stamp, why = ticks.copy(), np.full(len(ticks), "", object)
    columns = []
    for topic, samples, timeout in zip(spec.state, states, timeouts, strict=True):
        index = np.searchsorted(samples.received, ticks, side="right") - 1
        none = index < 0
        if not len(samples.received):
            samples, index = _nothing(samples), np.zeros(len(ticks), np.int64)
        received, stamped = samples.received[index], samples.stamp[index]
        old = (ticks - received > timeout) | (received - stamped > timeout)
        why[none | old] = f"without a state on {topic.topic} that is not older than its timeout"
        stamp = np.minimum(stamp, np.where(none | old, stamp, stamped))
        columns.append(samples.values[index])
    return np.concatenate(columns, 1), stamp, why


def _nothing(samples: Samples) -> Samples:
    """One row where there is none, so that it can be indexed."""
    zero = np.zeros(1, np.int64)
    return Samples(zero, zero, np.zeros((1, samples.values.shape[1])))


def _commanded(
    commands: Samples, times: Times, period: int, hold: int
) -> tuple[NDArray[np.float64], Mask]:
    """The newest command at each time [T, m], and whether there is one [T]."""
    if not len(commands.received):
        return np.zeros((len(times), commands.values.shape[1])), np.zeros(len(times), bool)
    times = times + round(_EARLY * period)
    index = np.searchsorted(commands.received, times, side="right") - 1
    known = (index >= 0) & (times - commands.received[index] <= hold + period)
    return commands.values[index], known


def _aimed(spec: RobotSpec, targets: Sequence[Samples], ticks: Times) -> NDArray[np.float64]:
    """The task's targets at ticks, those that were told last, [T, t]."""
    result = np.tile(Targets(spec).values.numpy(), (len(ticks), 1))
    first = 0
    for samples in targets:
        index = np.searchsorted(samples.received, ticks, side="right") - 1
        told, end = index >= 0, first + samples.values.shape[1]
        result[told, first:end] = samples.values[index[told]]
        first = end
    return result


def _number(records: Records, tick: NDArray[np.int64], length: int) -> int:
    """Fills in what a transition's place is: sequence, episode, step, truncated.

    Args:
        tick: the number of the tick that each begins with, [N].
        length: of an episode in steps.

    Returns:
        How many gaps there are between them.
    """
    if not len(records):
        return 0
    gap = np.diff(tick) != 1
    begins = np.r_[True, gap | records["terminated"][:-1]]
    rows = np.arange(len(records))
    step = (rows - np.maximum.accumulate(np.where(begins, rows, 0))) % length
    records["sequence"], records["step"] = rows, step
    records["episode"] = np.cumsum(step == 0)
    records["truncated"] = np.r_[step[1:] == 0, True] & ~records["terminated"]
    return int((gap & ~records["terminated"][:-1]).sum())


def _limit_notes(spec: RobotSpec, commands: Samples) -> Iterator[str]:
    """What is to be said of commands that the robot's file does not allow."""
    for field, values in zip(spec.action.fields, commands.values.T, strict=True):
        if beyond := int(((values < field.min) | (values > field.max)).sum()):
            yield (
                f"{beyond} commands are beyond the limits of {field.name}, {field.min:g} to "
                f"{field.max:g} {field.unit}; they are taken as they are"
            )


def _target_notes(spec: RobotSpec, targets: Sequence[Samples]) -> Iterator[str]:
    """What counts where nobody told any."""
    begin, first = Targets(spec).values.tolist(), 0
    for topic, samples in zip(spec.targets, targets, strict=True):
        if not len(samples.received):
            values = zip(topic.fields, begin[first:], strict=False)
            listed = ", ".join(f"{field.name} {value:.4g} {field.unit}" for field, value in values)
            yield f"no target on {topic.topic} is in the bag: {listed}"
        first += len(topic.fields)
