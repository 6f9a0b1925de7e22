"""One fault tried on a rig: when the robot was safe, when all was well again, and what was said."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.fault_rig import NotHeldError, Rig
from benchmarks.report import Row

SETTLED = 5  # safe commands in a row after which a stop has arrived
SAFE = "safe command: "
ATTEMPTS = 3  # at most


@dataclass
class Outcome:
    """What came of a fault.

    Attributes:
        commanded: what the robot got.
        safe_after_s: from the fault to the safe command, or to that of who took over.
        recovered_after_s: from the end of the fault to the first action of who acted before.
        silence_s: the longest time without a command.
        reason: what was said.
        problem: what did not hold.
    """

    fault: str
    commanded: str = ""
    safe_after_s: float = math.nan
    recovered_after_s: float = math.nan
    silence_s: float = math.nan
    reason: str = ""
    ok: bool = False
    problem: str = ""

    def row(self) -> Row:
        """Of the table."""
        row = {k: round(v, 3) if isinstance(v, float) else v for k, v in vars(self).items()}
        del row["problem"]
        return row


class Trial:
    """What a fault's function uses to say what must hold; each method raises `NotHeldError`.

    Times are in s since the epoch, as a command's arrival is.
    """

    def __init__(self, rig: Rig, name: str) -> None:
        self.rig, self.outcome = rig, Outcome(name)
        self.began = self.ended = time.time()
        self._line = 0  # of the log, the first since it began
        self._seen: list[str] = []

    @contextlib.contextmanager
    def fault(self, cause: Callable[[], object], cure: Callable[[], object]) -> Iterator[None]:
        """The fault lasts as long as the block."""
        self.begin()
        cause()
        try:
            yield
        finally:
            cure()
            self.over()

    def begin(self) -> None:
        """The fault begins now."""
        self.began = self.ended = time.time()
        self._line = len(self.rig.lines)

    def over(self) -> None:
        """The fault is over."""
        self.ended = time.time()

    def commanded(self, what: str) -> None:
        """Puts down what the robot was commanded."""
        if what not in self._seen[-1:]:
            self._seen.append(what)
        self.outcome.commanded = ", then ".join(self._seen)

    def reason(self, text: str) -> None:
        """Puts down what was said."""
        self.outcome.reason = text

    def check(self, holds: object, what: str) -> None:
        """It must be so now."""
        if not holds:
            raise NotHeldError(f"it is not so that {what}")

    def safe(self, reason: str = "") -> None:
        """The robot gets its safe command, and it is said why."""
        rig, began = self.rig, self.began

        def arrived() -> bool:
            since = rig.commands.safe_since(began)
            return since is not None and len(rig.commands.after(since)) >= SETTLED

        if reason:
            self.says(SAFE, reason)
        rig.wait(arrived, "the safe command")
        self.left_safe()

    def left_safe(self) -> None:
        """The last command of all is the safe one."""
        since = self.rig.commands.safe_since(self.began)
        if since is None:
            raise NotHeldError(f"the last command was {self.rig.commands.all[-1][1]}")
        self.outcome.safe_after_s = since - self.began
        self.commanded("safe command")

    def says(self, begin: str, text: str) -> None:
        """A line of the log has this in it after `begin`; what follows that is the reason."""

        def found() -> list[str]:
            lines = self.rig.lines[self._line :]
            if not begin:
                return [line for line in lines if text in line]
            parts = [line.partition(begin) for line in lines]
            return [after for _, sep, after in parts if sep and text in after]

        self.rig.wait(found, f"a line '{begin}…{text}…'")
        self.reason(found()[0])

    def acts(self, name: str, after: float | None = None) -> float:
        """Waits for an action of this controller; gives the time at which it was commanded.

        Args:
            after: the time after which; None: the beginning of the fault.
        """
        begin, dt = self.began if after is None else after, self.rig.spec.dt

        def found() -> list[float]:
            return [
                at - dt  # a transition is complete one period after its action
                for at, t in list(self.rig.transitions)
                if at - dt > begin and t.controller == name
            ]

        self.rig.wait(found, f"an action of {name}")
        return found()[0]

    def fallback(self, reason: str, active: str = "mppi", name: str = "pd") -> None:
        """Another controller acts for the active one, and it is said why."""
        self.outcome.safe_after_s = self.acts(name) - self.began
        self.says(f"'{active}' does not act: ", reason)
        self.commanded(f"{name} acts")

    def recovers(self, name: str = "mppi") -> None:
        """After the fault this controller acts again, by itself."""
        self.outcome.recovered_after_s = self.acts(name, self.ended) - self.ended

    def unharmed(self, what: str = "", name: str = "mppi", ticks: int = 15) -> None:
        """Control goes on as if nothing had happened.

        Args:
            what: the robot is commanded.
        """
        rig, begin, lines = self.rig, time.time(), len(self.rig.lines)

        def after() -> list[str]:
            return [t.controller for at, t in list(rig.transitions) if at > begin]

        rig.wait(lambda: len(after()) >= ticks, f"{ticks} actions")
        self.check(set(after()) == {name}, f"{name} goes on to act, without others")
        said = [line for line in rig.lines[lines:] if SAFE in line]
        self.check(not said, f"nothing stops the robot: {said}")
        self.commanded(what or f"{name}, as before")

    def refused(self, what: Callable[[], object], more: int = 1) -> None:
        """Messages are refused and counted, while or after this is done."""
        self.rig.wait(lambda: self.rig.status, "a status")

        def count() -> int:
            return int(self.rig.status[-1][1].refused_messages)

        before = count()
        what()
        self.rig.wait(lambda: count() >= before + more, f"{more} more refused messages")
        self.reason(f"{count() - before} messages refused")

    def measure(self) -> None:
        """Puts down the longest time without a command."""
        times = [at for at, _ in self.rig.commands.after(self.began - 0.2)]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        self.outcome.silence_s = max(gaps, default=math.nan)


Function = Callable[[Trial, Any], None]
Adder = Callable[..., Callable[[Function], Function]]


@dataclass(frozen=True)
class Fault:
    """A fault, and the rig that it is tried on."""

    name: str
    group: str
    function: Function
    quick: bool = False

    @staticmethod
    def adder(faults: list[Fault], group: str) -> Adder:
        """A decorator that puts a fault's function into a list."""

        def add(name: str, quick: bool = False) -> Callable[[Function], Function]:
            def decorate(function: Function) -> Function:
                faults.append(Fault(name, group, function, quick))
                return function

            return decorate

        return add


def try_fault(fault: Fault, rig: Rig) -> Outcome:
    """Tries it, and again where it failed and the machine may be the reason."""
    for _ in range(ATTEMPTS):
        outcome = _try_once(fault, rig)
        if outcome.ok or not (rig.disturbed and rig.process.alive):
            break
    return outcome


def _try_once(fault: Fault, rig: Rig) -> Outcome:
    trial, lines, commands = Trial(rig, fault.name), len(rig.lines), rig.commands
    try:
        rig.restore()
        trial.begin()
        fault.function(trial, rig)
        trial.measure()
        for what in ("nonfinite", "unlimited", "rate_violations"):
            trial.check(getattr(commands, what) == 0, f"no command was {what}")
        text = "\n".join(rig.lines[lines:])
        trial.check("Traceback" not in text, f"no exception escaped: {text[-2000:]}")
    except NotHeldError as error:
        trial.outcome.problem = str(error)
    else:
        trial.outcome.ok = True
    return trial.outcome
