"""The rollout against a plain loop over members, samples and steps, and against closed-form answers
on models whose weights are set by hand."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl_node.models import DynamicsModel, ModelConfig, WorldModel
from mbrl_node.planning import PlanningError, Rollout, RolloutConfig
from mbrl_node.planning.propagation import draw
from mbrl_node.spec import load_spec
from mbrl_node.spec.system import BoxSystem
from mbrl_node.spec.task import Task

SPEC = load_spec("cartpole")
TASK = Task.of(SPEC)


def world(**config) -> WorldModel:
    torch.manual_seed(0)
    it = WorldModel(SPEC, ModelConfig(**{"members": 3, "hidden": (16,), **config}))
    it.dynamics.delta_std[:] = torch.tensor([2.0, 0.3, 0.5, 0.5])  # fast enough to leave the rail
    return it.requires_grad_(False)


def reference(net: DynamicsModel, state, actions, risk: float):
    """Returns, and how many rollouts ended before the horizon."""
    result, ended = [], 0
    for sequence in actions:
        totals = []
        for member in range(3):
            now, total = state, 0.0
            for action in sequence:
                batch = now.expand(3, 1, -1), action.expand(3, 1, -1)
                before, now = now, net.predict(*batch)[member, 0]
                total += float(TASK.reward(before[:4], action, now[:4]) - TASK.constraint(now[:4]))
                if TASK.termination(now[:4]):
                    ended += 1
                    break
            totals.append(total)
        values = torch.tensor(totals)
        result.append(values.mean() - risk * values.std())
    return torch.stack(result), ended


@pytest.mark.parametrize("history", [1, 3])
def test_returns_are_those_of_the_plain_loop_with_termination_constraint_and_risk(history):
    net, state = world(history=history), torch.tensor([4.0, 3.0, 0.0, 0.0])
    start = net.dynamics.model_state(state.expand(2, -1), torch.ones(1, 1))
    actions = 5 * torch.randn(8, 6, 1, generator=torch.Generator().manual_seed(1))
    expected, ended = reference(net.dynamics, start, actions, risk=0.7)
    assert 0 < ended < 24
    config = RolloutConfig(deviation=0.7, precision="fp32")
    returns = Rollout(net, TASK, config).returns(start, actions)
    torch.testing.assert_close(returns, expected, rtol=1e-4, atol=1e-3)


def test_the_expectation_is_the_plain_loop_over_the_members_mean():
    net, state = world(), torch.tensor([0.0, 3.0, 0.0, 0.0])
    actions = torch.randn(4, 5, 1, generator=torch.Generator().manual_seed(1))
    task = Task(reward=lambda s, a, n: n[..., 1] + a[..., 0] * s[..., 0])
    expected = []
    for sequence in actions:
        now, total = state, 0.0
        for action in sequence:
            members = net.dynamics.predict(now.expand(3, 1, -1), action.expand(3, 1, -1))
            before, now = now, members[:, 0].mean(0)
            total += float(task.reward(before, action, now))
        expected.append(total)
    for aleatoric in (False, True):  # an expectation has no noise
        config = RolloutConfig(propagation="expectation", aleatoric=aleatoric, precision="fp32")
        rollout = Rollout(net, task, config)
        particles = rollout.particle_returns(state, actions)
        torch.testing.assert_close(particles, torch.tensor([expected]), rtol=1e-4, atol=1e-4)


def test_a_sequence_that_runs_into_infinity_is_never_chosen_and_spoils_no_other():
    net, state = world(), torch.zeros(4)
    actions = torch.zeros(3, 6, 1)
    actions[1, 2] = torch.nan
    returns = Rollout(net, TASK).returns(state, actions)
    assert returns[1] == -torch.inf and torch.isfinite(returns[[0, 2]]).all()


def test_the_trajectory_has_the_return_that_one_sequence_has():
    net, state = world(), torch.tensor([0.0, 3.0, 0.0, 0.0])
    task = Task(reward=TASK.reward, termination=TASK.termination)
    config = RolloutConfig(deviation=0.0, precision="fp32")
    actions, rollout = torch.ones(4, 1), Rollout(net, task, config)
    states, total = rollout.trajectory(state, actions)
    assert states.shape == (5, 4) and torch.equal(states[0], state)
    assert abs(total - float(rollout.returns(state, actions[None]))) < 1e-3


def test_several_trajectories_at_once_are_those_of_each_sequence():
    rollout, state = Rollout(world(history=2), TASK), torch.zeros(4)
    start = rollout.model_state(state.expand(2, -1), torch.ones(1, 1))
    actions = torch.randn(3, 5, 1, generator=torch.Generator().manual_seed(1))
    states, totals = rollout.trajectories(start, actions)
    assert states.shape == (3, 6, 4)
    for each, total, sequence in zip(states, totals, actions, strict=True):
        alone, its_total = rollout.trajectory(start, sequence)
        torch.testing.assert_close(each, alone, rtol=1e-4, atol=1e-5)
        assert abs(float(total) - its_total) < 1e-4


# From here on: a robot on a line. Member e moves it by drift[e] + gain[e] * action a step, and by
# noise of a known standard deviation.
LINE = BoxSystem("line", 0.1, ("x",), ("u",), -1.0, 1.0)


def line(drift, gain=None, noise: float = 0.0) -> WorldModel:
    config = ModelConfig(members=len(drift), hidden=(), probabilistic=noise > 0)
    it = WorldModel(LINE, config).requires_grad_(False)
    net = it.dynamics.net
    net.weights[0][:], net.biases[0][:] = 0.0, 0.0
    net.biases[0][:, 0, 0] = torch.tensor(drift, dtype=torch.float32)
    if gain is not None:
        net.weights[0][:, 1, 0] = torch.tensor(gain, dtype=torch.float32)
    if noise:  # the bounds far away, so that the bias is the log-variance
        net.max_log_variance[:], net.min_log_variance[:] = 40.0, -40.0
        net.biases[0][:, 0, 1] = 2 * math.log(noise)
    return it


GENERATOR = torch.Generator().manual_seed(0)
LAST = {
    "task": Task(reward=lambda s, a, n: torch.zeros_like(n[..., 0])),
    "value": lambda s: s[..., 0],
}


def where_particles_end(it: WorldModel, horizon: int, samples: int = 1, seed: int = 0, **config):
    """x of each particle after the last step, [P, N], from 0 and with actions of 0."""
    rollout = Rollout(it, LAST["task"], RolloutConfig(**config), LAST["value"], seed)
    return rollout.particle_returns(torch.zeros(1), torch.zeros(samples, horizon, 1))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.integers(0, 20), st.integers(1, 4), st.integers(1, 5))
def test_with_ts_infinity_a_particle_stays_with_its_member(members, particles, samples, horizon):
    drift = [float(2**e) for e in range(members)]
    ends = where_particles_end(line(drift), horizon, samples, particles=particles)
    expected = [horizon * drift[p % members] for p in range(particles or members)]
    assert ends.tolist() == [[x] * samples for x in expected]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from(["tsinf", "ts1", "expectation", "moment_matching"]),
    st.integers(1, 6),
    st.integers(0, 13),
    st.integers(1, 5),
    st.booleans(),
    st.integers(1, 3),
)
def test_any_number_of_particles_members_and_sequences_goes_together(
    propagation, members, particles, samples, aleatoric, history
):
    config = ModelConfig(members=members, hidden=(4,), history=history)
    it = WorldModel(LINE, config, learns_reward=True, learns_termination=True)
    config = RolloutConfig(
        propagation=propagation, particles=particles, aleatoric=aleatoric, disagreement=0.5
    )
    rollout = Rollout(it, Task(), config)
    state = torch.rand(it.dynamics.model_state_dim)
    wanted = 1 if propagation == "expectation" else particles or members
    assert rollout.particle_returns(state, torch.rand(samples, 3, 1)).shape == (wanted, samples)
    assert torch.isfinite(rollout.returns(state, torch.rand(samples, 3, 1))).all()


def test_the_spread_grows_with_time_under_ts_infinity_and_with_its_root_under_ts1():
    it, horizon, particles = line([-1.0, 1.0]), 16, 400
    always = where_particles_end(it, horizon, 20, particles=particles)
    assert torch.equal(always.std(0, correction=0), torch.full((20,), float(horizon)))
    anew = where_particles_end(it, horizon, 20, propagation="ts1", particles=particles)
    assert abs(float(anew.var()) / horizon - 1) < 0.05
    assert abs(float(anew.mean())) < 0.1
    # Every number of steps with the one member and the rest with the other, and nothing between.
    assert set(anew.flatten().tolist()) <= {2.0 * k - horizon for k in range(horizon + 1)}


def test_a_particle_of_ts1_comes_to_every_member_equally_often_and_every_member_has_its_share():
    model, generator = line([1.0, 10.0, 100.0, 1000.0]).dynamics, torch.Generator().manual_seed(0)
    members = draw(model, "ts1", 2000, 8, False, generator).members  # [H, P]
    assert torch.equal(members.sort(1).values, torch.arange(4).repeat_interleave(2).expand(2000, 8))
    counts = torch.stack([(members == e).float().mean(0) for e in range(4)])
    assert (counts - 0.25).abs().max() < 0.04


@pytest.mark.parametrize("particles", [3, 4, 10])
def test_the_return_of_a_particle_of_ts1_is_of_its_own_way_alone(particles):
    # A step is of one member, so it is one of the drifts; all of a particle's steps lead to where
    # it is; and what ended stays ended.
    it = line([1.0, 10.0, 100.0, 1000.0])
    steps = []

    def reward(state, action, next_state):
        steps.append(next_state - state)
        return (next_state - state)[..., 0]

    config = RolloutConfig(propagation="ts1", particles=particles)
    rollout = Rollout(it, Task(reward), config, value=lambda s: -s[..., 0])
    totals = rollout.particle_returns(torch.zeros(1), torch.zeros(20, 6, 1))
    assert set(torch.cat(steps).flatten().tolist()) == {1.0, 10.0, 100.0, 1000.0}
    assert torch.equal(totals, torch.zeros(particles, 20))

    task = Task(lambda s, a, n: n[..., 0] - s[..., 0], lambda n: n[..., 0] >= 1000.0)
    totals = Rollout(it, task, config).particle_returns(torch.zeros(1), torch.zeros(20, 6, 1))
    for total in totals.flatten().tolist():  # at most one step of 1000, and that the last
        assert total < 2000 and (total < 1000 or total % 1000 <= 500)


@pytest.mark.parametrize("particles", [2, 3, 10, 200])
def test_moment_matching_keeps_the_mean_and_the_variance_at_every_step(particles):
    noise = draw(line([1.0] * 4).dynamics, "moment_matching", 50, particles, False, GENERATOR)
    assert noise.redraw is not None
    torch.testing.assert_close(noise.redraw.mean(1), torch.zeros(50, 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(noise.redraw.std(1), torch.ones(50, 1))
    # So the mean of the particles goes as the mean of the members does.
    it = line([-1.0, 3.0])
    ends = where_particles_end(it, 16, propagation="moment_matching", particles=2 * particles)
    torch.testing.assert_close(ends.mean(), torch.tensor(16.0), atol=1e-3, rtol=0)


def test_under_moment_matching_the_members_variances_add_up():
    # Each step adds the members' variance of 1 to that of the particles, which no longer know
    # with which member they came.
    it, horizon = line([-1.0, 1.0]), 9
    ends = where_particles_end(it, horizon, propagation="moment_matching", particles=20000)
    assert abs(float(ends.var()) / horizon - 1) < 0.05
    assert len(set(ends[:, 0].tolist())) > 10000


@pytest.mark.parametrize("propagation", ["tsinf", "ts1", "moment_matching"])
def test_learned_noise_is_drawn_anew_at_each_step_if_it_is_asked_for(propagation):
    it, horizon = line([0.5, 0.5], noise=0.2), 10
    config = {"propagation": propagation, "particles": 4000}
    still = where_particles_end(it, horizon, **config)
    torch.testing.assert_close(still, torch.full((4000, 1), 5.0))
    noisy = where_particles_end(it, horizon, 20, aleatoric=True, **config)
    # It is the same for all sequences: what sets two of them apart is not luck.
    assert torch.equal(noisy, noisy[:, :1].expand(-1, 20))
    assert abs(float(noisy.mean()) - 5.0) < 0.03
    assert abs(float(noisy.var()) / (horizon * 0.2**2) - 1) < 0.1
    again = where_particles_end(it, horizon, 20, aleatoric=True, **config)
    assert torch.equal(noisy, again)
    other = where_particles_end(it, horizon, 20, seed=1, aleatoric=True, **config)
    assert not torch.equal(noisy, other)


def test_a_deterministic_ensemble_has_no_noise_to_draw():
    ends = where_particles_end(line([1.0, 3.0]), 4, aleatoric=True)
    assert ends.tolist() == [[4.0], [12.0]]


def test_with_a_history_of_two_the_rollout_sees_the_states_and_actions_before():
    # x' = x + x_before + 10 u_before, written into the weights.
    it = WorldModel(LINE, ModelConfig(members=1, hidden=(), probabilistic=False, history=2))
    net = it.requires_grad_(False).dynamics.net
    net.biases[0][:] = 0.0
    net.weights[0][0, :, 0] = torch.tensor([0.0, 0.0, 1.0, 10.0])
    rollout = Rollout(it, Task(reward=lambda s, a, n: n[..., 0]))
    start = rollout.model_state(torch.tensor([[1.0], [2.0]]), torch.tensor([[0.5]]))
    states, total = rollout.trajectory(start, torch.tensor([[1.0], [7.0], [0.0]]))
    assert states[:, 0].tolist() == [2.0, 2 + 1 + 5, 8 + 2 + 10, 20 + 8 + 70]
    assert total == 8 + 20 + 98
    returns = rollout.returns(start, torch.tensor([[[1.0], [7.0], [0.0]]]))
    assert returns.tolist() == [126.0]
    assert rollout.step(start, torch.tensor([1.0])).tolist() == [8.0, 2.0, 1.0]


def returns(drift, **config) -> float:
    """Of three steps with no action: the particles' returns are three times their drifts."""
    rollout = Rollout(line(drift), LAST["task"], RolloutConfig(**config), LAST["value"])
    return float(rollout.returns(torch.zeros(1), torch.zeros(1, 3, 1)))


DRIFTS = [5.0, -2.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("tail", "expected"),
    [(1.0, 3.0), (0.75, -1.0), (0.5, -3.0), (0.25, -6.0), (0.01, -6.0), (0.0, -6.0)],
)
def test_cvar_is_the_mean_of_the_worst_part(tail, expected):
    assert returns(DRIFTS, tail=tail, deviation=0.0) == expected


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=8),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_cvar_grows_from_the_worst_to_the_mean_as_the_tail_does(drift, one, two):
    low, high = sorted((one, two))
    worst, a, b, mean = (returns(drift, tail=t, deviation=0.0) for t in (0.0, low, high, 1.0))
    tolerance = 1e-4
    assert worst <= a + tolerance and a <= b + tolerance and b <= mean + tolerance
    assert abs(worst - 3 * min(drift)) < 1e-4
    assert abs(mean - 3 * sum(drift) / len(drift)) < 1e-4


def test_standard_deviations_of_the_particles_are_taken_off():
    plain, std = 3.0, float((3 * torch.tensor(DRIFTS)).std())
    assert abs(returns(DRIFTS, deviation=0.7) - (plain - 0.7 * std)) < 1e-5
    assert abs(returns(DRIFTS, deviation=0.7, tail=0.5) - (-3.0 - 0.7 * std)) < 1e-5


def test_a_single_particle_has_no_risk():
    assert returns([2.0], tail=0.1, deviation=5.0, disagreement=5.0) == 6.0


def test_the_penalty_on_disagreement_prefers_where_the_members_agree():
    it = line([0.0, 0.0, 0.0], gain=[-2.0, 1.0, 1.0])  # an action moves them apart
    actions = torch.tensor([0.0, 0.5, 1.0])[:, None, None].expand(-1, 2, -1)
    free = Rollout(it, LAST["task"], RolloutConfig(deviation=0.0))
    assert free.returns(torch.zeros(1), actions).tolist() == [0.0, 0.0, 0.0]
    config = RolloutConfig(deviation=0.0, disagreement=2.0)
    spread = math.sqrt(3.0)  # of -2, 1, 1; after two steps twice that
    expected = torch.tensor([0.0, 0.5, 1.0]) * -2.0 * (spread + 2 * spread)
    costly = Rollout(it, LAST["task"], config)
    torch.testing.assert_close(costly.returns(torch.zeros(1), actions), expected)
    # In units of what is a change in a period for this robot.
    it.dynamics.delta_std[:], it.dynamics.net.weights[0][:] = 10.0, it.dynamics.net.weights[0] / 10
    torch.testing.assert_close(
        Rollout(it, LAST["task"], config).returns(torch.zeros(1), actions), expected / 10
    )


@pytest.mark.parametrize("tail", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("deviation", [0.0, 0.3])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_particle_that_is_not_finite_is_hidden_by_no_risk_measure(tail, deviation, bad):
    # Only with an action of 1 does the last member come beyond 5, where the reward is broken.
    it = line([0.0, 0.0, 0.0, 0.0], gain=[1.0, 1.0, 1.0, 6.0])
    task = Task(reward=lambda s, a, n: torch.where(n[..., 0] > 5.0, bad, n[..., 0]))
    rollout = Rollout(it, task, RolloutConfig(tail=tail, deviation=deviation))
    actions = torch.tensor([[[0.0]], [[1.0]]])
    assert rollout.returns(torch.zeros(1), actions).tolist() == [0.0, -math.inf]
    assert rollout.returns(torch.zeros(1), actions[1:]).tolist() == [-math.inf]


def ending(**task):
    """One particle that comes to 1, 2, 3, 4; beyond 2.5 it ends."""
    task = Task(
        task.pop("reward", lambda s, a, n: n[..., 0]),
        lambda n: n[..., 0] > 2.5,
        task.pop("constraint", None),
    )
    return Rollout(line([1.0]), task, value=LAST["value"])


def worth(rollout: Rollout, steps: int) -> float:
    return float(rollout.returns(torch.zeros(1), torch.zeros(1, steps, 1)))


def test_rewards_count_up_to_the_end_and_the_value_only_if_there_was_none():
    assert worth(ending(), 2) == 1 + 2 + 2  # the value of x = 2
    assert worth(ending(), 3) == worth(ending(), 4) == worth(ending(), 9) == 1 + 2 + 3


def test_the_constraint_is_taken_off_up_to_the_end():
    rollout = ending(constraint=lambda n: 10 * n[..., 0])
    assert worth(rollout, 2) == -9 * (1 + 2) + 2
    assert worth(rollout, 9) == -9 * (1 + 2 + 3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_a_model_makes_of_an_episode_that_ended_is_of_no_account(bad):
    rollout = ending(reward=lambda s, a, n: torch.where(n[..., 0] > 3.5, bad, n[..., 0]))
    assert worth(rollout, 9) == 1 + 2 + 3


def test_a_broken_reward_at_the_end_itself_counts():
    rollout = ending(reward=lambda s, a, n: torch.where(n[..., 0] > 2.5, math.nan, n[..., 0]))
    assert worth(rollout, 9) == -math.inf


def test_a_reward_may_be_a_constant_or_a_part_of_the_state():
    assert worth(ending(reward=lambda s, a, n: torch.ones(()).expand(n.shape[:-1])), 9) == 3
    seen = []

    def reward(state, action, next_state):
        seen.append(next_state)
        return next_state[..., 0]

    worth(ending(reward=reward), 5)
    assert seen[0].flatten().tolist() == [1, 2, 3, 4, 5]


def test_the_elites_are_planned_with_in_the_order_of_their_quality():
    it = WorldModel(LINE, ModelConfig(members=5, hidden=(), probabilistic=False, elites=2))
    it.requires_grad_(False).dynamics.net.weights[0][:] = 0.0
    it.dynamics.net.biases[0][:, 0, 0] = torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0])
    it.dynamics.elites.copy_(torch.tensor([3, 1, 0, 2, 4]))
    rollout = Rollout(it, LAST["task"], value=LAST["value"])
    ends = rollout.particle_returns(torch.zeros(1), torch.zeros(1, 2, 1))
    assert ends.tolist() == [[2000.0], [20.0]]
    assert it.dynamics.members == 5  # the learner goes on with all of them


def test_a_reward_that_is_neither_given_nor_learned_is_refused():
    with pytest.raises(ValueError, match="the reward is neither given nor learned"):
        Rollout(line([0.0]), Task())


@pytest.mark.parametrize("propagation", ["tsinf", "ts1", "expectation", "moment_matching"])
def test_the_same_seed_gives_the_same_bits(propagation):
    config = RolloutConfig(propagation=propagation, particles=7, aleatoric=True)
    state, actions = torch.zeros(4), torch.rand(6, 5, 1)
    pairs = [Rollout(world(), TASK, config, seed=3).returns(state, actions) for _ in range(2)]
    assert torch.equal(*pairs)


def test_an_orientation_keeps_its_length_and_its_way_in_every_propagation():
    system = BoxSystem(
        "body", 0.1, ("x", "y", "z", "w"), ("u",), -1.0, 1.0, quaternions=((0, 1, 2, 3),)
    )
    it = WorldModel(system, ModelConfig(members=3, hidden=(), probabilistic=False))
    net = it.requires_grad_(False).dynamics.net
    net.weights[0][:] = 0.0
    net.biases[0][:, 0] = torch.tensor([0.0, 0.0, 0.1])
    task = Task(reward=lambda s, a, n: n.norm(dim=-1) - 1)
    state = torch.tensor([0.0, 0.0, 0.0, 1.0])
    for propagation in ("tsinf", "ts1", "expectation"):
        rollout = Rollout(it, task, RolloutConfig(propagation=propagation))
        assert rollout.particle_returns(state, torch.zeros(1, 20, 1)).abs().max() < 1e-4
    states, _ = rollout.trajectory(state, torch.zeros(20, 1))
    turned = torch.tensor([0.0, 0.0, math.sin(1.0), math.cos(1.0)])  # 20 steps of 0.1 rad
    torch.testing.assert_close(states[-1], turned, atol=1e-4, rtol=1e-4)


def test_the_return_of_a_sequence_does_not_depend_on_what_it_is_evaluated_with():
    rollout, state = Rollout(world(), TASK), torch.zeros(4)
    actions = torch.randn(12, 5, 1, generator=torch.Generator().manual_seed(0))
    together = rollout.returns(state, actions)
    alone = torch.cat([rollout.returns(state, a[None]) for a in actions])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    pairs = list(itertools.pairwise(together.tolist()))
    assert any(a != b for a, b in pairs)


def test_more_particles_than_memory_is_enough_for_are_refused():
    rollout = Rollout(world(), TASK, RolloutConfig(particles=100_000))
    with pytest.raises(PlanningError, match="100000 particles of 500 sequences of 30 actions"):
        rollout.returns(torch.zeros(4), torch.zeros(500, 30, 1))
