"""Training: what counts and how much, when a fit stops, and what is left when it goes wrong."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl_node.data import ReplayBuffer, Transition, records_of
from mbrl_node.learning import Trainer, TrainerConfig, trajectory_weights
from mbrl_node.learning.trainer import LEAST_STEPS, split
from mbrl_node.models import ModelConfig, WorldModel
from mbrl_node.spec.system import BoxSystem
from mbrl_node.spec.task import Task

SYSTEM = BoxSystem("toy", 0.1, ("x", "y"), ("u",), -1.0, 1.0)
SMALL = ModelConfig(members=3, hidden=(12,))
KNOWN = Task(lambda s, a, n: n[..., 0], lambda n: n[..., 0] > 1e9)


def buffer_of(state, action, next_state, episode, missing=()) -> ReplayBuffer:
    """Steps as arrays [B, ...]; before each row in `missing` there is one that never came."""
    buffer = ReplayBuffer(2, 1)
    sequence = np.cumsum([1 + (k in missing) for k in range(len(state))])
    steps = [
        Transition(1, int(i), int(e), 0, 0, 0, s, a, a, n, -float(s[0]), s[0] > 1, False, "", 0)
        for i, e, s, a, n in zip(sequence, episode, state, action, next_state, strict=True)
    ]
    buffer.add(records_of(steps, 2, 1))
    return buffer


def toy(count: int, seed: int = 0, episode_length: int = 20, noise: float = 0.02) -> ReplayBuffer:
    rng = np.random.default_rng(seed)
    state, action = rng.uniform(-1.5, 1.5, (count, 2)), rng.uniform(-1, 1, (count, 1))
    change = 0.1 * np.stack((np.sin(2 * state[:, 1]), action[:, 0] - state[:, 0]), 1)
    change += noise * rng.normal(size=(count, 2))
    return buffer_of(state, action, state + change, np.arange(count) // episode_length)


def a_world(config: ModelConfig = SMALL, task: Task = KNOWN, seed: int = 0) -> WorldModel:
    torch.manual_seed(seed)
    return WorldModel.for_task(SYSTEM, task, config)


def bits(world: WorldModel) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in world.state_dict().items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[k], two[k]) for k in one)


@pytest.fixture
def short_epochs(monkeypatch):
    """An epoch is one pass over the data, however little that is."""
    monkeypatch.setattr("mbrl_node.learning.trainer.LEAST_STEPS", 1)


def train(world: WorldModel, buffer: ReplayBuffer, steps: int, weights=None, **config):
    trainer = Trainer(world, TrainerConfig(**config), seed=1)
    trainer.train(buffer, steps, weights=weights)
    return trainer


@pytest.mark.parametrize("batches", ["own", "shared", "bootstrap"])
@pytest.mark.parametrize("way", ["train", "fit"])
@pytest.mark.usefixtures("short_epochs")
def test_the_same_seed_gives_the_same_bits(way, batches):
    results = []
    for seed in (0, 0, 1):
        world = a_world(task=Task())
        trainer = Trainer(world, TrainerConfig(batches=batches, loss_horizon=2), seed)
        trainer.train(toy(100), 8) if way == "train" else trainer.fit(toy(100), max_epochs=3)
        results.append(bits(world))
    assert same(results[0], results[1]) and not same(results[0], results[2])


@pytest.mark.parametrize("members", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_batch_size_need_not_divide_by_the_members_nor_the_data_by_it(members, batch_size):
    world = a_world(ModelConfig(members=members, hidden=(4,)))
    report = Trainer(world, TrainerConfig(batch_size=batch_size)).train(toy(23), 2)
    assert report.gradient_steps == 2 and math.isfinite(report.loss)


def test_a_report_says_how_many_steps_were_taken_and_how_fast():
    trainer = Trainer(a_world(), TrainerConfig())
    warm, full = trainer.train(toy(60), 5), trainer.fit(toy(60), max_epochs=4)
    assert warm.gradient_steps == 5 and warm.steps_per_s > 0
    assert warm.steps_per_s == 5 / warm.seconds
    assert full.epochs == 4 and full.gradient_steps == 4 * LEAST_STEPS and full.steps_per_s > 0
    assert math.isfinite(full.validation_loss) and math.isnan(warm.validation_loss)


def test_a_cancelled_update_takes_no_more_steps():
    trainer, asked = Trainer(a_world(), TrainerConfig()), itertools.count()
    assert trainer.train(toy(60), 50, lambda: next(asked) >= 3).gradient_steps == 3
    before = bits(trainer.model)
    assert trainer.fit(toy(60), lambda: True).gradient_steps == 0
    before["dynamics.elites"] = trainer.model.dynamics.elites
    assert same(before, bits(trainer.model))


def test_fewer_than_two_transitions_are_refused():
    trainer = Trainer(a_world(), TrainerConfig())
    for way in (lambda b: trainer.train(b, 1), trainer.fit):
        with pytest.raises(ValueError, match="fewer than two transitions"):
            way(toy(1))
    with pytest.raises(ValueError, match="fewer than two transitions"):
        trainer.train(toy(5), 1, weights=torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0]))


@pytest.mark.parametrize("way", ["train", "fit"])
def test_training_that_diverges_leaves_the_weights_as_they_were_and_can_go_on(way):
    broken = toy(40)
    broken._data[5, 3] = math.nan
    trainer = train(a_world(), toy(40), 5)
    before = bits(trainer.model)
    with pytest.raises(FloatingPointError, match="not finite"):
        trainer.train(broken, 20) if way == "train" else trainer.fit(broken)
    assert same(before, bits(trainer.model))
    assert math.isfinite(trainer.train(toy(40), 5).loss)
    assert all(torch.isfinite(x).all() for x in bits(trainer.model).values())


# Early stopping. What the validation loss is, is written down beforehand.


def fit_with_losses(losses, patience: int = 3, probabilistic: bool = True, max_epochs: int = 1000):
    """The epoch whose weights were left, and the report."""
    world = a_world(ModelConfig(members=2, hidden=(4,), probabilistic=probabilistic))
    trainer = Trainer(world, TrainerConfig(patience=patience))
    seen = []

    def scores(data):
        seen.append(bits(world))
        return torch.full((2,), losses[min(len(seen), len(losses)) - 1])

    trainer._scores = scores
    report = trainer.fit(toy(60), max_epochs=max_epochs)
    seen.pop()  # of the choice of elites
    weights = world.dynamics.net.weights[0]
    kept = [torch.equal(weights, s["dynamics.net.weights.0"]) for s in seen]
    return kept.index(True) + 1, report


@pytest.mark.usefixtures("short_epochs")
def test_a_negative_loss_that_goes_on_falling_goes_on_and_keeps_the_last_weights():
    epoch, report = fit_with_losses([-1.0, -2.0, -3.0, -4.0, -5.0], max_epochs=5)
    assert (epoch, report.epochs, report.validation_loss) == (5, 5, -5.0)
    epoch, report = fit_with_losses([1.0, 0.5, 0.0, -0.5, -1.0, -1.5], max_epochs=6)
    assert (epoch, report.epochs, report.validation_loss) == (6, 6, -1.5)


@pytest.mark.usefixtures("short_epochs")
def test_the_best_weights_come_back_when_the_loss_rises_again():
    epoch, report = fit_with_losses([-1.0, -3.0, -2.0, -2.5, -1.0, -9.0])
    assert (epoch, report.epochs, report.validation_loss) == (2, 5, -3.0)


@pytest.mark.usefixtures("short_epochs")
def test_a_loss_that_hardly_falls_is_one_that_has_stopped_falling():
    assert fit_with_losses([-1.0, -1.0001, -1.0002, -1.0003, -9.0])[1].epochs == 4
    assert fit_with_losses([-1.0, -1.1, -1.2, -1.3, -1.4], max_epochs=5)[0] == 5


@pytest.mark.usefixtures("short_epochs")
def test_a_squared_error_goes_on_as_long_as_it_falls_in_proportion():
    losses = [1e-4 * 0.8**k for k in range(10)]
    assert fit_with_losses(losses, probabilistic=False, max_epochs=10)[0] == 10
    assert fit_with_losses([1e-4] * 9, probabilistic=False)[1].epochs == 4
    assert fit_with_losses([0.0] * 9, probabilistic=False)[0] == 1


@pytest.mark.usefixtures("short_epochs")
def test_a_loss_that_is_never_finite_is_an_error_and_one_that_was_finite_is_not():
    with pytest.raises(FloatingPointError):
        fit_with_losses([math.nan])
    epoch, report = fit_with_losses([-1.0, -2.0, math.nan, math.nan, math.nan])
    assert (epoch, report.validation_loss) == (2, -2.0)


def test_a_fit_of_a_deterministic_ensemble_does_not_stop_at_a_coarse_error():
    world = a_world(ModelConfig(members=2, hidden=(16,), probabilistic=False))
    Trainer(world, TrainerConfig(learning_rate=1e-2)).fit(toy(400, noise=0.0), max_epochs=60)
    data = toy(200, seed=1, noise=0.0).batch()
    assert world.dynamics.error(data.state, data.action, data.next_state) < 0.03


def test_a_fit_stops_before_the_training_data_is_learned_by_heart():
    # Little data, much noise, a large network.
    losses, data = [], toy(400, seed=1, noise=0.1).batch()
    for fitted in (True, False):
        world = a_world(ModelConfig(members=2, hidden=(64, 64)))
        if fitted:
            report = Trainer(world, TrainerConfig(beta=0.0)).fit(toy(120, noise=0.1))
        else:
            train(world, toy(120, noise=0.1), 600, beta=0.0)
        losses.append(float(world.dynamics.scores(data.state, data.action, data.next_state).mean()))
    assert report.gradient_steps < 600 and losses[0] < 1.0 < 3.0 < losses[1]


# The split.


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=12), st.floats(0.01, 0.9), st.integers(0))
def test_a_split_never_has_an_episode_on_both_sides(sizes, part, seed):
    episode = torch.repeat_interleave(torch.tensor(sizes))
    generator = torch.Generator().manual_seed(seed % 2**32)
    training, validation = split(episode, part, generator)
    rows = torch.cat((training, validation)).sort().values
    assert torch.equal(rows, torch.arange(len(episode)))
    assert len(training) and len(validation)
    assert not set(episode[training].tolist()) & set(episode[validation].tolist())
    assert len(validation) <= max(part * len(episode), min(sizes))


def test_of_a_single_episode_the_last_part_is_set_aside():
    for size in (2, 3, 10, 100):
        training, validation = split(torch.zeros(size), 0.1, torch.Generator())
        assert torch.equal(torch.cat((training, validation)), torch.arange(size))
        assert len(training) and len(validation) == max(1, round(0.1 * size))


def test_a_long_episode_among_short_ones_is_trained_on():
    episode = torch.repeat_interleave(torch.tensor([900, 30, 30, 40]))
    for seed in range(20):
        training, _ = split(episode, 0.05, torch.Generator().manual_seed(seed))
        assert len(training) >= 950


def test_parts_of_an_episode_with_missing_steps_are_on_the_same_side():
    source = toy(120, episode_length=30).batch()
    columns = (source.state, source.action, source.next_state)
    buffer = buffer_of(
        *(x.double().numpy() for x in columns), np.arange(120) // 30, missing=range(0, 120, 5)
    )
    assert len(buffer.first().unique()) == 24 and len(buffer.episode().unique()) == 4
    world = a_world()
    trainer, seen = Trainer(world, TrainerConfig(validation=0.25)), []
    trainer._scores = lambda data: seen.append(data) or torch.zeros(3)
    trainer.fit(buffer, max_epochs=1)
    held = [int((source.state == row).all(1).nonzero()) for row in seen[0].state]
    assert len(held) == 30 and len({row // 30 for row in held}) == 1


@pytest.mark.parametrize("horizon", [1, 3])
def test_what_is_set_aside_has_no_part_in_training(horizon):
    results = []
    for changed in (False, True):
        buffer = toy(100, episode_length=100)  # of one episode the last 10 rows
        if changed:
            buffer._data[90:] += 1.0
        world = a_world(task=Task())
        Trainer(world, TrainerConfig(loss_horizon=horizon)).fit(buffer, max_epochs=1)
        results.append(bits(world))
        results[-1].pop("dynamics.elites")
    assert same(*results)


# Weights.


@pytest.mark.parametrize("way", ["train", "fit"])
@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.usefixtures("short_epochs")
def test_a_row_that_counts_nothing_has_no_influence_at_all(way, horizon):
    weights, results = torch.ones(100), []
    weights[3::7] = 0.0
    for change in (0.0, 100.0):
        buffer = toy(100)
        buffer._data[3:100:7] += change  # state, action, next state, reward and end
        world = a_world(task=Task())
        trainer = Trainer(world, TrainerConfig(loss_horizon=horizon))
        if way == "train":
            trainer.train(buffer, 10, weights=weights)
        else:
            trainer.fit(buffer, weights=weights, max_epochs=3)
        results.append(bits(world))
    assert same(*results)


def test_a_row_that_counts_more_is_followed_more():
    # Half of the rows say that x rises by 1, half that it falls by 1.
    state = np.zeros((200, 2))
    next_state = np.stack((np.where(np.arange(200) % 2, 1.0, -1.0), np.zeros(200)), 1)
    buffer = buffer_of(state, np.zeros((200, 1)), next_state, np.arange(200))
    weights = torch.where(torch.arange(200) % 2 == 1, 3.0, 1.0)
    for given_weights, expected in ((None, 0.0), (weights, 0.5), (10 * weights, 0.5)):
        world = a_world(ModelConfig(members=2, hidden=(), probabilistic=False))
        train(world, buffer, 300, given_weights, batch_size=256, learning_rate=0.02)
        rise = world.dynamics.predict(torch.zeros(2, 1, 2), torch.zeros(2, 1, 1))[..., 0]
        assert (rise - expected).abs().max() < 0.1


def test_weights_prefer_what_is_near_the_trajectory_that_the_robot_should_go():
    reference = torch.stack((torch.linspace(0, 1, 11), torch.zeros(11)), 1)
    states = torch.tensor([[0.5, 0.0], [0.5, 1.0], [0.5, 2.0], [2.0, 0.0], [50.0, 0.0]])
    weights = trajectory_weights(states, reference, torch.tensor([1.0, 2.0]), width=0.5)
    assert abs(float(weights.mean()) - 1) < 1e-6
    assert weights.argsort(descending=True).tolist() == [0, 1, 2, 3, 4] or (
        weights[2] == weights[3]  # one unit of its scale each
    )
    torch.testing.assert_close(weights[1] / weights[0], torch.tensor(math.exp(-0.5)))
    torch.testing.assert_close(weights[2] / weights[0], torch.tensor(math.exp(-2.0)))
    assert weights[4] == 0.0


def test_weights_make_a_small_model_better_where_the_robot_should_go():
    buffer = toy(800, noise=0.0)
    data = buffer.batch()
    near = data.state[:, 1] > 0.9  # too small to fit a sine, the model must choose
    weights = trajectory_weights(
        data.state[:, 1:], torch.tensor([[1.2]]), torch.tensor([1.0]), width=0.15
    )
    errors = []
    for given_weights in (None, weights):
        world = a_world(ModelConfig(members=2, hidden=(), probabilistic=False))
        train(world, buffer, 400, given_weights, learning_rate=0.01)
        rows = data[near]
        errors.append(world.dynamics.predict(*(
            x.expand(2, -1, -1) for x in (rows.state, rows.action)
        )).sub(rows.next_state).square().mean().sqrt())  # fmt: skip
    assert errors[1] < 0.7 * errors[0]


# Batches of the members.


def members_apart(batches: str) -> float:
    """How far two members come apart that began with the same weights."""
    world = a_world(ModelConfig(members=2, hidden=(8,)))
    with torch.no_grad():
        for parameter in [*world.dynamics.net.weights, *world.dynamics.net.biases]:
            parameter[1] = parameter[0]
    train(world, toy(100), 20, batches=batches)
    first, second = world.dynamics.net.weights[0].detach()
    return float((first - second).abs().max())


def test_shared_batches_show_all_members_the_same_rows_and_the_others_do_not():
    assert members_apart("shared") == 0.0
    assert members_apart("own") > 1e-4 and members_apart("bootstrap") > 1e-4


def test_a_members_resample_of_the_data_stays_as_it_was_when_data_is_added():
    trainer = Trainer(a_world(), TrainerConfig(batches="bootstrap"))
    trainer.train(toy(40), 1)
    before = trainer._resample(40).clone()
    trainer.train(toy(500), 1)
    after = trainer._resample(500)
    assert torch.equal(after[:40], before) and after.shape == (500, 3)
    # About 1/e of the rows are left out, as in drawing with replacement; each member its own.
    assert abs(float((after == 0).float().mean()) - math.exp(-1)) < 0.04
    assert abs(float(after.mean()) - 1) < 0.06
    assert not torch.equal(after[:, 0], after[:, 1])


def test_a_row_that_is_not_in_a_members_resample_does_not_move_that_member():
    trainer = Trainer(a_world(), TrainerConfig(batches="bootstrap"))
    trainer._resample(20)[:, 0] = 0.0
    before = trainer.model.dynamics.net.weights[0].detach().clone()
    trainer._optimizer.param_groups[0]["weight_decay"] = 0.0
    trainer.train(toy(20), 3)
    after = trainer.model.dynamics.net.weights[0].detach()
    assert torch.equal(after[0], before[0]) and not torch.equal(after[1], before[1])


# Elites.


def test_the_elites_are_the_members_that_predict_held_out_data_best():
    world = a_world(ModelConfig(members=5, hidden=(16,), elites=2))
    trainer = train(world, toy(300), 200, learning_rate=5e-3)
    with torch.no_grad():
        for member, size in ((0, 1.0), (2, 0.3), (3, 3.0)):
            world.dynamics.net.biases[-1][member, :, :2] += size
    trainer.choose_elites(toy(100, seed=1).batch())
    assert set(world.dynamics.elites[:2].tolist()) == {1, 4}
    assert world.dynamics.elites[2:].tolist() == [2, 0, 3]
    elite = world.dynamics.elite()
    state, action = torch.rand(1, 6, 2), torch.rand(1, 6, 1)
    of_all = world.dynamics.predict(state.expand(5, -1, -1), action.expand(5, -1, -1))
    of_elite = elite.predict(state.expand(2, -1, -1), action.expand(2, -1, -1))
    torch.testing.assert_close(of_elite, of_all[world.dynamics.elites[:2]])
    assert elite.members == 2 and world.dynamics.members == 5


def test_a_fit_chooses_the_elites_on_what_it_set_aside():
    world = a_world(ModelConfig(members=4, hidden=(8,), elites=1))
    trainer, held = Trainer(world, TrainerConfig()), []
    scores = trainer._scores
    trainer._scores = lambda data: (held.append(data), scores(data))[1]
    trainer.fit(toy(200), max_epochs=5)
    assert len(held[-1]) == 20 and torch.equal(held[-1].state, held[0].state)
    assert torch.equal(world.dynamics.elites, scores(held[-1]).argsort())


# The loss over several steps.


@pytest.mark.parametrize("history", [1, 2])
@pytest.mark.parametrize("probabilistic", [False, True])
def test_the_loss_over_three_steps_is_that_of_a_plain_loop(history, probabilistic):
    config = ModelConfig(members=2, hidden=(5,), history=history, probabilistic=probabilistic)
    source = toy(12, episode_length=5).batch()
    columns = (source.state, source.action, source.next_state)
    buffer = buffer_of(*(x.double().numpy() for x in columns), np.arange(12) // 5, missing=[8])
    assert buffer.first().tolist() == [0] * 5 + [5] * 3 + [8] * 2 + [10] * 2
    world = a_world(config)
    trainer = Trainer(world, TrainerConfig(loss_horizon=3, beta=0.5))
    model, data = world.dynamics, buffer.batch(history)
    model.fit_normalizer(data.state, data.action, data.next_state)
    index = torch.stack((torch.arange(12), torch.arange(12).flip(0)))
    expected = model.net.bound_loss()
    for member in range(2):
        for row in index[member].tolist():
            state = data.state[row]
            for t in range(row, min(row + 3, 12)):
                if buffer.first()[t] != buffer.first()[row]:
                    break
                step = [x.expand(2, 1, -1) for x in (state, data.action[t], data.next_state[t])]
                expected = expected + model.loss(*step, beta=0.5)[member, 0] / 12
                state = model.predict(*step[:2])[member, 0]
    torch.testing.assert_close(trainer._loss(data, buffer.first(), index), expected)


def noisy_oscillator(seed: int) -> tuple[ReplayBuffer, np.ndarray]:
    """A swing as its sensors see it, in episodes of 40 steps, and as it is."""
    rng = np.random.default_rng(seed)
    rows, truth = [], []
    for episode in range(30):
        s = rng.normal(size=2)
        seen = s + 0.15 * rng.normal(size=2)
        for _ in range(40):
            u = rng.uniform(-1, 1, 1)
            truth.append(s)
            s = s + 0.2 * np.array([s[1], -s[0] + u[0]])
            s = s / np.sqrt(1.04)  # the swing neither dies out nor grows
            after = s + 0.15 * rng.normal(size=2)
            rows.append((seen, u, after, episode))
            seen = after
    return buffer_of(*(np.array(x) for x in zip(*rows, strict=True))), np.array(truth)


def ten_steps_on(world: WorldModel, buffer: ReplayBuffer, truth: np.ndarray) -> float:
    """RMSE after ten steps from true states."""
    states, actions = torch.as_tensor(truth, dtype=torch.float32), buffer.batch().action
    start = torch.arange(len(states)).reshape(30, 40)[:, :30].flatten()
    now = states[start].expand(world.dynamics.members, -1, -1)
    for ahead in range(10):
        now = world.dynamics.predict(now, actions[start + ahead].expand(len(now), -1, -1))
    return float((now.mean(0) - states[start + 10]).square().mean().sqrt())


@pytest.mark.parametrize("probabilistic", [False, True])
def test_a_loss_over_several_steps_drifts_less_where_sensors_are_noisy(probabilistic):
    # Noise in what a model looks at makes one-step training underestimate every effect
    # (regression dilution); over several steps that shows, and is put right.
    errors = {}
    for horizon in (1, 5):
        buffer, _ = noisy_oscillator(0)
        world = a_world(ModelConfig(members=2, hidden=(), probabilistic=probabilistic))
        train(world, buffer, 400, loss_horizon=horizon, learning_rate=0.02)
        world.requires_grad_(False)
        errors[horizon] = ten_steps_on(world, *noisy_oscillator(1))
    assert errors[5] < 0.5 * errors[1]


def test_a_buffer_that_grows_while_a_model_is_fitted_does_no_harm():
    class Growing(ReplayBuffer):
        def batch(self, history: int = 1, start: int = 0):
            taken = super().batch(history, start)
            rows = toy(30, seed=len(self)).batch()
            columns = (x.numpy() for x in (rows.state, rows.action, rows.next_state))
            steps = [
                Transition(2, len(self) + k, 7, 0, 0, 0, s, a, a, n, 0.0, False, False, "", 0)
                for k, (s, a, n) in enumerate(zip(*columns, strict=True))
            ]
            self.add(records_of(steps, 2, 1))
            return taken

    buffer = Growing(2, 1)
    trainer = Trainer(a_world(), TrainerConfig(loss_horizon=3, batches="bootstrap"))
    buffer.batch(), buffer.batch()
    trainer.train(buffer, 3)
    trainer.fit(buffer, max_epochs=2)
    assert len(buffer) == 120


def test_settling_changes_nothing_and_makes_the_first_steps_after_it_small():
    buffer, moved = toy(200), []
    world = a_world()
    Trainer(world, TrainerConfig()).train(buffer, 400)
    trained = {k: v.clone() for k, v in world.state_dict().items()}
    for settles in (False, True):
        world.load_state_dict(trained)
        trainer = Trainer(world, TrainerConfig())
        if settles:
            trainer.settle(buffer)
            assert all(torch.equal(v, trained[k]) for k, v in world.state_dict().items())
        trainer.train(buffer, 1)
        weights = "dynamics.net.weights.0"
        moved.append(float((world.state_dict()[weights] - trained[weights]).abs().mean()))
    assert moved[1] < 0.7 * moved[0]
