"""The learner: learns, resumes, and never takes a transition twice."""

import math

import numpy as np
import pytest
import torch

from mbrl_node.data import Records, Transition, records_of
from mbrl_node.learning import Learner, LearnerConfig, TrainerConfig
from mbrl_node.models import ModelConfig
from mbrl_node.spec import load_spec
from mbrl_node.spec.task import Task

SPEC = load_spec("cartpole")
CONFIG = LearnerConfig(min_transitions=10, gradient_steps=60)
MODEL = ModelConfig(members=2, hidden=(32,))


def learner(path, **kwargs) -> Learner:
    return Learner(SPEC, Task.of(SPEC), path, CONFIG, TrainerConfig(), MODEL, **kwargs)


def test_the_held_out_error_falls_as_data_comes(tmp_path):
    it = learner(tmp_path)
    errors = []
    for k in range(8):
        it.add(records(50 * k, 50))
        errors.append(it.update().held_out_error)
    assert math.isnan(errors[0]) and errors[-1] < 0.15 and errors[-1] < 0.5 * errors[1]


def test_a_restart_goes_on_with_the_data_the_weights_and_the_version(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 40))
    it.update()
    it.update()
    again = learner(tmp_path)
    assert again.latest.version == 2 and len(again.buffer) == 40 and not again.due
    again.add(records(30, 20))
    assert len(again.buffer) == 50 and again.lost == 0 and again.due
    assert again.update().version == 3
    assert again.store.records()["sequence"].tolist() == list(range(50))


def test_what_was_stored_but_not_learned_is_learned_after_a_restart(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 40))
    it.update()
    it.add(records(40, 40))
    again = learner(tmp_path)
    assert again.due and again.update().transitions == 80


def test_lost_transitions_are_counted(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 5))
    it.add(records(8, 5))
    assert it.lost == 0  # they may come yet
    it.store.skip(1, 8)
    assert it.lost == 3


def test_steps_of_another_length_are_stored_but_not_learned_from(tmp_path):
    it = learner(tmp_path)
    late = records(0, 3)
    late["next_stamp"][1] += PERIOD
    it.add(late)
    assert len(it.store) == 3 and len(it.buffer) == 2


def test_the_same_seed_gives_the_same_bits(tmp_path):
    weights = []
    for name in ("a", "b"):
        it = learner(tmp_path / name, seed=3)
        it.add(records(0, 40))
        it.update()
        weights.append(it.model.state_dict())
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_a_diverging_update_leaves_the_model_and_the_version_as_they_were(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 40))
    it.update()
    before = {k: v.clone() for k, v in it.model.state_dict().items()}
    it.buffer._data[:40] = math.nan
    it.add(records(40, 1))
    with pytest.raises(FloatingPointError):
        it.update()
    after = it.model.state_dict()
    assert it.latest.version == 1 and all(torch.equal(before[k], after[k]) for k in before)


def test_a_retrain_that_is_worse_is_refused_and_the_model_stays_as_it_was(tmp_path, caplog):
    it = learner(tmp_path)
    it.add(records(0, 400))
    for _ in range(5):
        it.update()
    before = {k: v.clone() for k, v in it.model.state_dict().items()}
    offered = sorted((tmp_path / "models").iterdir())
    train = it._trainer._steps

    def sabotaged(*args):
        with torch.no_grad():
            it.model.dynamics.net.weights[-1].mul_(-1.0)
        return train(*args)

    it._trainer._steps = sabotaged
    it.add(records(400, 1))
    assert it.update() is None and it.refused == 1 and "update refused" in caplog.text
    after = it.model.state_dict()
    assert it.latest.version == 5 and all(torch.equal(before[k], after[k]) for k in before)
    assert sorted((tmp_path / "models").iterdir()) == offered
    it._trainer._steps = train
    it.add(records(401, 50))
    assert it.update().version == 6


def test_a_cancelled_update_offers_nothing(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 40))
    assert it.update(cancelled=lambda: True) is None and it.latest is None


def test_every_version_is_kept_with_its_metrics(tmp_path):
    it = learner(tmp_path)
    for k in range(3):
        it.add(records(40 * k, 40))
        it.update()
    first, second, third = it.store.versions()
    assert [v.number for v in (first, second, third)] == [1, 2, 3]
    assert [v.parent for v in (first, second, third)] == [0, 1, 2]
    assert (third.transitions, third.state, third.reason) == (120, "accepted", "warm update")
    assert math.isnan(first.metrics["held_out_error"])
    assert third.metrics["held_out_error"] == it.latest.held_out_error
    assert third.metrics["gradient_steps"] == 60 and third.metrics["train_time"] > 0


def test_old_checkpoints_are_removed_but_for_every_power_of_two(tmp_path):
    once = LearnerConfig(min_transitions=1, gradient_steps=1)
    it = Learner(SPEC, Task.of(SPEC), tmp_path, once, None, MODEL)
    it.add(records(0, 10))
    for _ in range(14):
        it.update()
    versions = sorted(int(p.stem[1:]) for p in (tmp_path / "models").iterdir())
    assert versions == [1, 2, 4, *range(5, 15)]
