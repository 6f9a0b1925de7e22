"""Judging a model, on systems and models whose answers are known."""

import json
import math

import numpy as np
import pytest
import torch

from mbrl_node.data import RunStore, Transition, Version, records_of
from mbrl_node.learning.diagnostics import DiagnosisError, diagnose, plain
from mbrl_node.learning.diagnostics.statistics import correlation, ranks
from mbrl_node.models import ModelConfig, WorldModel, save_checkpoint
from mbrl_node.spec.system import BoxSystem
from mbrl_node.spec.task import Task

SYSTEM = BoxSystem("line", 0.04, ("p", "v"), ("u",), np.array([-1.0]), np.array([1.0]))
A = np.array([[0.98, 0.04], [0.0, 0.95]])
B = np.array([[0.0], [0.2]])
NOISE = np.array([0.01, 0.04])  # standard deviation a step
PERIOD = round(SYSTEM.dt * 1e9)
TASK = Task(reward=lambda state, action, next_state: -next_state[..., 0].square())


def drive(steps, noise=NOISE, episode_length=150, seed=0, version=lambda k: 0, reward=None):
    """The linear system under random actions, from rest at the start of each episode."""
    rng = np.random.default_rng(seed)
    state, result = np.zeros(2), []
    for k in range(steps):
        if k % episode_length == 0:
            state = rng.normal(size=2) * 0.3
        action = rng.uniform(-1, 1, 1)
        next_state = A @ state + B @ action + noise * rng.normal(size=2)
        paid = -float(next_state[0] ** 2) if reward is None else reward(k)
        last = (k + 1) % episode_length == 0
        result.append(
            transition(
                k, k // episode_length, state, action, next_state, paid, False, last, version(k)
            )
        )
        state = next_state
    return result


def transition(k, episode, state, action, next_state, reward, terminated, truncated, version):
    return Transition(
        1,
        k,
        episode,
        k,
        k * PERIOD,
        (k + 1) * PERIOD,
        state,
        action,
        action,
        next_state,
        reward,
        terminated,
        truncated,
        "mppi" if version else "random",
        version,
    )


def linear(std=NOISE, offset=(0.0, 0.0), members=3, apart=0.0, probabilistic=True):
    """The true system as a model: exact but for what is asked for.

    Args:
        std: that it believes the noise to have.
        offset: added to each step.
        apart: the members' gains from action to v differ by this much.
    """
    config = ModelConfig(members=members, hidden=(), probabilistic=probabilistic)
    world = WorldModel(SYSTEM, config)
    net = world.dynamics.net
    with torch.no_grad():
        effect = torch.tensor(np.hstack([A - np.eye(2), B]).T, dtype=torch.float32)
        net.weights[0].zero_()
        net.weights[0][..., :2] = effect
        net.weights[0][:, 2, 1] += apart * torch.arange(members)
        net.biases[0][..., :2] = torch.tensor(offset)
        if probabilistic:
            net.biases[0][..., 2:] = torch.tensor(2 * np.log(std), dtype=torch.float32)
            net.max_log_variance.fill_(50.0)
            net.min_log_variance.fill_(-50.0)
    return world


def write(path, transitions, models, system=SYSTEM, updates=()):
    """A run's folder.

    Args:
        models: (version, how many transitions it was trained on, model).
        updates: (version, transitions, held-out error, held-out loss) of each there ever was.
    """
    (path / "models").mkdir(parents=True)
    store = RunStore(path / "transitions.db", system)
    store.add(records_of(transitions, system.state_dim, system.action_dim))
    for number, seen, error, loss in updates:
        metrics = {"held_out_error": error, "held_out_loss": loss}
        store.add_version(Version(number, number - 1, 0, seen, "accepted", "", metrics))
    store.close()
    for version, seen, model in models:
        info = {"version": version, "transitions": seen}
        save_checkpoint(model, path / "models" / f"v{version:06d}.safetensors", info)
    return path


def judged(path, model, steps=2000, task=TASK, **kwargs):
    return diagnose(write(path, drive(steps, **kwargs), [(1, 100, model)]), SYSTEM, task)


def test_an_exact_model_has_the_noise_as_its_error_and_its_entropy_as_its_likelihood(tmp_path):
    d = judged(tmp_path / "run", linear())
    step = d.judged.one_step
    np.testing.assert_allclose(step.rmse, NOISE, rtol=0.05)
    entropy = 0.5 * math.log(2 * math.pi * math.e) + np.log(NOISE / np.array(d.facts.change_std))
    np.testing.assert_allclose(step.nll, entropy, atol=0.05)
    np.testing.assert_allclose(step.bias, 0.0, atol=3 * NOISE.max() / math.sqrt(1900))


def test_an_exact_model_is_calibrated_one_step_and_many_steps_ahead(tmp_path):
    d = judged(tmp_path / "run", linear())
    assert d.judged.calibration.error < 2 * d.judged.calibration.by_chance
    observed = np.array([c.observed_all for c in d.judged.horizon.calibration])
    expected = np.array(d.judged.horizon.calibration[0].levels)
    assert len(observed) == 38 and np.abs(observed - expected).max() < 0.15
    assert np.abs(observed.mean(0) - expected).max() < 0.06


@pytest.mark.parametrize("factor, sure", [(1 / 3, True), (3.0, False)])
def test_a_model_that_is_too_sure_or_too_cautious_is_found_to_be_so(tmp_path, factor, sure):
    right = judged(tmp_path / "right", linear()).judged
    wrong = judged(tmp_path / "wrong", linear(std=NOISE * factor)).judged
    for found in (wrong.calibration, wrong.horizon.calibration[20]):
        assert abs(found.bias) > 0.15 and (found.bias < 0) == sure
    assert wrong.one_step.nll_all > right.one_step.nll_all + 0.3
    assert wrong.one_step.rmse == pytest.approx(right.one_step.rmse, rel=1e-4)


def test_the_error_of_an_exact_model_grows_as_the_noise_adds_up(tmp_path):
    horizon = judged(tmp_path / "run", linear(), steps=4000).judged.horizon
    covariance, expected = np.zeros((2, 2)), []
    for _ in horizon.seconds:
        covariance = A @ covariance @ A.T + np.diag(NOISE**2)
        expected.append(np.sqrt(np.diag(covariance)))
    ratio = np.array(horizon.rmse).T / np.array(expected)
    assert horizon.seconds[-1] == pytest.approx(1.52) and (np.abs(ratio - 1) < 0.3).all()
    assert abs(ratio.mean() - 1) < 0.1
    assert (np.array(horizon.stays_all) > np.array(horizon.relative_all))[:10].all()


def test_a_model_that_is_wrong_in_one_field_is_wrong_there_only(tmp_path):
    step = judged(tmp_path / "run", linear(offset=(0.0, 0.2))).judged.one_step
    assert step.bias == pytest.approx([0.0, 0.2], abs=0.005)
    assert step.relative[1] > 4 * NOISE[1] / 0.2 * step.relative[0] / 2
    assert int(np.argmax(step.relative)) == 1


def test_spread_that_goes_with_the_error_correlates_with_it(tmp_path):
    # The members' gains are too large by 0, 0.2 and 0.4: spread and error both go as |u|.
    telling = judged(tmp_path / "telling", linear(apart=0.2)).judged.spread
    assert telling.correlation.low > 0.5 and telling.bin_error[-1] > 2 * telling.bin_error[0]
    silent = judged(tmp_path / "silent", linear(apart=1e-4)).judged.spread
    assert abs(silent.correlation.spearman) < 0.15


def test_a_single_network_has_no_spread_and_a_deterministic_one_no_calibration(tmp_path):
    alone = judged(tmp_path / "p", linear(members=1)).judged
    assert alone.spread is None and alone.calibration.error < 0.05
    certain = judged(tmp_path / "d", linear(members=1, probabilistic=False)).judged
    assert certain.calibration is None and certain.one_step.nll is None
    assert certain.horizon.calibration is None and certain.one_step.rmse[0] > 0
    several = judged(tmp_path / "de", linear(apart=0.1, probabilistic=False)).judged
    assert several.calibration is not None and several.one_step.nll is None


def test_without_noise_an_exact_model_predicts_the_return_that_is_realised(tmp_path):
    found = judged(tmp_path / "run", linear(), noise=0 * NOISE).judged.returns
    assert found.steps == 38 and found.predicted == pytest.approx(found.realised, abs=1e-3)
    assert found.correlation.pearson > 0.999 and abs(found.bias) < 1e-3


def test_a_model_that_drifts_to_the_goal_promises_too_much(tmp_path):
    # The reward is highest at p = 0, where a model that believes in strong friction stays.
    world = linear()
    with torch.no_grad():
        world.dynamics.net.weights[0][:, 0, 0] -= 0.3
    assert judged(tmp_path / "run", world).judged.returns.bias > 0.05


def test_a_return_ends_where_the_model_sees_the_end(tmp_path):
    ends = Task(TASK.reward, termination=lambda s: torch.ones(s.shape[:-1], dtype=torch.bool))
    found = judged(tmp_path / "run", linear(), task=ends).judged.returns
    assert max(abs(v) for v in found.predicted) < 1.0 < max(abs(v) for v in found.realised)


def test_without_a_reward_there_are_no_returns(tmp_path):
    d = judged(tmp_path / "run", linear(), task=Task())
    assert d.judged.returns is None and d.judged.horizon is not None


def updates(versions, loss):
    """Versions as the learner keeps them: each has the loss of the one before."""
    return [(v, 20 * v, 0.1, math.nan if v == 1 else loss(v - 1)) for v in range(1, versions + 1)]


@pytest.mark.parametrize("length, unit, pairs", [(1000, "span", 38), (50, "episode", 19)])
def test_a_loss_that_costs_reward_correlates_with_it(tmp_path, length, unit, pairs):
    losses = np.random.default_rng(0).permutation(50)
    transitions = drive(
        1000,
        episode_length=length,
        version=lambda k: max(1, k // 25) + 1,
        reward=lambda k: -float(losses[max(1, k // 25) + 1]),
    )
    lines = updates(40, lambda v: float(losses[v]))
    path = write(tmp_path / "run", transitions, [(40, 900, linear())], updates=lines)
    found = diagnose(path, SYSTEM, TASK).mismatch
    assert found.unit == unit and found.correlation.pairs in (pairs, pairs + 1)
    assert found.correlation.spearman == pytest.approx(-1.0) and found.correlation.high < -0.8
    if unit == "span":
        nats = 0.5 * (losses[2] + math.log(2 * math.pi))
        assert found.loss[0] == pytest.approx(nats) and found.reward[0] == -losses[2]


def test_the_loss_of_a_version_is_kept_with_the_next(tmp_path):
    lines = [(1, 20, math.nan, math.nan), (2, 40, 0.5, -1.0), (3, 60, 0.25, -2.0)]
    path = write(tmp_path / "run", drive(400), [(3, 60, linear())], updates=lines)
    trend = diagnose(path, SYSTEM, TASK).trend
    assert trend.versions == [1, 2] and trend.transitions == [20, 40]
    assert trend.held_out_error == [0.5, 0.25] and math.isnan(trend.late_change)


def test_a_version_is_judged_by_the_first_that_was_trained_from_it(tmp_path):
    lines = [(1, 20, math.nan, math.nan), (2, 40, 0.5, -1.0)]
    path = write(tmp_path / "run", drive(400), [(2, 40, linear())], updates=lines)
    store = RunStore(path / "transitions.db")
    metrics = {"held_out_error": 0.75, "held_out_loss": -3.0}
    store.add_version(Version(3, 1, 0, 60, "refused", "worse", metrics))
    store.add_version(Version(4, 2, 0, 40, "accepted", "promoted from 2", metrics))
    store.add_version(Version(5, 2, 0, 80, "accepted", "warm update", metrics))
    store.close()
    trend = diagnose(path, SYSTEM, TASK).trend
    assert trend.versions == [1, 2] and trend.held_out_error == [0.5, 0.75]


def test_the_newest_version_with_enough_unseen_data_is_judged(tmp_path):
    models = [(v, seen, linear()) for v, seen in ((2, 100), (4, 300), (8, 550), (9, 590))]
    d = diagnose(write(tmp_path / "run", drive(600), models), SYSTEM, TASK)
    assert (d.unseen.version, d.unseen.rows, d.unseen.unseen) == (4, 300, True)
    assert (d.seen.version, d.seen.rows, d.seen.unseen) == (9, 590, False)
    assert [k.version for k in d.trend.kept] == [2, 4] and d.trend.rows == 300


def test_of_a_short_run_a_third_is_enough(tmp_path):
    models = [(1, 20, linear()), (4, 60, linear()), (8, 80, linear()), (9, 110, linear())]
    d = diagnose(write(tmp_path / "run", drive(120), models), SYSTEM, TASK)
    assert (d.unseen.version, d.unseen.rows) == (8, 40)


def test_a_version_with_some_unseen_data_is_better_than_one_with_none(tmp_path):
    models = [(8, 550, linear()), (9, 590, linear())]
    d = diagnose(write(tmp_path / "run", drive(600), models), SYSTEM, TASK)
    assert (d.unseen.version, d.unseen.rows) == (8, 50)
    assert d.unseen.horizon.starts >= 20


def test_what_rests_on_training_data_alone_says_so(tmp_path):
    d = diagnose(write(tmp_path / "run", drive(600), [(9, 595, linear())]), SYSTEM, TASK)
    assert d.unseen is None and d.judged is d.seen and d.trend.kept == []


def test_rollouts_never_cross_the_end_of_an_episode(tmp_path):
    # Each episode starts elsewhere: a rollout over its end would be off by as much.
    d = judged(tmp_path / "run", linear(), noise=0 * NOISE, episode_length=30)
    assert max(d.judged.horizon.relative_all) < 1e-4
    assert len(d.judged.horizon.seconds) == 30


def test_the_place_where_the_model_fails_is_found(tmp_path):
    transitions = drive(3000)
    for t in transitions:  # something is in the way
        if t.state[0] > 0.25:
            t.next_state[1] += 0.5
    path = write(tmp_path / "run", transitions, [(1, 100, linear())])
    found = diagnose(path, SYSTEM, TASK).state_map
    assert found.fields == ("p", "v") and found.worst[0][1] > 0.25
    assert found.worst_error > 2.5 * found.usual_error and found.worst_count >= 3
    assert sum(map(sum, found.count)) == 3000


def test_a_turning_angle_is_no_error(tmp_path):
    system = BoxSystem("wheel", 0.04, ("a", "w"), ("u",), -np.ones(1), np.ones(1), angles=("a",))
    transitions, angle = [], 0.0
    for k in range(400):
        state, action = np.array([angle, 5.0]), np.zeros(1)
        angle = math.remainder(angle + 0.2, 2 * math.pi)
        transitions.append(
            transition(k, 0, state, action, np.array([angle, 5.0]), 0, False, False, 0)
        )
    world = WorldModel(system, ModelConfig(members=2, hidden=(), probabilistic=False))
    with torch.no_grad():
        world.dynamics.net.weights[0].zero_()
        world.dynamics.net.biases[0][..., 0] = 0.2
    path = write(tmp_path / "run", transitions, [(1, 100, world)], system)
    d = diagnose(path, system, Task())
    assert max(d.judged.one_step.rmse) < 1e-5 and max(d.judged.horizon.relative_all) < 1e-4


def test_any_kind_of_model_is_judged_with_a_learned_reward_and_all_is_plain(tmp_path):
    names = ("x", "qx", "qy", "qz", "qw")
    system = BoxSystem(
        "body", 0.04, names, ("u",), -np.ones(1), np.ones(1), quaternions=((1, 2, 3, 4),)
    )
    rng = np.random.default_rng(0)
    quaternions = rng.normal(size=(301, 4))
    states = np.hstack(
        [rng.normal(size=(301, 1)), quaternions / np.linalg.norm(quaternions, axis=1)[:, None]]
    )
    transitions = [
        transition(k, 0, states[k], rng.uniform(-1, 1, 1), states[k + 1], 1.0, False, False, 0)
        for k in range(300)
    ]
    torch.manual_seed(0)
    world = WorldModel(system, ModelConfig(members=3, hidden=(8,), elites=2, history=3), True, True)
    path = write(tmp_path / "run", transitions, [(1, 50, world)], system)
    d = diagnose(path, system, Task())
    assert d.facts.fields == ["x", "qx_rotation_x", "qx_rotation_y", "qx_rotation_z"]
    assert d.facts.units[1] == "rad" and d.judged.returns is not None
    assert d.state_map is None  # x alone is no plane
    json.dumps(plain(d), allow_nan=False)


def test_the_same_run_gives_the_same_numbers(tmp_path):
    path = write(tmp_path / "run", drive(500), [(1, 100, linear())])
    assert plain(diagnose(path, SYSTEM, TASK)) == plain(diagnose(path, SYSTEM, TASK))


def test_what_is_missing_is_told_in_one_line_that_names_the_folder(tmp_path):
    def message(path, system=SYSTEM):
        with pytest.raises(DiagnosisError) as error:
            diagnose(path, system, TASK)
        assert "\n" not in str(error.value)
        return str(error.value)

    nothing, empty = tmp_path / "nothing", tmp_path / "empty"
    empty.mkdir()
    assert message(nothing) == f"{nothing}: there is no such run folder"
    assert message(empty) == f"{empty}: is not a run folder: it has no transitions.db"
    assert list(empty.iterdir()) == []
    few = write(tmp_path / "few", drive(5), [(1, 3, linear())])
    assert "holds 5 transitions, too few" in message(few)
    untrained = write(tmp_path / "untrained", drive(50), [])
    assert f"{untrained}: has no usable model in models/; no update" in message(untrained)
    broken = write(tmp_path / "broken", drive(50), [])
    (broken / "models" / "v000001.safetensors").write_bytes(b"nonsense")
    assert "v000001.safetensors: cannot be read as a model" in message(broken)
    other = BoxSystem("other", 0.04, ("p", "v"), ("u",), -np.ones(1), np.ones(1))
    assert "of another robot ('line')" in message(few, other) and str(few) in message(few, other)
    garbage = tmp_path / "garbage"
    garbage.mkdir()
    (garbage / "transitions.db").write_bytes(b"no database" * 100)
    assert str(garbage) in message(garbage)


def test_a_damaged_version_does_not_hide_the_others(tmp_path, caplog):
    path = write(tmp_path / "run", drive(400), [(1, 100, linear())])
    (path / "models" / "v000002.safetensors").write_bytes(b"nonsense")
    assert diagnose(path, SYSTEM, TASK).facts.kept == [1]
    assert "v000002.safetensors" in caplog.text


def test_correlation_knows_ties_constants_and_few_pairs():
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [2.5, 0.0, 2.5, 1.0]
    x = np.arange(10.0)
    found = correlation(x, np.exp(x))
    assert found.spearman == pytest.approx(1.0) and found.pearson < 0.9 and found.low > 0.9
    assert math.isnan(correlation(x, np.ones(10)).spearman)
    assert correlation(np.array([1.0, math.nan, 3.0]), x[:3]).pairs == 2
