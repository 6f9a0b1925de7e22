"""The gate: lets pass what predicts as well, and nothing that does not."""

import math
from copy import deepcopy

import pytest
import torch

from mbrl_node.data import ReplayBuffer
from mbrl_node.learning import Trainer, TrainerConfig
from mbrl_node.learning.gate import Gate, GateConfig
from mbrl_node.models import ModelConfig, WorldModel
from mbrl_node.spec import load_spec
from mbrl_node.spec.task import Task
from tests.learning.pendulum import records

SPEC = load_spec("cartpole")
TASK = Task.of(SPEC)
DT = SPEC.dt
MODEL = ModelConfig(members=2, hidden=(32,))


def filled(count: int) -> ReplayBuffer:
    buffer = ReplayBuffer(4, 1)
    buffer.add(records(0, count))
    return buffer


def world(seed: int = 0) -> WorldModel:
    torch.manual_seed(seed)
    return WorldModel(SPEC, MODEL)


def trained(buffer: ReplayBuffer, steps: int, aside: torch.Tensor | None = None) -> WorldModel:
    trainer = Trainer(world(), TrainerConfig())
    trainer.train(buffer, steps, weights=None if aside is None else (~aside).float())
    return trainer.model


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate(TASK, GateConfig(), DT)


@pytest.fixture(scope="module")
def buffer() -> ReplayBuffer:
    return filled(800)


@pytest.fixture(scope="module")
def good(gate, buffer) -> WorldModel:
    return trained(buffer, 1200, gate.aside(buffer))


def test_one_stretch_of_eight_is_set_aside_and_given_back_in_time(gate):
    aside = gate.aside(filled(7 * 24))
    assert gate.steps == 12 and not aside.any()
    aside = gate.aside(filled(8 * 24 + 5))
    assert aside.nonzero().flatten().tolist() == list(range(7 * 24, 8 * 24))
    later = gate.aside(filled(8 * 8 * 24 + 7 * 24 + 1))
    assert not later[7 * 24] and later[15 * 24] and later[8 * 8 * 24 + 7 * 24]


def test_what_was_before_the_robot_changed_is_not_judged_by(gate, buffer):
    aside = gate.aside(buffer, era=600)
    assert not aside[: 600 + 7 * 24].any() and aside[600 + 7 * 24 : 600 + 8 * 24].all()


def test_the_first_model_passes_if_it_is_finite(gate, buffer):
    model = world()
    assert gate.compare(model, None, buffer).problem == ""
    with torch.no_grad():
        model.dynamics.net.weights[0][0, 0, 0] = math.nan
    assert "not finite" in gate.compare(model, None, buffer).problem


def test_the_same_model_passes_and_need_not_be_better(gate, buffer, good):
    verdict = gate.compare(deepcopy(good), good, buffer)
    assert verdict.problem == "" and verdict.unseen and verdict.starts >= 8
    assert verdict.new == verdict.old and verdict.new.state < 0.6


def test_rewards_of_another_task_do_not_count(gate, buffer, good):
    other = records(0, 800)
    other["reward"] = 7.0
    paid_otherwise = ReplayBuffer(4, 1)
    paid_otherwise.add(other)
    expected = gate.compare(deepcopy(good), good, buffer)
    assert gate.compare(deepcopy(good), good, paid_otherwise) == expected


def test_without_a_margin_a_model_must_not_be_worse_at_all(gate, buffer, good):
    worse = deepcopy(good)
    with torch.no_grad():
        worse.dynamics.net.weights[-1].mul_(1.1)
    assert gate.compare(worse, good, buffer).problem == ""
    assert gate.compare(worse, good, buffer, margin=0.0).problem
    assert gate.compare(good, worse, buffer, margin=0.0).problem == ""


@pytest.mark.parametrize("spoil", ["nan", "sign", "shuffled", "little", "new"])
def test_a_model_that_predicts_worse_is_refused_with_the_reason(gate, buffer, good, spoil):
    bad = deepcopy(good)
    with torch.no_grad():
        if spoil == "nan":
            bad.dynamics.net.biases[0].fill_(math.nan)
        elif spoil == "sign":
            bad.dynamics.net.weights[-1].mul_(-1)
        elif spoil == "new":
            bad = world(1)
    if spoil == "shuffled":
        mixed = filled(800)
        mixed._data[:800, 5:9] = (
            mixed._data[:800, :4]
            + ((mixed._data[:800, 5:9] - mixed._data[:800, :4])[torch.randperm(800)])
        )
        bad = trained(mixed, 600)
    elif spoil == "little":
        bad = trained(filled(10), 600)
    verdict = gate.compare(bad, good, buffer)
    words = "not finite" if spoil == "nan" else "error"
    assert words in verdict.problem


def test_a_model_of_the_changed_robot_passes_though_it_is_worse_on_what_was_before(gate, good):
    both = filled(400)
    both.add(records(400, 120, gain=0.5))
    trainer = Trainer(deepcopy(good).requires_grad_(True), TrainerConfig())
    trainer.train(both, 600, weights=(torch.arange(520) >= 400).float())
    assert gate.compare(trainer.model, good, both, era=400).problem == ""
    assert gate.compare(good, trainer.model, both, era=400).problem


def test_a_model_that_promises_rewards_that_do_not_come_is_refused(gate, buffer):
    learns = Gate(Task(), GateConfig(), DT)
    torch.manual_seed(0)
    trainer = Trainer(WorldModel(SPEC, MODEL, learns_reward=True), TrainerConfig())
    trainer.train(buffer, 800, weights=(~gate.aside(buffer)).float())
    good, bad = trainer.model, deepcopy(trainer.model)
    assert learns.compare(deepcopy(good), good, buffer).problem == ""
    with torch.no_grad():
        for value in bad.reward.parameters():
            value.mul_(-1)
    assert "rewards 0.5 s ahead" in learns.compare(bad, good, buffer).problem


def test_without_stretches_set_aside_the_newest_data_is_judged_by():
    gate, buffer = Gate(TASK, GateConfig(set_aside=0), DT), filled(300)
    good = trained(buffer, 600)
    verdict = gate.compare(deepcopy(good), good, buffer)
    assert verdict.problem == "" and not verdict.unseen and verdict.starts == 48
    assert gate.compare(world(1), good, buffer).problem


def test_before_there_is_anything_to_judge_by_all_that_is_finite_passes(gate):
    assert gate.compare(world(1), world(2), filled(9)).problem == ""
