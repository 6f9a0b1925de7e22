"""Whether a bad model is noticed by what happens, and a good one is left alone."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mbrl_node.control.model_watch import Happened, ModelWatch, Rollback, RollbackError
from mbrl_node.models import ModelConfig, WorldModel, load_checkpoint, save_checkpoint
from mbrl_node.models.geometry import StateGeometry
from mbrl_node.planning import Rollout
from mbrl_node.spec import load_spec
from mbrl_node.spec.system import BoxSystem
from mbrl_node.spec.task import Task

DT = 0.1  # a window is 10 steps
SYSTEM = BoxSystem("line", DT, ("x", "v"), ("force",), -np.ones(1), np.ones(1))
MANY = 1000  # transitions of a model with experience
GAIN = 0.5


class Linear:
    """Says that the action changes v by `gain`, and v changes x."""

    members, state_dim, device = 1, 2, torch.device("cpu")

    def __init__(self, gain: float = GAIN, history: int = 1, error: Exception | None = None):
        self.gain, self.error = gain, error
        self.config = SimpleNamespace(history=history)
        self.geometry = StateGeometry(SYSTEM)
        self.delta_std = torch.tensor([0.1, 0.5])

    def model_state(self, states, actions):
        assert len(states) == len(actions) + 1
        return states[-1]

    def predict(self, state, action):
        if self.error is not None:
            raise self.error
        v = state[..., 1:] + self.gain * action
        return torch.cat((state[..., :1] + DT * v, v), -1)


def rollout(model: Linear) -> SimpleNamespace:
    return SimpleNamespace(model=model, history=model.config.history)


class Robot:
    """Moves as a line does, and tells a watch of it.

    Args:
        gain: of its actuator.
        noise: standard deviation of what is measured of v.
    """

    def __init__(self, gain: float = GAIN, noise: float = 0.0, seed: int = 0):
        self.rollbacks: list[Rollback] = []
        self.watch = ModelWatch(DT, self.rollbacks.append)
        self.gain, self.noise = gain, noise
        self._rng = np.random.default_rng(seed)
        self.now, self._state = 0.0, np.zeros(2)

    def use(self, number, gain=GAIN, transitions=MANY, **kwargs):
        model = Linear(gain, **kwargs)
        self.watch.use(model, rollout(model), number, transitions)

    def step(self, count=1, took=DT):
        """The numbers of the versions in use before each step."""
        used = []
        for _ in range(count):
            action = self._rng.uniform(-1, 1, 1)
            before, noise = self._state, self.noise * self._rng.standard_normal()
            v = before[1] + self.gain * action[0] + noise
            self._state = np.array([before[0] + DT * v, v])
            times = np.array([self.now, self.now + took])
            self.now += took
            used.append(self.version)
            self.watch.judge(Happened(times, np.stack((before, self._state)), action[None]))
        return used

    @property
    def version(self):
        return self.watch.used[1] if self.watch.used else 0

    @property
    def good(self):
        return self.watch.good[1] if self.watch.good else 0

    def settle(self, number=1, **kwargs):
        """A version becomes good."""
        self.use(number, **kwargs)
        self.step(12)
        assert self.good == number and not self.rollbacks


@pytest.fixture
def robot():
    return Robot(noise=0.01)


def test_a_version_becomes_good_when_a_window_went_by_without_complaint(robot):
    robot.use(1)
    assert robot.good == 0 and math.isnan(robot.watch.error)
    robot.step(9)
    assert robot.good == 0
    robot.step(3)
    assert robot.good == 1
    assert robot.watch.error == pytest.approx(0.01 / 0.5, rel=0.5)  # noise over delta_std, both v


@pytest.mark.parametrize("gain", [-GAIN, 0.0, 3.0])
def test_a_bad_version_never_acts_where_the_last_second_shows_what_it_is(robot, gain):
    robot.settle(1)
    robot.use(2, gain=gain)
    robot.step()
    (rollback,) = robot.rollbacks
    assert (rollback.bad, rollback.good, robot.version) == (2, 1, 1)
    assert rollback.reason.startswith("it would have predicted the last second ")
    assert rollback.reason.endswith(" times worse")
    robot.step(30)
    assert len(robot.rollbacks) == 1 and robot.version == robot.good == 1


def test_a_version_that_goes_wrong_only_later_is_noticed_within_a_window(robot):
    robot.settle(1)

    class LearnedByHeart(Linear):
        """Right as long as x was small."""

        def predict(self, state, action):
            return super().predict(state, action) + 2.0 * (state[..., :1].abs() > 100.0)

    model = LearnedByHeart()
    robot.watch.use(model, rollout(model), 2, MANY)
    robot.step(5)
    assert robot.version == 2
    robot._state = np.array([200.0, 0.0])
    robot.step(10)
    assert robot.version == 1
    assert robot.rollbacks[0].reason.startswith("it predicted the last second ")


def test_a_row_of_versions_that_are_bad_in_use_is_noticed_though_each_knows_the_past(robot):
    robot.settle(1)

    class Historian(Linear):
        """Knows what was, and nothing of what will be."""

        def __init__(self, until):
            super().__init__()
            self.until = until

        def predict(self, state, action):
            return super().predict(state, action) + 3.0 * (state[..., :1] > self.until)

    robot._state = np.array([100.0, 5.0])  # x goes up, so that it tells the time
    for number in range(2, 12):
        model = Historian(robot._state[0] - 0.25)
        robot.watch.use(model, rollout(model), number, MANY)
        robot.step(2)
        if robot.rollbacks:
            break
    (rollback,) = robot.rollbacks
    assert rollback.good == 1
    assert rollback.reason.startswith("it and those before it predicted the last second ")


def test_versions_that_predict_alike_are_never_rolled_back_and_become_good_in_turn(robot):
    rng = np.random.default_rng(1)
    for number in range(1, 100):
        robot.use(number, gain=GAIN * rng.uniform(0.95, 1.05))
        robot.step(2)  # several a window
    assert not robot.rollbacks and robot.version == 99
    assert 99 - 2 * 10 / 2 <= robot.good < 99


def test_a_robot_that_changes_is_no_reason_to_go_back(robot):
    robot.settle(1)
    robot.use(2, gain=1.05 * GAIN)
    robot.step(12)
    robot.use(3)
    robot.gain = 0.2 * GAIN
    robot.step(40)
    assert not robot.rollbacks and robot.version == 3
    robot.use(4, gain=0.2 * GAIN)  # has learned it
    robot.step(20)
    assert not robot.rollbacks and robot.good == 4


def test_predictions_that_are_not_finite_are_noticed_at_once(robot):
    robot.settle(1, transitions=0)  # even where the good one has no experience
    robot.use(2, gain=math.inf)
    robot.step()
    assert robot.version == 1
    assert robot.rollbacks == [Rollback(2, 1, "its predictions are not finite")]


def test_the_first_version_cannot_be_gone_back_from_and_that_is_said(robot, caplog):
    robot.use(1, gain=math.nan)
    robot.step(30)
    assert not robot.rollbacks and (robot.version, robot.good) == (1, 0)
    said = [r.getMessage() for r in caplog.records]
    assert said == [
        "the predictions of model 1 are not finite, and there is no good version before it to go "
        "back to"
    ]
    robot.use(2)
    robot.step(22)
    assert robot.good == 2


def test_without_experience_a_version_is_gone_back_to_for_no_error(robot):
    robot.settle(1, transitions=90)
    robot.use(2, gain=-GAIN, transitions=95)
    robot.step(30)
    assert not robot.rollbacks and robot.good == 2  # at first each version is the good one in turn


def test_a_version_that_is_a_little_worse_stays_and_does_not_become_good(robot):
    robot.settle(1)
    robot.use(2, gain=1.25 * GAIN)
    robot.step(30)
    assert not robot.rollbacks and (robot.version, robot.good) == (2, 1)


def test_steps_are_predicted_where_one_followed_the_other_after_one_period(robot):
    robot.settle(1)
    robot.watch._steps = []
    robot.step(10, took=1.5 * DT)  # late measurements
    state = np.stack((np.zeros(2), np.full(2, 50.0)))
    for k in range(10):  # the first after a break has nothing before it
        robot.watch.judge(Happened(np.array([robot.now + k]), state[:1], np.empty((0, 1))))
    assert len(robot.watch._steps) == 0


def test_steps_that_a_request_tells_of_again_count_once_and_those_in_between_count(robot):
    robot.settle(1)
    robot.watch._steps = []
    robot.watch._waiting.clear()
    times = robot.now + DT * np.arange(9)
    states, actions = np.zeros((9, 2)), np.zeros((8, 1))
    for last in (3, 5, 8):  # plans take two periods and three
        part = slice(max(0, last - 4), last + 1)
        robot.watch.judge(Happened(times[part], states[part], actions[part.start : last]))
    begun = sorted(len(s.states) for s in robot.watch._steps)
    assert len(robot.watch._steps) == 8 and max(begun) == 4


def test_a_clock_that_is_set_back_is_no_end_of_watching(robot):
    robot.settle(1)
    robot.now = -1000.0
    robot.use(2, gain=-GAIN)
    robot.step(5)
    assert robot.version == 1


def test_at_high_rates_not_every_step_is_predicted():
    watch, rate = ModelWatch(1 / 500), 500
    model = Linear()
    watch.use(model, rollout(model), 1, MANY)
    for k in range(rate):
        times = np.array([k, k + 1]) / rate
        watch.judge(Happened(times, np.zeros((2, 2)), np.zeros((1, 1))))
    assert 45 <= len(watch._steps) <= 50


def test_a_model_with_a_longer_memory_is_not_judged_by_what_was_before(robot):
    robot.settle(1)
    robot.use(2, history=3)
    assert len(robot.watch._steps) == 0
    robot.step(25)
    assert robot.good == 2
    robot.use(3, gain=-GAIN)
    robot.step()
    assert robot.version == 2


def test_a_version_that_was_rolled_back_and_those_before_it_are_not_taken_again(robot):
    robot.settle(1)
    robot.use(5, gain=-GAIN)
    robot.step()
    for number in (2, 5):
        with pytest.raises(RollbackError, match=f"model {number} was rolled back"):
            robot.use(number)
    robot.use(6)
    robot.step(12)
    assert robot.version == robot.good == 6


def test_what_goes_wrong_in_a_model_costs_no_plan_and_is_said_once(robot, caplog):
    robot.settle(1)
    robot.use(2, error=RuntimeError("a plugin's"))
    robot.step(30)
    said = [r.getMessage() for r in caplog.records]
    assert said == ["models are not watched: RuntimeError: a plugin's"]
    assert robot.version == 2


def test_what_a_bad_version_did_is_not_held_against_the_next_one(robot):
    robot.settle(1)
    robot.use(2, gain=-GAIN)
    robot.watch._fresh = False  # as where it was not known at once
    robot.step(10)
    assert robot.version == 1
    robot.use(3)
    robot.step(20)
    assert len(robot.rollbacks) == 1 and robot.version == robot.good == 3


def test_an_operator_goes_back_one_good_version_after_the_other(robot):
    for number in (1, 2, 3):
        robot.use(number)
        robot.step(12)
    robot.use(4)
    done = [robot.watch.go_back("an operator wanted it") for _ in range(3)]
    assert [(r.bad, r.good) for r in done] == [(4, 3), (3, 2), (2, 1)]
    with pytest.raises(RollbackError, match="no good version before model 1"):
        robot.watch.go_back("an operator wanted it")
    assert robot.version == robot.good == 1 and not robot.rollbacks
    robot.step(30)
    assert robot.version == 1


def test_without_a_model_there_is_nothing_to_go_back_from(robot):
    with pytest.raises(RollbackError, match="there is no model yet"):
        robot.watch.go_back("an operator wanted it")


def test_a_version_that_predicts_better_is_not_gone_back_from_for_a_lower_reward(robot):
    robot.settle(1)
    robot.use(2)
    robot.gain = 0.3 * GAIN
    robot.step(5)
    robot.use(3, gain=0.3 * GAIN)
    robot.step(10)
    with pytest.raises(RollbackError, match="model 3 predicts the last second better than 1"):
        robot.watch.go_back("the reward fell", to=1, unless_better=True)
    assert robot.watch.go_back("the reward fell", to=1).good == 1


def test_other_rollouts_are_those_of_the_same_versions(robot):
    robot.settle(1)
    robot.use(2)
    robot.watch.remake(lambda world: SimpleNamespace(model=world, history=1, new=True))
    assert robot.watch.used[0].new and robot.watch.good[0].new
    assert (robot.version, robot.good) == (2, 1)


def test_a_plan_costs_next_to_nothing_more(tmp_path):
    spec = load_spec("cartpole")
    versions = []
    for number in (1, 2):
        torch.manual_seed(number)
        save_checkpoint(WorldModel(spec, ModelConfig()), tmp_path / "model", {})
        world, _ = load_checkpoint(tmp_path / "model", spec)
        versions.append((world, Rollout(world, Task.of(spec)), number))
    watch, took = ModelWatch(spec.dt), []
    watch.use(*versions[0], good=True)
    watch.use(*versions[1])
    for k in range(200):
        begin = time.thread_time()
        watch.judge(Happened(spec.dt * np.array([k, k + 1.0]), np.zeros((2, 4)), np.zeros((1, 1))))
        took.append(time.thread_time() - begin)
    print(f"{1e6 * np.mean(took):.0f} us a plan")
    assert len(watch._steps) == 25 and watch.used[1] == 2
