"""How much of the action's range may be used, and that nobody commands more."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import SECOND, Scripted

from mbrl_node.control import (
    ControllerManager,
    ControlLoop,
    Observation,
    RandomActions,
    SafetyFilter,
    Stops,
)
from mbrl_node.control.trust import ALL, Trust, around_safe
from mbrl_node.spec import load_spec

TRUST = {"initial": 0.2, "error": 0.3, "widen_time": 8.0}
FORCE = {"name": "force", "joint": "slider_to_cart", "min": -5, "max": 10, "safe": 0, "unit": "N"}
PLAIN = load_spec("cartpole").with_overrides(
    action={"fields": [FORCE]}, episode={"reset_service": None}, termination=[]
)
SPEC = PLAIN.with_overrides(trust=TRUST)
PERIOD = round(SPEC.dt * SECOND)
GOOD, BAD = 0.1, 0.5


class Bench:
    """A loop whose controller asks for what a test says, by a model that is as good as it says."""

    def __init__(self, spec=SPEC, dry_run=False):
        self.spec, self.stops = spec, Stops()
        self.a, self.spare = Scripted("a", 99.0), Scripted("spare")
        self.a.model_version, self.error = 1, GOOD
        manager = ControllerManager([self.a, self.spare], "spare", "spare", period=spec.dt)
        self.loop = ControlLoop(spec, manager, 1, self.stops, dry_run, model=self.model)
        self.time, self.x, self.events = 10 * PERIOD, 0.0, []

    def model(self):
        return self.a.model_version, self.error

    def run(self, seconds):
        """Ticks for so long; gives the last command."""
        for _ in range(round(seconds / self.spec.dt)):
            self.time += PERIOD
            state = np.array([self.x, math.pi, 0.0, 0.0])
            tick = self.loop.tick(Observation(self.time, self.time, state))
            self.events += [event.text for event in tick.events if event.kind == "trust"]
        return float(tick.action[0])

    @property
    def share(self):
        return self.loop.trust.share


def test_the_share_is_of_the_way_from_the_safe_command_to_each_limit():
    spec = SPEC.with_overrides(action={"fields": [FORCE | {"safe": -1}]})
    assert around_safe(spec, 0.5) == pytest.approx(np.array([[-3.0], [4.5]]))
    assert around_safe(spec, 1.0) == pytest.approx(np.array([[-5.0], [10.0]]))


def test_without_trust_in_the_file_all_of_the_range_may_be_used_always():
    trust = Trust(PLAIN)
    assert trust.share == 1.0 and trust.limits.size == 0
    assert [trust.look(5), trust.look(3), trust.lose("x"), trust.earn(9.0, GOOD)] == [""] * 4
    assert trust.share == 1.0


def test_at_first_only_the_first_share_is_sent_whoever_asks_for_more():
    bench = Bench()
    bench.a.model_version = 0
    assert bench.run(1.0) == pytest.approx(2.0)
    bench.a.value = -99.0
    assert bench.run(1.0) == pytest.approx(-1.0)
    bench.a.value = -0.5
    assert bench.run(1.0) == -0.5
    bench.a.error, bench.spare.value = RuntimeError("no"), 99.0
    assert bench.run(1.0) == pytest.approx(2.0) and bench.share == 0.2


def test_it_widens_linearly_while_a_learned_model_acts_that_predicts_well():
    bench = Bench()
    bench.run(4.0 + SPEC.dt)
    assert bench.share == pytest.approx(0.6) and bench.events == []
    bench.run(4.0)
    assert bench.share == 1.0 and bench.events == [ALL]
    assert bench.run(1.0) == 10.0 and bench.events == [ALL]


@pytest.mark.parametrize("error", [BAD, math.nan, math.inf, 0.3])
def test_it_does_not_widen_by_a_model_that_predicts_badly_or_of_which_nobody_knows(error):
    bench = Bench()
    bench.error = error
    bench.run(9.0)
    assert bench.share == 0.2


def test_it_does_not_widen_while_no_model_acts_nor_while_the_robot_is_stopped_nor_in_a_dry_run():
    bench = Bench()
    bench.a.model_version = 0
    bench.run(9.0)
    bench.a.model_version = 1
    bench.stops.latch("emergency stop")
    bench.run(9.0)
    assert bench.share == 0.2
    bench = Bench(dry_run=True)
    bench.run(9.0)
    assert bench.share == 0.2


def test_a_rollback_takes_half_of_what_was_earned():
    bench = Bench()
    bench.run(9.0)
    bench.a.model_version = 3
    bench.run(SPEC.dt)
    assert bench.share == 1.0
    bench.a.model_version, bench.error = 2, BAD
    assert bench.run(SPEC.dt) == pytest.approx(6.0) and bench.share == pytest.approx(0.6)
    assert bench.events[1:] == ["60% of the action's range may be used, as model 3 gave way to 2"]
    bench.run(1.0)
    assert bench.share == pytest.approx(0.6)
    bench.error = GOOD
    bench.run(1.0)
    assert bench.share == pytest.approx(0.7)


def test_a_hard_limit_of_the_envelope_takes_half_of_it_too_but_once():
    bench = Bench(SPEC.with_overrides(envelope=[{"of": "x", "min": -1, "max": 1}]))
    bench.run(9.0)
    bench.x = 1.5
    bench.run(2.0)
    assert bench.share == pytest.approx(0.6)
    assert bench.events[1:] == [
        "60% of the action's range may be used, as x = 1.5 m is beyond its hard limit 1"
    ]


def test_there_is_no_less_than_the_first_share_and_that_is_not_told_again():
    bench = Bench()
    for version in range(9, 0, -1):
        bench.a.model_version, bench.error = version, BAD
        bench.run(SPEC.dt)
    assert bench.share == 0.2 and bench.events == []


def test_exploring_draws_from_what_is_trusted():
    random = RandomActions("random", SPEC)
    limits = around_safe(SPEC, 0.2)
    drawn = [
        float(random.update(Observation(k, k, np.zeros(4), limits=limits), np.zeros(1))[0])
        for k in range(600)
    ]
    assert -1.0 <= min(drawn) < -0.9 and 1.8 < max(drawn) <= 2.0


requests = st.lists(
    st.floats(-20.0, 20.0) | st.sampled_from([math.nan, math.inf, None]), min_size=1, max_size=30
)
changes = st.sampled_from(["", "", "", "rollback", "breach", "bad", "good", "stop"])


@given(st.data(), st.floats(0.05, 1.0), st.floats(-4.0, 9.0), requests)
@settings(max_examples=150, deadline=None)
def test_no_command_is_beyond_what_is_trusted_whatever_happens(data, initial, safe, asked):
    spec = SPEC.with_overrides(
        action={"fields": [FORCE | {"safe": safe}]},
        trust=TRUST | {"initial": initial, "widen_time": 0.5},
        envelope=[{"of": "x", "min": -1, "max": 1}],
    )
    bench = Bench(spec)
    bench.a.model_version = 100
    for value in asked:
        what = data.draw(changes)
        bench.a.value = value
        bench.a.model_version -= what == "rollback"
        bench.x = 2.0 if what == "breach" else 0.0
        bench.error = {"bad": BAD, "good": GOOD}.get(what, bench.error)
        if what == "stop":
            bench.stops.latch("emergency stop")
        before = bench.share
        sent = bench.run(spec.dt)
        trusted = around_safe(spec, max(before, bench.share))
        assert trusted[0] - 1e-9 <= sent <= trusted[1] + 1e-9
        bench.x = 0.0
        if bench.stops.reason:
            bench.run(spec.dt)
            bench.stops.release()


@given(st.lists(st.tuples(st.floats(-20.0, 20.0), st.floats(0.1, 1.0)), min_size=5, max_size=60))
@settings(max_examples=150, deadline=None)
def test_with_rate_and_jerk_limits_a_command_outside_comes_back_in_within_these(steps):
    spec = SPEC.with_overrides(action={"fields": [FORCE | {"max_rate": 60.0, "max_jerk": 3000.0}]})
    safety = SafetyFilter(spec)
    last_change = 0.0
    for value, share in steps:
        limits = around_safe(spec, share)
        safety.narrow(limits)
        for _ in range(12):  # long enough to arrive
            before = safety.last_action
            sent = safety(np.array([value]))
            change = float(sent[0] - before[0])
            assert abs(change) <= 60.0 * spec.dt + 1e-9
            assert abs(change - last_change) <= 3000.0 * spec.dt**2 + 1e-9
            last_change = change
        assert limits[0] - 1e-9 <= safety.last_action <= limits[1] + 1e-9
