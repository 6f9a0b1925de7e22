"""The learner trains an inverse model beside the dynamics, and what it learned tracks."""

import math

import numpy as np
import pytest
import torch

from mbrl_node.control import Hold, Observation, RandomActions, RandomConfig, TrackingController
from mbrl_node.data import Records, ReplayBuffer, Transition, records_of
from mbrl_node.learning import InverseTrainer, Learner, LearnerConfig
from mbrl_node.models import InverseConfig, InverseModel, ModelConfig, load_checkpoint
from mbrl_node.planning import Rollout
from mbrl_node.spec.system import BoxSystem
from mbrl_node.spec.task import Task

DT = 0.05
PERIOD = round(DT * 1e9)
MASS = BoxSystem("mass", DT, ("x", "v"), ("a",), -2.0, 2.0)
TASK = Task(reward=lambda s, a, n: -n[..., 0].square(), termination=lambda n: n[..., 0] > 1e9)
CONFIG = LearnerConfig(min_transitions=20, gradient_steps=10)
MODEL = ModelConfig(members=2, hidden=(16,))
INVERSE = InverseConfig(train=True, members=3, hidden=(48, 48), gradient_steps=150)


def step(state, action):
    x, v = state
    return np.array([x + v * DT, v + action[0] * DT])


def explored(episode: int, count: int = 60) -> Records:
    """An episode of actions that are random from step to step."""
    explorer = RandomActions("random", MASS, RandomConfig(hold=0.0), seed=episode)
    state, result = np.random.default_rng(episode).uniform(-1, 1, 2), []
    for k in range(count):
        action = explorer.update(Observation(k, k, state), np.zeros(1))
        after = step(state, action)
        at = episode * count + k
        numbers = (state, action, action, after, 0.0, False, False, "random", 0)
        result.append(Transition(1, at, episode, k, at * PERIOD, (at + 1) * PERIOD, *numbers))
        state = after
    return records_of(result, 2, 1)


def learner(path, inverse: InverseConfig | None = INVERSE, seed: int = 0) -> Learner:
    return Learner(MASS, TASK, path, CONFIG, None, MODEL, seed, inverse=inverse)


def swing(k: int) -> np.ndarray:
    return np.array([0.6 * math.sin(1.2 * k * DT), 0.72 * math.cos(1.2 * k * DT)])


def followed(controller, ticks: int = 160) -> float:
    """The mean distance in m from the swing, after the first second."""
    controller.activate()
    state, errors = np.array([0.3, 0.0]), []
    for k in range(ticks):
        errors.append(abs(state[0] - swing(k)[0]))
        state = step(state, controller.update(Observation(k * PERIOD, 0, state), np.zeros(1)))
    return float(np.mean(errors[20:]))


def test_a_short_run_gives_a_checkpoint_that_tracks(tmp_path):
    it = learner(tmp_path)
    for episode in range(8):
        it.add(explored(episode))
        update = it.update()
    world, _ = load_checkpoint(update.path, MASS)
    controller = TrackingController("inverse_dynamics", MASS)
    controller.set_model(Rollout(world, TASK), update.version)
    controller.set_reference(np.array([swing(k) for k in range(160)]))
    assert controller.not_ready == ""
    error, held = followed(controller), followed(Hold("hold", MASS))
    assert error < 0.02 < 0.1 * held  # m
    assert controller.model_version == 8


def test_the_dynamics_are_the_same_to_the_bit_with_and_without_it(tmp_path):
    found = []
    for name, inverse in (("with", INVERSE), ("without", None)):
        it = learner(tmp_path / name, inverse)
        for episode in range(2):
            it.add(explored(episode))
            it.update()
        found.append(it.model)
    assert found[0].inverse is not None and found[1].inverse is None
    one, other = (model.dynamics.state_dict() for model in found)
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_same_seed_gives_the_same_bits(tmp_path):
    weights = []
    for name in ("a", "b"):
        it = learner(tmp_path / name, seed=3)
        it.add(explored(0))
        it.update()
        weights.append(it.model.inverse.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_what_has_learned_nothing_is_not_offered(tmp_path):
    config = INVERSE.model_copy(update={"steps": 30})
    it = learner(tmp_path, config)
    it.add(explored(0, 30))  # one sequence of 30 steps: too little to learn from
    assert load_checkpoint(it.update().path, MASS)[0].inverse is None
    it.add(explored(1))
    assert load_checkpoint(it.update().path, MASS)[0].inverse.steps == 30


def test_a_restart_goes_on_with_the_weights_or_anew_when_another_shape_is_wanted(tmp_path):
    it = learner(tmp_path)
    it.add(explored(0))
    it.update()
    learned = it.model.inverse.state_dict()
    again = learner(tmp_path, INVERSE.model_copy(update={"gradient_steps": 1}), seed=9)
    kept = again.model.inverse.state_dict()
    assert all(torch.equal(learned[key], kept[key]) for key in learned)
    assert again.model.inverse.config.gradient_steps == 1
    other = learner(tmp_path, INVERSE.model_copy(update={"steps": 2}))
    assert other.model.inverse is None
    other.add(explored(1))
    assert load_checkpoint(other.update().path, MASS)[0].inverse.steps == 2
    untrained = learner(tmp_path, None)  # what there is is kept
    untrained.add(explored(2))
    assert load_checkpoint(untrained.update().path, MASS)[0].inverse.steps == 2


def test_a_refit_of_the_dynamics_keeps_the_inverse(tmp_path, monkeypatch):
    monkeypatch.setattr("mbrl_node.learning.refit.FIRST", 20)
    config = LearnerConfig(min_transitions=20, gradient_steps=1)
    it = Learner(MASS, TASK, tmp_path, config, None, MODEL, inverse=INVERSE)
    it.add(explored(0))
    it.update()
    while it.due:
        it.update()
    assert it.store.versions()[-1].reason.startswith("refit") and it.model.inverse is not None


def buffer_of(*episodes: int) -> ReplayBuffer:
    buffer = ReplayBuffer(2, 1)
    for episode in episodes:
        buffer.add(explored(episode))
    return buffer


def test_training_that_diverges_leaves_the_weights_as_they_were_and_harms_nothing_else(
    tmp_path, caplog
):
    it = learner(tmp_path)
    it.add(explored(0))
    it.update()
    before = {key: value.clone() for key, value in it.model.inverse.state_dict().items()}
    trained = it._inverse_trainer.inverse
    loss = trained.loss
    trained.loss = lambda *rows, beta: loss(*rows, beta=beta) * math.nan
    it.add(explored(1))
    assert it.update().version == 2 and "the inverse model stays as it was" in caplog.text
    after = it.model.inverse.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    with pytest.raises(FloatingPointError, match="not finite"):
        InverseTrainer(trained).train(buffer_of(0))


def test_an_update_takes_the_steps_that_were_set_or_fewer_when_cancelled():
    torch.manual_seed(0)
    trainer = InverseTrainer(InverseModel(MASS, INVERSE))
    first, second = (trainer.train(buffer_of(0, 1)) for _ in range(2))
    assert first.gradient_steps == 150 and second.loss < first.loss
    asked = iter([False] * 3 + [True])
    assert trainer.train(buffer_of(0), lambda: next(asked)).gradient_steps == 3
    assert all(parameter.grad is None for parameter in trainer.inverse.parameters())
