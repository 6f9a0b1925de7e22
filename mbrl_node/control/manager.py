"""Which controller is in command, swapped between two ticks, and who acts when it cannot."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mbrl_node.control.controller import Array, Controller, Observation

log = logging.getLogger(__name__)

LONGEST_WAIT = 60.0  # s between two trials of a controller that goes on failing


class SwitchError(Exception):
    """A switch was refused and nothing changed; the message says why."""


class FallbackConfig(BaseModel):
    """What happens when the active controller fails."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chain: tuple[str, ...] = Field(
        ("policy", "hold"), description="who acts for it: the first of these that can"
    )
    recovery: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="time after which it is tried again, s; twice as long after each further "
        "failure; 0: only a switch brings it back",
    )
    max_misses: int = Field(
        5,
        ge=1,
        description="ticks in a row without a plan in time, or missed because updates took longer "
        "than the control period, that count as a failure",
    )


@dataclass
class _Failure:
    reason: str
    since: int  # robot time, ns
    wait: float  # s
    until: float  # robot time at which it is tried again, ns

    def over(self, now: int) -> bool:
        return now >= self.until


@dataclass(frozen=True)
class Loaded:
    """A controller that has a name."""

    name: str
    kind: str
    state: str  # unconfigured, inactive or active
    not_ready: str


class ControllerManager:
    """Holds the controllers by name; exactly one is active at a time.

    At each tick one acts: the active one if it can; while it has no model yet the `standby`, and
    while it waits for anything else `resting`; when it fails the first of the fallback chain that
    can, in the same tick, and last of all `resting`. One that has failed is tried again after a
    while. The control thread calls `update`, `commanded` and `restart`; switches come from any
    other.

    Args:
        controllers: ready to be activated; the first is active at the start.
        standby: name of the controller that acts while the active one waits for its first model.
        resting: name of the controller that is always safe.
        period: the control period, s, which no update may exceed for long.

    Attributes:
        active: chosen by the user.
        acting: in command at the last tick.
        resting: always safe.
        failure: why the active one is not; empty: it is, or is only not ready.
        fallbacks: how often it began that another acted for it because of a failure.
        on_change: called when a state changes; never in the control thread.
    """

    def __init__(
        self,
        controllers: Sequence[Controller],
        standby: str,
        resting: str,
        fallback: FallbackConfig | None = None,
        period: float = math.inf,
    ) -> None:
        self._controllers: dict[str, Controller | None] = {c.name: c for c in controllers}
        self._kinds: dict[str, tuple[str, Callable[[], Controller]]] = {}
        self.fallback = fallback or FallbackConfig()
        self._period = period
        self._standby, self.resting = self._get(standby), self._get(resting)
        self.active = controllers[0]
        self.acting = self.resting
        self._activated: Controller | None = None  # by a switch, and has not acted since
        self._failures: dict[str, _Failure] = {}
        self._overruns = 0
        self.failure, self.fallbacks = "", 0
        self.on_change: Callable[[], None] = lambda: None
        self._lock = threading.Lock()  # around what a tick sees
        self._changing = threading.Lock()  # one change of the controllers at a time

    # Controllers and their states: any thread.

    @property
    def controllers(self) -> dict[str, Controller]:
        """Those that are configured, by name."""
        return {name: c for name, c in list(self._controllers.items()) if c is not None}

    def loaded(self) -> list[Loaded]:
        """All there are."""
        return [self._loaded(name, c) for name, c in list(self._controllers.items())]

    def _loaded(self, name: str, controller: Controller | None) -> Loaded:
        if controller is None:
            known = self._kinds.get(name)  # None: removed a moment ago
            return Loaded(name, known[0] if known else "", "unconfigured", "is not configured")
        kind = controller.kind or type(controller).__name__
        state = "active" if controller is self.active else "inactive"
        return Loaded(name, kind, state, _waits_for(controller))

    def load(self, name: str, kind: str, make: Callable[[], Controller]) -> None:
        """Adds a controller that `configure` will make.

        Raises:
            SwitchError: the name is taken.
        """
        with self._changing:
            if name in self._controllers:
                raise SwitchError(f"there is a controller '{name}' already")
            self._kinds[name] = (kind, make)
            self._controllers[name] = None
        self.on_change()

    def configure(self, name: str) -> None:
        """Makes a controller that was loaded, or makes it anew.

        Raises:
            SwitchError: it is not there, was not loaded, may be needed now, or cannot be made.
        """
        with self._changing:
            self._require_idle(name)
            if name not in self._kinds:
                raise SwitchError(f"'{name}' is there from the start; load another under a name")
            try:
                made = self._kinds[name][1]()
            except Exception as error:  # whatever somebody else's code raises
                raise SwitchError(f"'{name}' cannot be made: {_sentence(error)}") from error
            with self._lock:
                old, self._controllers[name] = self._controllers[name], made
                self._forget(name, old)
        if old is not None:
            _close(old)
        self.on_change()

    def unload(self, name: str) -> None:
        """Removes a controller.

        Raises:
            SwitchError: it is not there, or may be needed now.
        """
        with self._changing:
            self._require_idle(name)
            with self._lock:
                old = self._controllers.pop(name)
                self._kinds.pop(name, None)
                self._forget(name, old)
        if old is not None:
            _close(old)
        self.on_change()

    def _require_idle(self, name: str) -> None:
        if name not in self._controllers:
            raise SwitchError(self._unknown(name))
        controller = self._controllers[name]
        if controller is None:
            return
        if controller is self.active:
            raise SwitchError(f"'{name}' is active")
        if controller in (self._standby, self.resting) or name in self.fallback.chain:
            raise SwitchError(f"'{name}' stands by for the others")

    def _forget(self, name: str, controller: Controller | None) -> None:
        self._failures.pop(name, None)
        if controller is self.acting:  # until the next tick, after a switch a moment ago
            self._put_in_command(self.resting)

    def switch(
        self,
        activate: Sequence[str],
        deactivate: Sequence[str] = (),
        strict: bool = True,
        timeout: float = 0.0,
    ) -> str:
        """Makes another controller the active one at the next tick; tells what was done.

        It is activated first, beside the one that acts; if that fails, nothing has changed.
        Deactivating the active one without activating another activates the resting one. Without
        `strict`, names that do not fit are ignored.

        Args:
            timeout: s that its activation may take; 0: any time.

        Raises:
            SwitchError: strict, and a name is unknown or not active; two are to be activated; the
                new one cannot act, cannot be activated, or not in time.
        """
        if not self._changing.acquire(blocking=False):
            raise SwitchError("another change of the controllers is under way")
        try:
            before, wanted = self.active, self._wanted(activate, deactivate, strict)
            if wanted is before:
                with self._lock:  # whoever asks again does not want to wait
                    self._failures.pop(wanted.name, None)
                return f"'{before.name}' is active already"
            if waits := _waits_for(wanted):
                if not _waits_for(before):
                    raise SwitchError(f"'{wanted.name}' {waits}; '{before.name}' goes on")
            elif wanted is not self.acting:
                self._activate(wanted, before.name, timeout)
            with self._lock:
                self.active = wanted
                self._activated = None if waits or wanted is self.acting else wanted
                self._failures.pop(wanted.name, None)
                self.failure, self._overruns = "", 0
        finally:
            self._changing.release()
        self.on_change()
        message = f"switched from '{before.name}' to '{wanted.name}'"
        if waits:
            message += f", which {waits}"
        return message

    def _wanted(
        self, activate: Sequence[str], deactivate: Sequence[str], strict: bool
    ) -> Controller:
        unknown = [n for n in (*activate, *deactivate) if n not in self._controllers]
        if unknown and (strict or not self._known([*activate, *deactivate])):
            raise SwitchError(self._unknown(unknown[0]))
        names = list(dict.fromkeys(self._known(activate)))
        if len(names) > 1:
            raise SwitchError(f"one controller can be active at a time, not {' and '.join(names)}")
        now = self.active.name
        idle = [n for n in deactivate if n in self._controllers and n != now]
        if strict and idle:
            raise SwitchError(f"'{idle[0]}' is not active; '{now}' is")
        if names:
            return self._get(names[0])
        return self.resting if now in deactivate else self.active

    def _known(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in self._controllers]

    def _unknown(self, name: str) -> str:
        return f"no controller '{name}'; there are {', '.join(self._controllers)}"

    def _get(self, name: str) -> Controller:
        controller = self._controllers[name]
        if controller is None:
            raise SwitchError(f"'{name}' is not configured")
        return controller

    def _activate(self, wanted: Controller, before: str, timeout: float) -> None:
        problem: list[str] = [f"takes longer than {timeout:g} s to be activated"]

        def work() -> None:
            try:
                wanted.activate()
                problem[0] = ""
            except Exception as error:  # whatever somebody else's code raises
                problem[0] = f"cannot be activated: {_sentence(error)}"

        if timeout > 0:
            thread = threading.Thread(target=work, name=f"activate-{wanted.name}", daemon=True)
            thread.start()
            thread.join(timeout)
        else:
            work()
        if problem[0]:
            raise SwitchError(f"'{wanted.name}' {problem[0]}; '{before}' goes on")

    # Ticks: the control thread.

    def update(self, observation: Observation, last_action: Array, breach: str = "") -> Array:
        """The action asked for at this tick, finite and of the right size, [m].

        Args:
            last_action: what the robot was sent at the tick before, [m].
            breach: why the active controller may not act, such as a soft limit of the state.
        """
        with self._lock:
            before, reason = self.acting, self.failure
            for controller in self._candidates(observation.time, breach):
                action = self._ask(controller, observation, last_action)
                if action is not None:
                    break
            failed = self._failures.get(self.active.name)
            self.failure = breach or (
                failed.reason if failed and controller is not self.active else ""
            )
            self._tell(before, reason, observation.time)
        return action if action is not None else last_action

    def _candidates(self, now: int, breach: str) -> Iterator[Controller]:
        active = self.active
        if not breach and self._healthy(active, now):
            waits = self._standby if active.learned else self.resting
            chosen = waits if _waits_for(active) else active
            if self._healthy(chosen, now):
                yield chosen
        for name in self.fallback.chain:
            controller = self._controllers.get(name)
            if controller is None or controller is active:
                continue
            if self._healthy(controller, now) and not _waits_for(controller):
                yield controller
        yield self.resting

    def _healthy(self, controller: Controller, now: int) -> bool:
        failure = self._failures.get(controller.name)
        if failure and now < failure.since:  # the clock was set back
            failure.until += now - failure.since
            failure.since = now
        return failure is None or failure.over(now)

    def _ask(
        self, controller: Controller, observation: Observation, last_action: Array
    ) -> Array | None:
        """Its action, and makes it the one that acts; None: it failed."""
        try:
            if controller is not self.acting and controller is not self._activated:
                controller.activate()
            began = time.perf_counter()
            action = np.array(controller.update(observation, last_action), dtype=np.float64)
            took = time.perf_counter() - began
            self._check(action, last_action)
            if controller is self.acting:  # its first update may prepare
                self._check_time(took)
        except Exception as error:  # contained: another acts in this tick
            self._fail(controller, _sentence(error), observation.time)
            return None
        if controller is not self.acting:
            self._overruns, self._activated = 0, None
            self._put_in_command(controller)
        elif (failure := self._failures.get(controller.name)) and observation.time > (
            failure.until + 1e9 * failure.wait
        ):
            del self._failures[controller.name]  # well for as long as it had to wait
        return action

    def _put_in_command(self, controller: Controller) -> None:
        old, self.acting = self.acting, controller
        try:
            old.deactivate()
        except Exception as error:  # it is out of command already
            log.warning("'%s' failed as it was deactivated: %s", old.name, _sentence(error))

    def _check(self, action: Array, last_action: Array) -> None:
        if action.shape != last_action.shape:
            raise ValueError(
                f"an action of {len(last_action)} values was expected, got shape {action.shape}"
            )
        if not np.isfinite(action).all():
            raise ValueError(f"the action {action} is not finite")

    def _check_time(self, took: float) -> None:
        missed = int(took / self._period)  # deadlines: one that hangs for long misses many
        self._overruns = self._overruns + missed if missed else 0
        if self._overruns >= self.fallback.max_misses:
            raise TimeoutError(
                f"an update took {1e3 * took:.1f} ms, and {self._overruns} deadlines in a row were "
                f"missed by updates (control period {1e3 * self._period:g} ms)"
            )

    def _fail(self, controller: Controller, reason: str, now: int) -> None:
        before = self._failures.get(controller.name)
        wait = self.fallback.recovery
        if before is not None and wait:
            wait = max(wait, min(2 * before.wait, LONGEST_WAIT))
        until = now + 1e9 * wait if wait else math.inf
        self._failures[controller.name] = _Failure(reason, now, wait, until)
        if controller is not self.active and (before is None or before.reason != reason):
            log.warning("'%s' cannot act for '%s': %s", controller.name, self.active.name, reason)
        self._overruns = 0
        if self._activated is controller:
            self._activated = None

    def _tell(self, before: Controller, reason: str, now: int) -> None:
        """Logs what has changed, once."""
        if self.failure and self.failure != reason:
            self.fallbacks += not reason
            failed = self._failures.get(self.active.name)
            again = f"; tried again in {failed.wait:g} s" if failed and failed.wait else ""
            log.warning(
                "'%s' does not act: %s; '%s' acts%s",
                self.active.name,
                self.failure,
                self.acting.name,
                again,
            )
        elif reason and not self.failure and self.acting is self.active:
            log.info("'%s' acts again, after '%s'", self.active.name, before.name)

    def commanded(self, observation: Observation, action: Array) -> None:
        """Tells the acting controller what was sent."""
        try:
            self.acting.commanded(observation, action)
        except Exception as error:  # the next tick has another act
            self._fail(self.acting, _sentence(error), observation.time)

    def restart(self) -> None:
        """Makes whoever acts next start afresh, after a break such as a reset."""
        with self._lock:
            self._activated = None
            if self.acting is not self.resting:
                self._put_in_command(self.resting)

    def close(self) -> None:
        """Ends all controllers."""
        for controller in self.controllers.values():
            _close(controller)


def _close(controller: Controller) -> None:
    try:
        controller.close()
    except Exception as error:  # it is not used any more
        log.warning("'%s' failed as it was closed: %s", controller.name, _sentence(error))


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _waits_for(controller: Controller) -> str:
    try:
        return controller.not_ready
    except Exception as error:  # whatever somebody else's code raises
        return f"cannot say whether it is ready: {_sentence(error)}"
