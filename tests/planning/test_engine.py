"""Which engine a rollout takes, and what it says of it."""

import logging

import pytest
import torch

from mbrl_node.models import DynamicsModel, ModelConfig, WorldModel
from mbrl_node.planning import Rollout, RolloutConfig, engine, native
from mbrl_node.planning.native import NativePropagation, best_library
from mbrl_node.planning.propagation import TorchPropagation
from mbrl_node.spec import load_spec
from mbrl_node.spec.task import Task

SPEC = load_spec("cartpole")
CONFIG = ModelConfig(hidden=(64, 64))


def a_rollout(config=CONFIG, **settings):
    torch.manual_seed(0)
    world = WorldModel(SPEC, config).requires_grad_(False)
    return Rollout(world, Task.of(SPEC), RolloutConfig(**settings))


compiled = pytest.mark.skipif(best_library("fp32") is None, reason="no library runs here")
with_bf16 = pytest.mark.skipif(best_library("bf16") is None, reason="no fast bf16 here")


def test_torch_is_taken_where_it_is_asked_for():
    assert a_rollout(engine="torch").engine == "torch, as configured"


@compiled
def test_fp32_is_taken_where_it_is_asked_for():
    assert a_rollout(precision="fp32").engine == f"{best_library('fp32')}, fp32, as configured"


@with_bf16
def test_bf16_is_taken_where_it_is_asked_for():
    assert a_rollout(precision="bf16").engine == f"{best_library('bf16')}, bf16, as configured"


@pytest.mark.parametrize(
    ("ratio", "says"),
    [(3.0, "bf16: 3.0 times as fast as fp32 here"), (1.1, "fp32: bf16 is not faster")],
)
@with_bf16
def test_auto_takes_bf16_where_it_is_measured_to_be_faster(monkeypatch, ratio, says):
    half = best_library("bf16")
    monkeypatch.setattr(engine, "speed", lambda library, *_: ratio if library == half else 1.0)
    assert says in a_rollout().engine


@with_bf16
def test_auto_takes_fp32_where_bf16_would_predict_something_else(monkeypatch):
    half = best_library("bf16")
    monkeypatch.setattr(engine, "speed", lambda library, *_: 9.0 if library == half else 1.0)
    monkeypatch.setattr(engine, "difference", lambda *_: float("nan"))
    assert "would predict something else" in a_rollout().engine


@with_bf16
def test_what_bf16_changes_is_far_below_what_is_tolerated_and_is_noticed_when_it_is_not():
    torch.manual_seed(0)
    model = DynamicsModel(SPEC, CONFIG).requires_grad_(False)
    half = NativePropagation(model, best_library("bf16"), "tsinf")
    assert 0 < engine.difference(model, half) < 0.3 * engine.TOLERANCE
    for weight in model.net.weights[1:]:
        weight.mul_(30.0)  # nearly a step: where it stands depends on the last digits
    rough = NativePropagation(model, best_library("bf16"), "tsinf")
    assert engine.difference(model, rough) > engine.TOLERANCE


@compiled
def test_a_model_of_somebody_elses_is_rolled_out_by_its_own_methods():
    class Own(DynamicsModel):
        def predict(self, state, action):
            return super().predict(state, action) + 1.0

    world = WorldModel(SPEC, CONFIG)
    world.dynamics = Own(SPEC, CONFIG)
    rollout = Rollout(world.requires_grad_(False), Task.of(SPEC))
    assert "Own may predict in a way of its own" in rollout.engine


def test_without_a_library_torch_does_it_and_says_so(monkeypatch):
    fast = a_rollout(precision="fp32")
    monkeypatch.setattr(engine, "best_library", lambda precision: None)
    slow = a_rollout(precision="fp32")
    assert "no compiled library" in slow.engine
    state, actions = torch.ones(4), torch.rand(20, 6, 1)
    torch.testing.assert_close(
        slow.returns(state, actions), fast.returns(state, actions), rtol=1e-4, atol=1e-3
    )


def test_a_library_that_this_processor_cannot_run_is_never_loaded(monkeypatch):
    native.load.cache_clear()
    monkeypatch.setattr(native, "_processor_flags", lambda: frozenset({"sse2"}))
    try:
        assert native.load("avx2") is None
        with pytest.raises(ValueError, match="no library avx2"):
            NativePropagation(DynamicsModel(SPEC, CONFIG), "avx2", "tsinf")
    finally:
        native.load.cache_clear()


def test_the_choice_is_logged_once(caplog):
    engine._say.cache_clear()
    with caplog.at_level(logging.INFO, logger="mbrl_node.planning.engine"):
        for _ in range(3):
            a_rollout(engine="torch")
    assert [r.message for r in caplog.records] == ["rollouts use torch, as configured"]


def test_choosing_leaves_the_random_numbers_of_others_alone():
    engine.speed.cache_clear()
    torch.manual_seed(1)
    world = WorldModel(SPEC, ModelConfig(hidden=(24,))).requires_grad_(False)
    before = torch.get_rng_state()
    Rollout(world, Task.of(SPEC))
    assert torch.equal(before, torch.get_rng_state())


def test_hidden_layers_in_bf16_predict_nearly_the_same_in_torch():
    torch.manual_seed(0)
    model = DynamicsModel(SPEC, CONFIG).requires_grad_(False)
    plain = DynamicsModel(SPEC, CONFIG).requires_grad_(False)
    plain.load_state_dict(model.state_dict())
    model.net.round_hidden()
    assert engine.difference(plain, TorchPropagation(model, "tsinf")) < engine.TOLERANCE
    mean, std = model.distribution(torch.zeros(5, 3, 4), torch.zeros(5, 3, 1))
    assert mean.dtype == std.dtype == torch.float32
