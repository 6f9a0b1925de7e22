"""Who is in command: switches between two ticks, and who acts when a controller cannot."""

from __future__ import annotations

import logging
import math
import threading

import numpy as np
import pytest
from scripted import SECOND, Scripted

from mbrl_node.control import ControllerManager, FallbackConfig, Hold, Observation, SwitchError
from mbrl_node.control.manager import LONGEST_WAIT
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole")
PERIOD = round(SPEC.dt * SECOND)


class Bench:
    """A manager, driven tick by tick."""

    def __init__(self, controllers=None, chain=("b", "hold"), standby="spare", period=1.0, **more):
        self.a, self.b, self.spare = Scripted("a", 1.0), Scripted("b", 2.0), Scripted("spare", 3.0)
        self.hold = Hold("hold", SPEC)
        everyone = [*(controllers or [self.a, self.b]), self.spare, self.hold]
        fallback = FallbackConfig(chain=chain, **more)
        self.manager = ControllerManager(everyone, standby, "hold", fallback, period)
        self.time, self.last = 10 * SECOND, np.zeros(1)

    def tick(self, after=SPEC.dt, breach=""):
        """The action that is asked for `after` s later."""
        self.time += round(after * SECOND)
        observation = Observation(self.time, self.time, np.zeros(4))
        self.last = self.manager.update(observation, self.last, breach)
        self.manager.commanded(observation, self.last)
        return float(self.last[0])

    @property
    def states(self):
        return {c.name: c.state for c in self.manager.loaded()}


@pytest.fixture(autouse=True)
def _logs_are_seen(caplog):
    caplog.set_level(logging.INFO, "mbrl_node.control.manager")


def refusal(change, *arguments, **more):
    """Why a change of the controllers is refused."""
    with pytest.raises(SwitchError) as error:
        change(*arguments, **more)
    return str(error.value)


# Loading, configuring and unloading.


def test_a_loaded_controller_has_a_name_and_a_kind_and_nothing_more_until_it_is_configured():
    bench, made = Bench(), []
    bench.manager.load("c", "special", lambda: made.append(Scripted("c", 7.0)) or made[-1])
    loaded = next(c for c in bench.manager.loaded() if c.name == "c")
    assert (loaded.kind, loaded.state, loaded.not_ready) == (
        "special",
        "unconfigured",
        "is not configured",
    )
    assert made == [] and "c" not in bench.manager.controllers
    assert refusal(bench.manager.switch, ["c"]) == "'c' is not configured"
    bench.manager.configure("c")
    assert bench.states["c"] == "inactive" and bench.manager.controllers["c"] is made[0]
    bench.manager.switch(["c"])
    assert bench.states["c"] == "active" and bench.tick() == 7.0


def test_a_name_is_given_once():
    bench = Bench()
    bench.manager.load("c", "x", lambda: Scripted("c"))
    for name in ("a", "hold", "c"):
        words = f"there is a controller '{name}' already"
        assert refusal(bench.manager.load, name, "x", lambda: Scripted("c")) == words


def test_configuring_anew_makes_another_one_and_ends_the_one_before():
    bench, made = Bench(), []
    bench.manager.load("c", "x", lambda: made.append(Scripted("c", len(made))) or made[-1])
    bench.manager.configure("c")
    bench.manager.configure("c")
    assert len(made) == 2 and made[0].calls == ["close"] and made[1].calls == []
    bench.manager.switch(["c"])
    assert bench.tick() == 1.0


def test_what_cannot_be_made_stays_unconfigured_and_says_why():
    bench = Bench()

    def make():
        raise OSError("no such arm")

    bench.manager.load("c", "x", make)
    assert refusal(bench.manager.configure, "c") == "'c' cannot be made: OSError: no such arm"
    assert bench.states["c"] == "unconfigured" and bench.tick() == 1.0


def test_unloading_ends_a_controller_and_frees_its_name():
    bench, made = Bench(), []
    bench.manager.load("c", "x", lambda: made.append(Scripted("c")) or made[-1])
    bench.manager.configure("c")
    bench.manager.unload("c")
    assert made[0].calls == ["close"] and "c" not in bench.states
    assert refusal(bench.manager.unload, "c") == "no controller 'c'; there are a, b, spare, hold"
    bench.manager.load("c", "x", lambda: Scripted("c"))


def test_one_that_fails_as_it_is_closed_is_removed_and_the_others_are_closed_too(caplog):
    bench = Bench()

    def close():
        raise OSError("the line is dead")

    bench.a.close = close
    bench.manager.close()
    assert bench.b.calls == ["close"]
    assert caplog.messages == ["'a' failed as it was closed: OSError: the line is dead"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a", "'a' is active"),
        ("b", "'b' stands by for the others"),
        ("spare", "'spare' stands by for the others"),
        ("hold", "'hold' stands by for the others"),
        ("zzz", "no controller 'zzz'; there are a, b, spare, hold"),
    ],
)
def test_what_may_be_needed_at_any_tick_can_neither_be_unloaded_nor_made_anew(name, why):
    bench = Bench()
    bench.tick()
    assert refusal(bench.manager.unload, name) == why
    assert refusal(bench.manager.configure, name) == why


def test_one_that_was_switched_away_from_can_be_unloaded_before_the_next_tick():
    bench = Bench(chain=("hold",))
    bench.tick()
    bench.manager.switch(["b"])
    bench.manager.unload("a")
    assert bench.a.calls[-2:] == ["deactivate", "close"]
    assert bench.tick() == 2.0 and bench.b.activated == 1


def test_one_of_the_chain_can_be_loaded_later():
    bench = Bench(chain=("c", "hold"))
    bench.a.error = ValueError()
    assert bench.tick() == 0.0
    bench.manager.load("c", "x", lambda: Scripted("c", 7.0))
    assert bench.tick() == 0.0
    bench.manager.configure("c")
    assert bench.tick() == 7.0


def test_those_that_are_there_from_the_start_are_not_made_anew():
    bench = Bench(chain=())
    bench.tick()
    assert "is there from the start" in refusal(bench.manager.configure, "b")


# Switching.


def test_a_switch_takes_effect_at_the_next_tick_and_begins_with_the_last_command():
    bench = Bench()
    bench.tick()
    assert bench.manager.switch(["b"]) == "switched from 'a' to 'b'"
    assert bench.states == {"a": "inactive", "b": "active", "spare": "inactive", "hold": "inactive"}
    given = []
    bench.b.on_update = lambda: given.append(float(bench.last[0]))
    assert bench.tick() == 2.0 and given == [1.0]
    assert bench.b.calls == ["activate", "update"] and bench.a.calls[-1] == "deactivate"
    assert bench.a.sent == [1.0] and bench.b.sent == [2.0]


def test_deactivating_the_active_one_leaves_the_safe_one():
    bench = Bench()
    bench.tick()
    assert bench.manager.switch([], ["a"]) == "switched from 'a' to 'hold'"
    assert bench.tick() == 0.0 and bench.manager.active is bench.hold
    assert bench.manager.failure == "" and bench.manager.fallbacks == 0


@pytest.mark.parametrize(
    ("activate", "deactivate", "words"),
    [
        (["zzz"], [], "no controller 'zzz'; there are a, b, spare, hold"),
        ([], ["zzz"], "no controller 'zzz'; there are a, b, spare, hold"),
        (["a", "b"], [], "one controller can be active at a time, not a and b"),
        (["b"], ["hold"], "'hold' is not active; 'a' is"),
    ],
)
def test_a_strict_switch_that_does_not_fit_changes_nothing(activate, deactivate, words):
    bench = Bench()
    bench.tick()
    assert refusal(bench.manager.switch, activate, deactivate, strict=True) == words
    assert bench.tick() == 1.0 and bench.a.activated == 1


def test_a_switch_at_best_effort_ignores_what_does_not_fit():
    bench = Bench()
    bench.manager.switch(["b", "zzz"], ["hold", "yyy"], strict=False)
    assert bench.tick() == 2.0


@pytest.mark.parametrize(
    ("activate", "words"), [(["zzz"], "no controller 'zzz'"), (["a", "b"], "one controller")]
)
def test_a_switch_at_best_effort_of_which_nothing_or_too_much_fits_is_refused(activate, words):
    bench = Bench()
    assert words in refusal(bench.manager.switch, activate, strict=False)


def test_a_name_given_twice_is_one():
    bench = Bench()
    bench.manager.switch(["b", "b"], ["a", "a"])
    assert bench.tick() == 2.0


def test_a_controller_that_fails_to_be_activated_leaves_the_old_one_in_command():
    bench = Bench()
    bench.tick()
    bench.b.activation_error = OSError("no such device")
    words = "'b' cannot be activated: OSError: no such device; 'a' goes on"
    assert refusal(bench.manager.switch, ["b"]) == words
    assert bench.tick() == 1.0 and bench.a.activated == 1 and bench.manager.failure == ""
    bench.b.activation_error = None
    bench.manager.switch(["b"])
    assert bench.tick() == 2.0


def test_an_activation_that_hangs_is_given_up_at_its_timeout_while_the_old_one_acts():
    bench, gate = Bench(), threading.Event()
    bench.tick()
    bench.b.on_activate = lambda: gate.wait(20) or None
    answers = []
    switch = threading.Thread(
        target=lambda: answers.append(refusal(bench.manager.switch, ["b"], timeout=0.2))
    )
    switch.start()
    while bench.b.activated == 0:
        pass
    assert bench.tick() == 1.0  # meanwhile
    assert refusal(bench.manager.switch, ["hold"]) == (
        "another change of the controllers is under way"
    )
    switch.join(20)
    assert answers == ["'b' takes longer than 0.2 s to be activated; 'a' goes on"]
    gate.set()
    assert bench.tick() == 1.0 and bench.manager.active is bench.a


def test_an_activation_in_time_is_a_switch():
    bench = Bench()
    bench.manager.switch(["b"], timeout=10.0)
    assert bench.tick() == 2.0 and bench.b.activated == 1


def test_a_switch_to_the_one_that_acts_for_it_goes_on_without_a_break():
    bench = Bench()
    bench.a.error = ValueError()
    assert bench.tick() == 2.0
    bench.manager.switch(["b"])
    assert bench.tick() == 2.0 and bench.b.activated == 1 and "deactivate" not in bench.b.calls


def test_a_switch_from_one_that_has_failed_is_not_its_recovery(caplog):
    bench = Bench(chain=("hold",))
    bench.a.error = ValueError("no luck")
    bench.tick()
    caplog.clear()
    bench.manager.switch(["b"])
    assert bench.tick() == 2.0 and bench.manager.failure == "" and caplog.messages == []


def test_one_that_waits_for_something_is_not_switched_to_while_the_active_one_can_act():
    bench = Bench()
    bench.b.waits = "waits for a command"
    assert refusal(bench.manager.switch, ["b"]) == "'b' waits for a command; 'a' goes on"
    bench.a.waits = "waits for a model"
    message = "switched from 'a' to 'b', which waits for a command"
    assert bench.manager.switch(["b"]) == message
    assert bench.tick() == 0.0 and bench.b.activated == 0
    bench.b.waits = ""
    assert bench.tick() == 2.0 and bench.b.activated == 1


def test_a_switch_to_itself_changes_nothing_but_forgets_a_failure():
    bench = Bench(recovery=0)
    bench.a.error = ValueError("no luck")
    assert [bench.tick(), bench.tick(after=1000.0)] == [2.0, 2.0]
    bench.a.error = None
    assert bench.manager.switch(["a"]) == "'a' is active already"
    assert bench.tick() == 1.0 and bench.manager.failure == ""


def test_whoever_looks_is_told_when_a_state_changes_and_only_then():
    bench, told = Bench(), []
    bench.manager.on_change = lambda: told.append(bench.states)
    bench.tick()
    assert told == []
    bench.manager.switch(["b"])
    assert told[-1]["b"] == "active"
    bench.manager.load("c", "x", lambda: Scripted("c"))
    assert told[-1]["c"] == "unconfigured"
    bench.manager.configure("c")
    assert told[-1]["c"] == "inactive"
    bench.manager.unload("c")
    assert "c" not in told[-1]


def test_a_controller_that_cannot_say_whether_it_is_ready_is_not():
    class Broken(Scripted):
        @property
        def not_ready(self):
            raise KeyError("model")

    bench = Bench([Broken("broken"), Scripted("b", 2.0)])
    assert bench.tick() == 0.0
    loaded = {c.name: c.not_ready for c in bench.manager.loaded()}
    assert loaded["broken"] == "cannot say whether it is ready: KeyError: 'model'"


def test_a_thousand_switches_at_random_between_ticks_leave_one_in_command_at_each():
    bench, rng = Bench(), np.random.default_rng(0)
    values = {"a": 1.0, "b": 2.0, "spare": 3.0, "hold": 0.0}
    for _ in range(1000):
        name = rng.choice(list(values))
        bench.manager.switch([name], strict=bool(rng.integers(2)))
        assert bench.manager.active.name == name
        assert bench.tick() == values[name] and bench.manager.acting.name == name
    assert bench.manager.fallbacks == 0
    for each in (bench.a, bench.b, bench.spare):  # in command and out of it, in turns
        turns = [c for c in each.calls if c != "update"]
        assert (
            turns == ["activate", "deactivate"] * (len(turns) // 2) + turns[len(turns) // 2 * 2 :]
        )


def test_switches_from_another_thread_come_between_two_ticks():
    bench, stop = Bench(), threading.Event()
    acting = []
    for each in (bench.a, bench.b):
        each.on_update = lambda each=each: acting.append(each.name)

    def switch():
        while not stop.is_set():
            for name in ("b", "a"):
                bench.manager.switch([name])
                turns.append(name)

    turns, values = [], []
    thread = threading.Thread(target=switch)
    thread.start()
    while len(turns) < 1000 or len(values) < 1000:
        values.append(bench.tick())
        assert len(acting) == len(values)  # one a tick
    stop.set()
    thread.join()
    assert values == [{"a": 1.0, "b": 2.0}[name] for name in acting]
    assert bench.manager.failure == "" and bench.manager.fallbacks == 0


# While the active one waits.


def test_a_learned_controller_without_a_model_is_stood_in_for_by_the_standby():
    learned = Scripted("learned", 9.0, learned=True)
    bench = Bench([learned])
    learned.waits = "waits for the first model"
    assert bench.tick() == 3.0 and bench.manager.active is learned
    assert bench.manager.failure == "" and bench.manager.fallbacks == 0
    learned.waits = ""
    assert bench.tick() == 9.0


def test_another_that_waits_is_stood_in_for_by_the_safe_one():
    bench = Bench()
    bench.a.waits = "waits for a command"
    assert bench.tick() == 0.0 and bench.spare.calls == []
    bench.a.waits = ""
    assert bench.tick() == 1.0


def test_a_standby_that_fails_is_one_of_those_that_have_failed(caplog):
    learned = Scripted("learned", 9.0, learned=True)
    bench = Bench([learned], chain=("hold",))
    learned.waits, bench.spare.error = "waits for the first model", ValueError("no luck")
    assert [bench.tick() for _ in range(3)] == [0.0] * 3
    assert bench.spare.activated == 1  # not again at each tick
    assert caplog.messages == ["'spare' cannot act for 'learned': ValueError: no luck"]


# Failures.


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (math.nan, "ValueError: the action [nan] is not finite"),
        (-math.inf, "ValueError: the action [-inf] is not finite"),
        ([1.0, 2.0], "ValueError: an action of 1 values was expected, got shape (2,)"),
        ([], "ValueError: an action of 1 values was expected, got shape (0,)"),
        ([[1.0]], "ValueError: an action of 1 values was expected, got shape (1, 1)"),
        (None, "ValueError: an action of 1 values was expected, got shape ()"),
    ],
)
def test_an_action_that_is_none_brings_the_next_of_the_chain_into_command_in_the_same_tick(
    bad, reason, caplog
):
    bench = Bench()
    bench.tick()
    bench.a.value = bad
    assert bench.tick() == 2.0
    assert bench.manager.failure == reason and bench.manager.acting is bench.b
    assert caplog.messages == [f"'a' does not act: {reason}; 'b' acts; tried again in 1 s"]


def test_an_exception_is_contained_in_the_same_tick_and_its_cause_logged_once(caplog):
    bench = Bench()
    bench.tick()
    bench.a.error = ZeroDivisionError("1 / 0")
    assert [bench.tick() for _ in range(4)] == [2.0] * 4
    assert bench.a.calls.count("update") == 2 and bench.a.calls[-1] == "deactivate"
    assert bench.manager.fallbacks == 1
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "'a' does not act: ZeroDivisionError: 1 / 0; 'b' acts" in caplog.messages[0]


def test_the_chain_is_tried_in_its_order_within_one_tick(caplog):
    bench = Bench(chain=("nobody", "b", "spare", "hold"))
    bench.a.error, bench.b.error = ValueError("a"), ValueError("b")
    order = []
    for each in (bench.a, bench.b, bench.spare):
        each.on_update = lambda each=each: order.append(each.name)
    assert bench.tick() == 3.0 and order == ["a", "b", "spare"]
    assert bench.manager.failure == "ValueError: a"
    assert "'b' cannot act for 'a': ValueError: b" in caplog.messages
    assert bench.tick() == 3.0 and order == ["a", "b", "spare", "spare"]


def test_those_of_the_chain_that_wait_are_passed_over():
    bench = Bench(chain=("b", "spare", "hold"))
    bench.a.error, bench.b.waits = ValueError(), "waits for the first model"
    assert bench.tick() == 3.0 and bench.b.calls == []


def test_when_all_fail_the_safe_one_acts_although_the_chain_does_not_name_it():
    bench = Bench(chain=("b",))
    bench.a.error, bench.b.error = ValueError(), ValueError()
    assert bench.tick() == 0.0 and bench.manager.acting is bench.hold


def test_when_even_the_safe_one_fails_the_last_command_goes_on():
    a, hold = Scripted("a", 1.0), Scripted("hold", 0.0)
    manager = ControllerManager([a, hold], "hold", "hold", FallbackConfig())
    a.error = hold.error = ValueError()
    action = manager.update(Observation(0, 0, np.zeros(4)), np.array([0.7]))
    assert action.tolist() == [0.7]


def test_a_failing_activation_in_a_tick_is_contained_too():
    bench = Bench()
    bench.a.activation_error = OSError("no such device")
    assert bench.tick() == 2.0 and bench.manager.failure == "OSError: no such device"
    bench.a.activation_error = None
    assert bench.tick(after=1.0) == 1.0


def test_a_failure_after_the_command_brings_the_next_one_at_the_next_tick():
    bench = Bench()
    bench.a.commanded_error = RuntimeError("lost count")
    assert bench.tick() == 1.0
    assert bench.tick() == 2.0 and bench.manager.failure == "RuntimeError: lost count"


def test_one_that_fails_as_it_is_taken_out_of_command_does_not_stay_in_it(caplog):
    bench = Bench()
    bench.tick()

    def deactivate():
        raise OSError("stuck")

    bench.a.deactivate = deactivate
    bench.manager.switch(["b"])
    assert bench.tick() == 2.0 and bench.manager.acting is bench.b
    assert caplog.messages == ["'a' failed as it was deactivated: OSError: stuck"]


def test_updates_longer_than_the_period_fail_after_so_many_in_a_row(monkeypatch):
    bench, clock = Bench(period=0.04, max_misses=3), [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def take(seconds):
        clock[0] += seconds

    values = []
    for seconds in (0.05, 0.05, 0.01, 0.05, 0.05, 0.07, 0.0):
        bench.a.on_update = lambda seconds=seconds: take(seconds)
        values.append(bench.tick())
    assert values == [1.0] * 5 + [2.0] * 2
    assert bench.manager.failure == (
        "TimeoutError: an update took 70.0 ms, and 3 deadlines in a row were missed by updates "
        "(control period 40 ms)"
    )


def test_an_update_that_hangs_counts_for_every_deadline_that_it_misses(monkeypatch):
    bench, clock = Bench(period=0.04, max_misses=5), [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    bench.tick()

    def hang():
        clock[0] += 1.0

    bench.a.on_update = hang
    assert bench.tick() == 2.0 and "25 deadlines in a row" in bench.manager.failure


def test_slow_updates_of_the_one_before_do_not_count_after_a_switch(monkeypatch):
    bench, clock = Bench(period=0.04, max_misses=2), [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def take():
        clock[0] += 0.05

    bench.a.on_update = bench.b.on_update = take
    bench.tick()
    bench.manager.switch(["b"])
    assert [bench.tick(), bench.tick()] == [2.0, 2.0]  # nor does the first, which may prepare
    assert bench.tick() == 0.0


# Recovery.


def test_a_controller_that_is_well_again_returns_after_the_recovery_time(caplog):
    bench = Bench(recovery=1.0)
    bench.tick()
    bench.a.error = ValueError("no luck")
    assert bench.tick() == 2.0
    bench.a.error = None
    assert bench.tick(after=0.9) == 2.0 and bench.tick(after=0.2) == 1.0
    assert bench.manager.failure == "" and bench.manager.fallbacks == 1
    assert caplog.messages[1:] == ["'a' acts again, after 'b'"]
    assert bench.a.activated == 2 and bench.b.calls[-1] == "deactivate"


def test_the_time_to_the_next_trial_doubles_with_each_further_failure(caplog):
    bench = Bench(recovery=1.0)
    bench.a.error = ValueError("no luck")
    tried, count = [], 0
    for k in range(4000):
        bench.tick(after=0.25)
        if bench.a.calls.count("update") > count:
            count, _ = count + 1, tried.append(0.25 * k)
    waits = np.diff(tried).tolist()
    assert waits[:6] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert set(waits[6:]) == {LONGEST_WAIT}
    assert len(caplog.messages) == 1  # the same cause


def test_another_cause_is_logged_too(caplog):
    bench = Bench(recovery=1.0)
    bench.a.error = ValueError("no luck")
    bench.tick()
    bench.a.error = ValueError("still none")
    bench.tick(after=1.0)
    assert bench.manager.failure == "ValueError: still none" and bench.manager.fallbacks == 1
    assert [m.split(";")[0] for m in caplog.messages] == [
        "'a' does not act: ValueError: no luck",
        "'a' does not act: ValueError: still none",
    ]


def test_after_being_well_for_as_long_as_it_waited_the_first_wait_is_the_short_one_again():
    bench = Bench(recovery=1.0)
    for well, then in ((0.5, 2.0), (1.5, 1.0)):
        bench.manager.switch(["a"])
        bench.a.error = ValueError()
        bench.tick()
        bench.a.error = None
        assert bench.tick(after=1.0) == 1.0
        assert bench.tick(after=well) == 1.0 and bench.tick() == 1.0
        bench.a.error = ValueError()
        bench.tick()
        bench.a.error = None
        assert bench.tick(after=then - 0.1) == 2.0 and bench.tick(after=0.2) == 1.0


def test_with_a_recovery_of_0_only_a_switch_brings_it_back():
    bench = Bench(recovery=0)
    bench.a.error = ValueError()
    bench.tick()
    bench.a.error = None
    assert bench.tick(after=1e6) == 2.0
    bench.manager.switch(["b"])
    bench.tick()
    bench.manager.switch(["a"])
    assert bench.tick() == 1.0


def test_a_clock_that_is_set_back_does_not_lengthen_the_wait():
    bench = Bench(recovery=1.0)
    bench.a.error = ValueError()
    bench.tick()
    bench.a.error = None
    bench.time = 0
    assert bench.tick() == 2.0
    assert bench.tick(after=0.9) == 2.0 and bench.tick(after=0.2) == 1.0


def test_settings_that_change_count_from_the_next_failure():
    bench = Bench(recovery=1.0)
    bench.a.error = ValueError()
    bench.tick()
    bench.manager.fallback = FallbackConfig(chain=("spare",), recovery=5.0)
    assert bench.tick() == 3.0
    bench.tick(after=1.0)  # fails again
    bench.a.error = None
    assert bench.tick(after=4.9) == 3.0 and bench.tick(after=0.2) == 1.0


# A breach of the envelope, and a break.


def test_at_a_breach_the_next_of_the_chain_acts_until_it_is_over(caplog):
    bench = Bench(recovery=0)
    bench.tick()
    breach = "x = 4 m is beyond its soft limit 3"
    assert bench.tick(breach=breach) == 2.0 and bench.manager.failure == breach
    assert bench.tick(breach=breach) == 2.0 and bench.manager.fallbacks == 1
    assert bench.tick() == 1.0 and bench.manager.failure == ""
    assert caplog.messages == [
        f"'a' does not act: {breach}; 'b' acts",
        "'a' acts again, after 'b'",
    ]


def test_an_active_one_that_is_of_the_chain_does_not_act_at_a_breach_either():
    bench = Bench()
    bench.manager.switch(["b"])
    bench.tick()
    assert bench.tick(breach="beyond") == 0.0 and bench.manager.acting is bench.hold


def test_after_a_restart_whoever_acts_starts_afresh_and_the_one_before_knows_that_it_was_out():
    bench = Bench()
    bench.tick()
    bench.manager.restart()
    assert bench.a.calls[-1] == "deactivate" and bench.manager.acting is bench.hold
    bench.manager.restart()
    bench.tick()
    assert bench.a.calls == ["activate", "update", "deactivate", "activate", "update"]


def test_a_restart_between_a_switch_and_its_first_tick_activates_once_more():
    bench = Bench()
    bench.tick()
    bench.manager.switch(["b"])
    bench.manager.restart()
    assert bench.tick() == 2.0 and bench.b.activated == 2
