"""What may stop the robot from outside its controllers, and keeps it stopped: an operator's
emergency stop, a hard breach of the envelope, a deadman switch.

The control thread only reads here, and reports breaches. It waits for nobody: what it reads is one
object that is replaced, never changed. The other threads take turns.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, replace

from mbrl_node.control.safety import Breach

ON_TOPIC = "emergency stop on its topic"


class StopError(Exception):
    """A stop cannot be released yet; the message says why."""


@dataclass(frozen=True, slots=True)
class _Stop:
    since: int  # a number higher than that of any stop before
    latest: int  # the same of the last time that it was asked for
    reason: str


class Stops:
    """Stops that stay until they are released, whatever asked for them."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._turn = threading.Lock()  # of all threads but the control thread
        self._operator: _Stop | None = None  # written in turn
        self._topic_stops = False  # written in turn
        self._envelope: _Stop | None = None  # written by the control thread
        self._released = 0  # breaches up to this number count no more
        self._outside = ""  # how the state is beyond its hard limits; written by the control thread

    @property
    def reason(self) -> str:
        """Why the robot is stopped: the first reason, where there are several; empty: it is not."""
        stop, envelope = self._operator, self._latched_breach()
        if envelope is not None and (stop is None or envelope.since < stop.since):
            stop = envelope
        return "" if stop is None else stop.reason

    def latch(self, reason: str) -> None:
        """An operator stops the robot. Not for the control thread."""
        with self._turn:
            self._latch(reason)

    def on_topic(self, stop: bool) -> None:
        """The emergency stop topic said this. False releases nothing, but lets it be released. Not
        for the control thread."""
        with self._turn:
            self._topic_stops = stop
            if stop:
                self._latch(ON_TOPIC)

    def watch(self, breach: Breach | None, latches: bool = True) -> bool:
        """What the envelope says at this tick; a hard breach stops the robot. Tells whether it has
        done so just now. For the control thread alone.

        Args:
            latches: False: the robot is on its way back, and is not stopped for being outside.
        """
        before, self._outside = self._outside, breach.message if breach and breach.hard else ""
        if not self._outside:
            return False
        latched = self._latched_breach()
        if latched is None:
            return latches and self.trip(self._outside)
        if not before:  # numbered anew: a release that is under way is not of this breach
            self._envelope = replace(latched, latest=next(self._numbers))
        return False

    def trip(self, reason: str) -> bool:
        """The control thread itself stops the robot, until an operator releases it; tells whether
        it had not done so before. For the control thread alone."""
        if self._latched_breach() is not None:
            return False
        number = next(self._numbers)
        self._envelope = _Stop(number, number, reason)
        return True

    def release(self) -> str:
        """Lets the robot move again; tells what was released. Not for the control thread.

        Raises:
            StopError: the topic still demands the stop, or the state is still beyond its hard
                limits.
        """
        with self._turn:
            seen = self._envelope  # before `_outside`: a breach in between is not released
            if self._topic_stops:
                raise StopError(f"the topic still demands it: {ON_TOPIC}")
            if self._outside:
                raise StopError(self._outside)
            reason, self._operator = self.reason, None
            if seen is not None:
                self._released = max(self._released, seen.latest)
        return f"released: {reason}" if reason else "the robot was not stopped"

    def release_envelope(self) -> None:
        """The robot is put back to where it begins: a breach from before stops it no longer, an
        operator does. For any thread: at worst, at the same time as `release`, the stop stays."""
        if (seen := self._envelope) is not None:
            self._released = max(self._released, seen.latest)

    def _latch(self, reason: str) -> None:
        if self._operator is None:
            number = next(self._numbers)
            self._operator = _Stop(number, number, reason)

    def _latched_breach(self) -> _Stop | None:
        stop = self._envelope
        return stop if stop is not None and stop.latest > self._released else None


class Deadman:
    """A switch that an operator keeps pressed: commands only while its newest message says so and
    is young.

    Args:
        timeout: s; a message as old or older counts no more.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._newest: tuple[bool, float] | None = None  # replaced at once: two threads

    def pressed(self, value: bool, now: float) -> None:
        """A message of the switch.

        Args:
            now: s of a clock that is never set; that of `problem`.
        """
        self._newest = value, now

    def problem(self, now: float) -> str:
        """Why nothing may be commanded; empty while the switch is pressed."""
        if self._newest is None:
            return "the deadman switch has not been pressed yet"
        value, at = self._newest
        if not value:
            return "the deadman switch is not pressed"
        if not abs(now - at) < self._timeout:  # abs: a clock that was set back proves nothing
            return f"the deadman switch has said nothing for {self._timeout:g} s"
        return ""
