"""Whether a fall of the reward is noticed, and put down to a version only where it may be to
blame."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mbrl_node.control.return_watch import Fall, ReturnWatch

DT = 0.05


class Run:
    """Rewards and versions over time, all that a watch is told."""

    def __init__(self, dt: float = DT) -> None:
        self.watch, self._dt, self.now = ReturnWatch(dt), dt, 0.0
        self.falls: list[tuple[float, Fall]] = []
        self._rng = np.random.default_rng(0)

    def go_on(self, seconds, reward, version, good=1, noise=0.05, targets=None):
        """So long the rewards are about this."""
        for _ in range(round(seconds / self._dt)):
            self.now += self._dt
            value = reward + noise * self._rng.standard_normal()
            if fall := self.watch.add(value, version, good, targets):
                self.falls.append((self.now, fall))
        return self.now


@pytest.fixture
def run():
    """One that has seen rewards of -1 and now, with version 1, has those of 1."""
    run = Run()
    run.go_on(4, -1.0, 1)
    run.go_on(8, 1.0, 1)
    return run


def test_a_fall_after_a_new_version_came_is_noticed_within_seconds(run):
    begin = run.now
    run.go_on(6, -1.0, 2)
    ((at, fall),) = run.falls
    assert 1.0 < at - begin < 3.0
    assert (fall.version, fall.good) == (2, 1)
    assert fall.before == pytest.approx(1.0, abs=0.1) and fall.now < fall.before - 0.5


def test_it_is_the_good_version_of_then_that_is_gone_back_to(run):
    run.go_on(4, 1.0, 7, good=5)
    run.go_on(2, -1.0, 8, good=7)
    run.go_on(2, -1.0, 8, good=8)  # it predicts well
    assert [f.good for _, f in run.falls] == [5]


def test_a_fall_while_the_same_version_acts_is_not_its_fault(run):
    run.go_on(10, -1.0, 1)
    assert not run.falls


def test_a_version_that_held_the_level_itself_is_not_to_blame(run):
    run.go_on(6, 1.0, 2)
    run.go_on(10, -1.0, 2)
    assert not run.falls


def test_while_versions_come_faster_than_the_reward_can_tell_none_is_to_blame():
    run = Run()
    for version in range(1, 200):
        run.go_on(0.2, 1.0 if version % 50 > 10 else -1.0, version)
    assert not run.falls


def test_small_falls_and_levels_that_were_not_held_are_none(run):
    run.go_on(8, 0.7, 2)  # an eighth of the range
    assert not run.falls
    for k in range(40):  # a swing-up goes up and down
        run.go_on(1.0, math.sin(k), 2)
    run.go_on(3, -1.0, 3)
    assert not run.falls


def test_what_is_interrupted_is_not_compared(run):
    run.watch.interrupt()  # a reset, after which the pole hangs
    run.go_on(4.5, -1.0, 2)
    assert not run.falls


def test_rewards_for_other_targets_are_not_compared():
    run, here, there = Run(), np.array([0.5]), np.array([1.5])
    run.go_on(20, -1.0, 1, targets=there)
    run.go_on(20, 1.0, 1, targets=here)
    run.go_on(4.5, -1.0, 2, targets=there)
    assert not run.falls
    run.go_on(20, 1.0, 2, targets=there.copy())
    run.go_on(10, -1.0, 3, targets=there.copy())
    assert [fall.version for _, fall in run.falls] == [3]


def test_the_same_fall_is_told_once(run):
    run.go_on(30, -1.0, 2)
    assert len(run.falls) == 1


def test_rewards_that_nobody_knows_are_none():
    run = Run()
    run.go_on(20, math.nan, 1)
    run.go_on(20, math.nan, 2)
    assert not run.falls


def test_it_works_for_slow_robots_too():
    run = Run(dt=2.0)
    run.go_on(20, -1.0, 1)
    run.go_on(20, 1.0, 1)
    run.go_on(10, -1.0, 2)
    assert [(f.version, f.good) for _, f in run.falls] == [(2, 1)]
