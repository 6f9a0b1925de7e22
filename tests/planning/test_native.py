"""Every compiled library that this processor can run against the reference in torch."""

import random

import numpy as np
import pytest
import torch

from mbrl_node.models import DynamicsModel, ModelConfig, WorldModel
from mbrl_node.models.ensemble import ACTIVATIONS
from mbrl_node.planning import Rollout, RolloutConfig, native
from mbrl_node.planning.native import (
    LIBRARIES,
    PHASES,
    TERMS,
    NativePropagation,
    NativeTask,
    best_library,
    load,
)
from mbrl_node.planning.propagation import TorchPropagation, draw
from mbrl_node.planning.rollout import sum_of_rewards
from mbrl_node.spec import load_spec
from mbrl_node.spec.system import BoxSystem
from mbrl_node.spec.task import Task

SPEC = load_spec("cartpole")
BODY = BoxSystem(
    "body",
    0.1,
    ("p", "a", "x", "y", "z", "w", "v"),
    ("u", "t", "k"),
    -1.0,
    1.0,
    angles=("a",),
    quaternions=((2, 3, 4, 5),),
)
LINE = BoxSystem("line", 0.1, ("x",), ("u",), -1.0, 1.0)
# Of a state that moves by about 0.2 a step, over 5 steps.
TOLERANCE = {"fp32": 2e-5, "bf16": 0.04}

every_library = pytest.mark.parametrize(
    "library", [name for group in LIBRARIES.values() for name in group]
)


@pytest.fixture(autouse=True)
def only_what_runs_here(request):
    library = (
        request.node.callspec.params.get("library") if hasattr(request.node, "callspec") else 0
    )
    if library and load(library) is None:
        pytest.skip(f"{library} does not run on this processor")
    if best_library("fp32") is None:
        pytest.skip("no library runs on this processor")


def precision(library):
    return next(name for name, group in LIBRARIES.items() if library in group)


def a_model(system, seed, **config):
    torch.manual_seed(seed)
    model = DynamicsModel(system, ModelConfig(**config)).requires_grad_(False)
    model.delta_std.uniform_(0.1, 0.3)
    model.delta_mean.normal_(std=0.05)
    model.input_mean.normal_(std=0.3)
    model.input_std.uniform_(0.5, 1.5)
    for bias in model.net.biases:
        bias.normal_(std=0.1)
    return model


def sequences(samples, horizon, size):
    return (2 * torch.rand(horizon, size, samples) - 1).permute(2, 0, 1)


@every_library
@pytest.mark.parametrize("seed", range(60))
def test_states_and_returns_are_those_of_the_reference_whatever_the_model(library, seed):
    rng = random.Random(seed)
    system = rng.choice([SPEC, BODY, LINE])
    model = a_model(
        system,
        seed,
        members=rng.randint(1, 5),
        hidden=tuple(rng.choice([1, 7, 16, 33, 64, 97]) for _ in range(rng.randint(0, 3))),
        activation=rng.choice(list(ACTIVATIONS)),
        history=rng.choice([1, 1, 2, 3]),
        probabilistic=rng.random() < 0.7,
    )
    propagation = rng.choice(["tsinf", "ts1", "expectation", "moment_matching"])
    particles = model.members if propagation == "expectation" else rng.randint(1, 9)
    samples, horizon = rng.randint(1, 150), rng.randint(1, 5)
    generator = torch.Generator().manual_seed(seed)
    draws = draw(model, propagation, horizon, particles, rng.random() < 0.5, generator)
    actions = sequences(samples, horizon, system.action_dim)
    state = torch.randn(model.model_state_dim)
    right = TorchPropagation(model, propagation).states(state, actions, draws)
    native = NativePropagation(model, library, propagation)
    tolerance = TOLERANCE[precision(library)]
    torch.testing.assert_close(
        native.states(state, actions, draws), right, atol=tolerance, rtol=tolerance
    )
    if system is SPEC:
        task = Task.of(SPEC)
        before, after = right[:-1], right[1:]
        by_time = actions.transpose(0, 1)[:, None].expand(*after.shape[:3], -1)
        total, _ = sum_of_rewards(task, before, by_time, after)
        returns = native.returns(state, actions, draws, NativeTask.of(task))
        torch.testing.assert_close(returns, total, atol=20 * tolerance, rtol=tolerance)


def test_every_term_limit_and_range_counts_as_in_torch():
    terms = [
        {"term": name, "of": field, "weight": 0.5 + k, "target": 0.3}
        | ({"limit": 0.4} if name == "beyond" else {})
        for k, (name, field) in enumerate(
            (name, field) for name in TERMS for field in ("theta", "x_dot", "force")
        )
    ]
    spec = SPEC.with_overrides(
        reward=terms,
        termination=[{"of": "theta", "min": -1.0, "max": 2.0}, {"of": "x", "max": 1.0}],
        constraints=[{"of": "theta", "min": -0.5, "max": 1.0, "margin": 0.6, "weight": 3.0}],
    )
    task, model = Task.of(spec), a_model(spec, 1, members=2, hidden=(32,))
    state, actions = torch.tensor([0.0, 0.5, 1.0, 0.0]), 5 * sequences(200, 12, 1)
    draws = draw(model, "tsinf", 12, 2, False, torch.Generator())
    states = TorchPropagation(model, "tsinf").states(state, actions, draws)
    by_time = actions.transpose(0, 1)[:, None].expand(12, 2, -1, -1)
    total, lives = sum_of_rewards(task, states[:-1], by_time, states[1:])
    assert lives is not None and 0.05 < lives.float().mean() < 0.95
    native = NativePropagation(model, best_library("fp32"), "tsinf")
    returns = native.returns(state, actions, draws, NativeTask.of(task))
    torch.testing.assert_close(returns, total, atol=1e-3, rtol=1e-4)


def test_a_task_with_a_part_of_somebody_elses_is_added_up_in_torch():
    task = Task.of(SPEC)
    assert NativeTask.of(task) is not None
    own = lambda state, action, next_state: next_state[..., 0]  # noqa: E731
    assert NativeTask.of(Task(own, task.termination)) is None
    assert NativeTask.of(Task(task.reward, lambda state: state[..., 0] > 1)) is None
    assert NativeTask.of(Task(task.reward, None, lambda state: state[..., 0])) is None
    world = WorldModel(SPEC, ModelConfig(hidden=(16,))).requires_grad_(False)
    state, actions = torch.zeros(4), sequences(50, 5, 1)
    rewards = [task.reward, lambda *args: task.reward(*args)]
    given, function = (
        Rollout(world, Task(r, task.termination), RolloutConfig(precision="fp32")) for r in rewards
    )
    torch.testing.assert_close(given.returns(state, actions), function.returns(state, actions))


@every_library
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e38])
def test_a_sample_that_runs_away_is_told_from_the_others(library, bad):
    world = WorldModel(SPEC, ModelConfig(members=2, hidden=(40, 40))).requires_grad_(False)
    rollout = Rollout(world, Task.of(SPEC), RolloutConfig(precision=precision(library)))
    if library not in rollout.engine:
        pytest.skip("another library is faster")
    actions = sequences(70, 6, 1)
    fine = rollout.particle_returns(torch.zeros(4), actions)
    actions[33, 2] = bad
    returns = rollout.particle_returns(torch.zeros(4), actions)
    others = torch.arange(70) != 33
    assert torch.equal(returns[:, others], fine[:, others])
    assert not torch.isfinite(returns[:, 33]).any() or abs(bad) == 1e38


@every_library
def test_the_same_bits_come_from_any_number_of_threads_and_any_neighbours(library):
    model = a_model(SPEC, 3, members=3, hidden=(48, 48))
    native, task = NativePropagation(model, library, "tsinf"), NativeTask.of(Task.of(SPEC))
    draws, actions = draw(model, "tsinf", 8, 3, False, torch.Generator()), sequences(333, 8, 1)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(native.returns(torch.ones(4), actions, draws, task))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], x) for x in results[1:])
    alone = native.returns(torch.ones(4), actions[200:201], draws, task)
    torch.testing.assert_close(alone, results[0][:, 200:201])


def test_what_does_not_fit_the_model_is_refused_before_any_memory_is_touched():
    model = a_model(SPEC, 0, hidden=(8,))
    native = NativePropagation(model, best_library("fp32"), "tsinf")
    draws = draw(model, "tsinf", 5, 5, False, torch.Generator())
    for state, actions in (
        (torch.zeros(3), sequences(4, 5, 1)),
        (torch.zeros(4), sequences(4, 5, 2)),
        (torch.zeros(4), sequences(4, 6, 1)),
    ):
        with pytest.raises(ValueError, match="do not fit 4 numbers of a state and 1 of an action"):
            native.states(state, actions, draws)


def test_the_structures_are_laid_out_as_the_libraries_expect():
    from mbrl_node.planning import native

    names = ("Layer", "Term", "Range", "Barrier", "Model", "Task", "Plan")
    library = load(best_library("fp32"))
    sizes = (native.ctypes.c_int32 * len(names)).in_dll(library, "mbrl_sizes")
    ours = [native.ctypes.sizeof(getattr(native, f"_{name}")) for name in names]
    assert list(sizes) == ours


def test_a_profile_names_every_phase_and_adds_up():
    world = WorldModel(SPEC, ModelConfig(hidden=(64, 64))).requires_grad_(False)
    rollout = Rollout(world, Task.of(SPEC))
    profiles = [rollout.profile(torch.zeros(4), sequences(100, 10, 1)) for _ in range(20)]
    for profile in profiles:
        assert list(profile) == list(PHASES) and abs(sum(profile.values()) - 1) < 1e-6
    assert max(profile["hidden layers"] for profile in profiles) > 0.3  # one was not interrupted
    with pytest.raises(ValueError, match="no profile"):
        plain = Rollout(world, Task.of(SPEC), RolloutConfig(engine="torch"))
        plain.profile(torch.zeros(4), sequences(2, 2, 1))


@every_library
def test_angles_far_from_zero_are_as_good_as_near(library):
    model = a_model(SPEC, 5, members=1, hidden=(32,))
    native = NativePropagation(model, library, "tsinf")
    draws, actions = draw(model, "tsinf", 1, 1, False, torch.Generator()), torch.zeros(1, 1, 1)
    for angle in np.linspace(-900, 900, 37):
        state = torch.tensor([0.0, angle, 0.0, 0.0]).float()
        right = TorchPropagation(model, "tsinf").states(state, actions, draws)
        found = native.states(state, actions, draws)
        tolerance = TOLERANCE[precision(library)] + 1e-6 * abs(angle)
        torch.testing.assert_close(found, right, atol=tolerance, rtol=0)


def test_a_damaged_library_is_done_without(tmp_path, monkeypatch, caplog):
    for names in native.LIBRARIES.values():
        for name in names:
            (tmp_path / f"_{name}.so").write_bytes(b"no library")
    monkeypatch.setattr(native, "__file__", str(tmp_path / "__init__.py"))
    for cached in (native.load, native.best_library):
        cached.cache_clear()
    try:
        assert native.best_library("fp32") is None
        assert "damaged" in caplog.text or not native._processor_flags()
    finally:
        for cached in (native.load, native.best_library):
            cached.cache_clear()
