"""The last thing between any controller and the robot: limits of the command and of the state."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbrl_node.spec import RobotSpec
from mbrl_node.spec.errors import show
from mbrl_node.spec.parts import EnvelopeRange

Array = NDArray[np.float64]

_SAME = 1e-12  # commands that differ by less are the same
_FAR = 1e300  # farther than any command has to go; keeps what is computed from it finite
_BACK = 0.05  # how far inside its soft range a state is back, as a share of that range


class SafetyFilter:
    """Makes every command finite, of the right size, and within the spec's limits.

    A command first keeps within min and max, then within the rate limit, then within the jerk
    limit, and slows down in time for all of them to hold until it is where it is to go: nothing has
    to be broken. Narrower limits than min and max can be set; where a command is outside of them
    when they are, it comes back in as fast as rate and jerk limits let it. Called once a control
    period, by the control thread alone.

    Attributes:
        problem: why what was requested last could not be used; empty where it could be.
        limited: how many commands were not what was requested.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self._names = spec.action_names
        self._low, self._high, self._safe = spec.action_min, spec.action_max, spec.action_safe
        # The largest change of the command in a tick, and of that change; inf: none.
        self._rate = spec.action_max_rate * spec.dt
        self._jerk = np.maximum(spec.action_max_jerk * spec.dt * spec.dt, np.finfo(np.float64).tiny)
        self._half_jerk = np.where(np.isfinite(self._jerk), self._jerk / 2.0, 0.0)
        self._has_rate = bool(np.isfinite(self._rate).any())
        self._has_jerk = bool(np.isfinite(self._jerk).any())
        self.problem, self.limited = "", 0
        self.narrow(np.zeros((2, 0)))
        self.reset()

    def reset(self, last_action: Array | None = None) -> None:
        """Goes on from a command that does not change.

        Args:
            last_action: [m], what the robot has; None: the safe command. It is moved into the
                limits, and replaced by the safe command where it is no command.
        """
        last = self._safe if last_action is None else self._read(last_action)[0]
        self._last = np.minimum(np.maximum(last, self._low), self._high)
        self._change = np.zeros_like(self._last)

    def narrow(self, limits: Array) -> None:
        """From the next command on, what is requested counts as the nearest between these.

        Args:
            limits: the lowest and the highest, [2, m], with the safe command between them; with
                nothing in it, they are min and max.
        """
        narrow_low, narrow_high = limits if limits.size else (self._low, self._high)
        self._lowest = np.minimum(np.maximum(narrow_low, self._low), self._high)
        self._highest = np.minimum(np.maximum(narrow_high, self._low), self._high)

    @property
    def last_action(self) -> Array:
        """What the robot was sent last, [m]; a copy."""
        return self._last.copy()

    @property
    def at_rest(self) -> bool:
        """Whether a stop has arrived: the command is the safe one, and need not move on."""
        arrived = (self._last == self._safe).all()
        return bool(arrived and (not self._has_jerk or (np.abs(self._change) <= self._jerk).all()))

    def __call__(self, requested: object) -> Array:
        """The command to send, [m]; a fresh array.

        Args:
            requested: from a controller, anything. What is not m finite numbers counts as a request
                for the safe command, and `problem` says so.
        """
        wanted, self.problem = self._read(requested)
        action = np.minimum(np.maximum(wanted, self._lowest), self._highest)
        if self._has_jerk:
            action = self._approach(action)
        elif self._has_rate:
            action = np.minimum(
                np.maximum(action, self._last - self._rate), self._last + self._rate
            )
        if self.problem or ((wanted < action - _SAME) | (wanted > action + _SAME)).any():
            self.limited += 1
        self._last = action
        return action.copy()

    def stop(self) -> Array:
        """The next command on the way to the safe one, [m]; a fresh array."""
        return self(self._safe)

    def _approach(self, target: Array) -> Array:
        """The next command on the way to a target within the limits, [m].

        Per element, with v the change at this tick and j the jerk limit: braking takes j off the
        change at each tick to come, so the command still goes v + (v - j) + (v - 2j) + … The
        fastest v for which that is no more than the way d to the target is d / (n + 1) + j n / 2,
        where n = floor((sqrt(1 + 8 d / j) - 1) / 2) is the number of ticks the braking takes. A v
        that could brake in time at one tick can at the next, so the jerk limit, applied last,
        takes no command beyond min or max.
        """
        way = target - self._last
        far = np.minimum(np.abs(way), _FAR)
        ticks = np.floor((np.sqrt(1.0 + 8.0 * far / self._jerk) - 1.0) / 2.0)
        change = np.copysign(far / (ticks + 1.0) + self._half_jerk * ticks, way)
        change = np.minimum(np.maximum(change, -self._rate), self._rate)
        low, high = self._change - self._jerk, self._change + self._jerk
        change = np.minimum(np.maximum(change, low), high)
        action = np.where(change == way, target, self._last + change)  # arrives without rounding
        action = np.minimum(np.maximum(action, self._low), self._high)
        self._change = action - self._last
        return action

    def _read(self, requested: object) -> tuple[Array, str]:
        """What was requested as numbers of one's own, [m], or the safe command and why."""
        values = _numbers(requested)
        expected = self._safe.shape
        if values is None:
            kind = type(requested).__name__
            return self._safe, f"an action of shape {expected} was expected, got a {kind}"
        if values.shape != expected:
            return self._safe, f"an action of shape {expected} was expected, got {values.shape}"
        if not np.isfinite(values).all():
            named = zip(self._names, values.tolist(), strict=True)
            bad = ", ".join(f"{name} = {v}" for name, v in named if not math.isfinite(v))
            return self._safe, f"the action is not finite: {bad}"
        return values, ""


@dataclass(frozen=True, slots=True)
class Breach:
    """A state outside its envelope."""

    hard: bool  # the robot is to be stopped; else to be pushed back
    message: str


class Envelope:
    """Says where a robot leaves the `envelope` of its spec, whoever commands it.

    A soft breach lasts until the value is back inside the soft range by 5 % of that range; where
    one side only is soft, by 5 % of the way from the soft to the hard limit, or of the soft limit's
    own value. Called once a control period, by the control thread alone.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self._limits = [_Limits(spec, limits) for limits in spec.envelope]

    def check(self, state: Array) -> Breach | None:
        """The worst breach in a state [n], a hard one before a soft one; None: all is well.

        The message of a soft breach stays as it was when the breach began.
        """
        if not self._limits:
            return None
        worst = None
        for limits in self._limits:
            breach = limits.check(state.item(limits.column))
            if breach is not None and (worst is None or breach.hard > worst.hard):
                worst = breach
        return worst


class _Limits:
    """The limits of one field of the state, and whether it is outside of the soft ones."""

    def __init__(self, spec: RobotSpec, limits: EnvelopeRange) -> None:
        self.column = spec.state_names.index(limits.of)
        self._name, self._unit = limits.of, spec.state_fields[self.column].unit
        self._angle = bool(spec.angle_mask[self.column])
        self._low = -math.inf if limits.min is None else limits.min
        self._high = math.inf if limits.max is None else limits.max
        self._soft_low = -math.inf if limits.soft_min is None else limits.soft_min
        self._soft_high = math.inf if limits.soft_max is None else limits.soft_max
        self._back_low = self._soft_low + self._margin(self._soft_low, self._low)
        self._back_high = self._soft_high - self._margin(self._soft_high, self._high)
        self._soft_breach: Breach | None = None

    def _margin(self, soft: float, hard: float) -> float:
        if math.isinf(soft):
            return 0.0
        sizes = (self._soft_high - self._soft_low, abs(hard - soft), abs(soft))
        return _BACK * next(size for size in sizes if math.isfinite(size))

    def check(self, value: float) -> Breach | None:
        if not math.isfinite(value):
            return Breach(True, f"{self._name} = {value} {self._unit} is not finite")
        if self._angle:
            value = math.pi - (math.pi - value) % (2.0 * math.pi)
        if not self._soft_low <= value <= self._soft_high:
            if self._soft_breach is None:
                limit = self._soft_low if value < self._soft_low else self._soft_high
                self._soft_breach = Breach(False, self._beyond(value, "soft", limit))
        elif self._soft_breach is not None and self._back_low <= value <= self._back_high:
            self._soft_breach = None
        if not self._low <= value <= self._high:
            limit = self._low if value < self._low else self._high
            return Breach(True, self._beyond(value, "hard", limit))
        return self._soft_breach

    def _beyond(self, value: float, kind: str, limit: float) -> str:
        unit = self._unit
        return f"{self._name} = {value:.5g} {unit} is beyond its {kind} limit {show(limit)}"


def _numbers(values: object) -> Array | None:
    """A copy as numbers, of any shape: whoever made them may go on writing. None: no numbers."""
    if type(values) is np.ndarray and values.dtype == np.float64:
        return values.copy()
    try:
        array = np.asarray(values)
    except Exception:  # whatever an object of somebody else's raises
        return None
    return array.astype(np.float64) if array.dtype.kind in "fiu" else None
