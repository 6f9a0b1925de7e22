"""The trajectory-based model, against the one-step model that it competes with."""

import math

import pytest
import torch

from mbrl_node.learning import fit
from mbrl_node.models import DynamicsModel, ModelConfig, TrajectoryModel, trajectory_rows
from mbrl_node.planning import LinearFeedback
from mbrl_node.spec import load_spec
from mbrl_node.spec.system import BoxSystem

DT, HORIZON, LENGTH, EPISODES = 0.05, 40, 60, 200
SYSTEM = BoxSystem("mass", DT, ("x", "v"), ("a",), -20.0, 20.0)
LAW = LinearFeedback(SYSTEM, torch.zeros(2), torch.tensor([[0.5, 0.2]]), torch.tensor([[6.0, 3.0]]))


def episodes(count, length, noise, seed):
    """Measured states [count, length + 1, n], actions, and parameters, from random starts under
    random gains; the law acts on what is measured."""
    generator = torch.Generator().manual_seed(seed)
    state = 2 * torch.rand(count, 2, generator=generator) - 1
    gains = LAW.low + (LAW.high - LAW.low) * torch.rand(count, 2, generator=generator)
    states, actions = [], []
    for _ in range(length + 1):
        states.append(state + noise * torch.randn(count, 2, generator=generator))
        actions.append(LAW.actions(gains, states[-1]))
        position, velocity = state.split(1, -1)
        state = torch.cat((position + velocity * DT, velocity + actions[-1] * DT), -1)
    return torch.stack(states, 1), torch.stack(actions[:-1], 1), gains


@pytest.fixture(scope="module")
def measured():
    return episodes(EPISODES, LENGTH, 0.05, seed=0)


@pytest.fixture(scope="module")
def model(measured):
    states, _, gains = measured
    torch.manual_seed(0)
    model = TrajectoryModel(SYSTEM, LAW.low, LAW.high, HORIZON, members=3, hidden=(64, 64))
    rows = trajectory_rows(list(zip(states, gains, strict=True)), HORIZON, count=60)
    fit(model, *rows, batch_size=512, learning_rate=4e-3, max_epochs=30)
    return model


def test_with_measurement_noise_the_error_at_the_horizon_is_less_than_half_of_a_one_step_models(
    measured, model
):
    states, actions, _ = measured
    torch.manual_seed(0)
    one_step = DynamicsModel(SYSTEM, ModelConfig(members=3, hidden=(64, 64)))
    first = torch.arange(EPISODES).repeat_interleave(LENGTH) * LENGTH
    rows = (states[:, :-1].flatten(0, 1), actions.flatten(0, 1), states[:, 1:].flatten(0, 1))
    fit(one_step, rows, first, batch_size=256, max_epochs=30)

    truth, _, gains = episodes(100, HORIZON, 0.0, seed=1)
    start, end = truth[:, 0], truth[:, -1]
    at_once, _ = model.predict(start, torch.full((100,), float(HORIZON)), gains)
    state = start.expand(3, -1, -1)
    with torch.no_grad():
        for _ in range(HORIZON):
            state = one_step.predict(state, LAW.actions(gains, state))

    def rmse(predicted):
        return float((predicted.mean(0) - end).square().mean().sqrt())

    assert rmse(at_once) < 0.1
    assert rmse(at_once) < 0.5 * rmse(state)


def test_the_whole_course_is_predicted_and_the_gains_matter(model):
    gains = torch.tensor([[1.0, 2.5], [5.0, 0.5]])  # creeps back; swings through
    states = model.trajectories(torch.tensor([1.0, 0.0]), gains).mean(0)
    assert states.shape == (2, HORIZON + 1, 2)
    assert states[0, :, 0].min() > -0.1 and states[1, :, 0].min() < -0.3


def test_a_course_is_the_prediction_for_each_of_its_times(model):
    start, gains = torch.tensor([0.4, -0.2]), LAW.high[None]
    states = model.trajectories(start, gains)
    assert torch.equal(states[:, 0, 0], start.expand(3, -1))
    single, _ = model.predict(start[None], torch.tensor([7.0]), gains)
    torch.testing.assert_close(states[:, 0, 7], single[:, 0])


def test_the_noise_of_the_measurements_is_in_the_predicted_deviation(model):
    _, std = model.predict(torch.zeros(1, 2), torch.tensor([20.0]), LAW.high[None])
    # Of the start and of the end: sqrt(2) times one of them, less what the law takes back.
    assert ((std.mean((0, 1)) > 0.04) & (std.mean((0, 1)) < 0.12)).all()


def test_rows_are_pairs_of_one_episode_at_all_times_up_to_the_horizon():
    clock = torch.arange(31.0)[:, None]  # the state is the time
    given = [(clock[:21], torch.tensor([1.0])), (100 + clock, torch.tensor([2.0]))]
    (start, steps, parameters, end), first = trajectory_rows(given, horizon=25, count=400)
    torch.testing.assert_close(end - start, steps[:, None])
    assert (parameters[:, 0] == torch.where(start[:, 0] < 50, 1.0, 2.0)).all()
    assert first.unique().tolist() == [0, 400]
    assert set(steps[:400].tolist()) == set(range(1, 21))  # no longer than the episode
    assert set(steps[400:].tolist()) == set(range(1, 26))  # nor than the horizon
    assert (start[::2, 0] % 100 == 0).all() and start[1::2, 0].unique().numel() > 20


def test_rows_are_the_same_for_the_same_seed():
    given = [(torch.arange(31.0)[:, None], torch.tensor([1.0]))]
    one, same, other = (trajectory_rows(given, 25, 50, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one[1], same[1]) and not torch.equal(one[1], other[1])


def test_a_full_turn_of_an_angle_at_the_start_changes_only_that_angle():
    spec = load_spec("cartpole")
    model = TrajectoryModel(spec, torch.zeros(2), torch.ones(2), 10, members=2, hidden=(16,))
    start, gains = torch.ones(1, 4), torch.full((1, 2), 0.5)
    turn = torch.zeros(4)
    turn[spec.state_names.index("theta")] = 2 * math.pi
    one = model.trajectories(start[0], gains)
    other = model.trajectories(start[0] + turn, gains)
    torch.testing.assert_close(other - turn, one, atol=1e-4, rtol=1e-4)


def test_it_looks_at_fields_that_only_the_law_depends_on():
    spec = load_spec("cartpole")  # a one-step model does not look at where the cart is
    assert "x" not in spec.model_inputs
    model = TrajectoryModel(spec, torch.zeros(2), torch.ones(2), 10, members=2, hidden=(16,))
    moved = torch.zeros(4)
    moved[spec.state_names.index("x")] = 0.5
    one, other = (model.trajectories(s, torch.zeros(1, 2)) for s in (torch.zeros(4), moved))
    assert not torch.allclose(other[:, :, 1:] - moved, one[:, :, 1:])


@pytest.mark.parametrize(("high", "horizon"), [([0.0, 1.0], 5), ([1.0, 1.0], 0)])
def test_an_empty_box_or_horizon_is_refused(high, horizon):
    with pytest.raises(ValueError, match="horizon"):
        TrajectoryModel(SYSTEM, torch.zeros(2), torch.tensor(high), horizon)
