"""Actor and critic against known answers: a double integrator, whose best control is a matrix."""

import numpy as np
import pytest
import torch

from mbrl_node.data import Records, ReplayBuffer, Transition, records_of
from mbrl_node.learning import Learner, LearnerConfig, Trainer, TrainerConfig
from mbrl_node.learning.gate import Score, Verdict
from mbrl_node.learning.imagination import LAMBDA, PolicyTrainer, imagine
from mbrl_node.models import ModelConfig, WorldModel
from mbrl_node.models.policy import Policy, PolicyConfig
from mbrl_node.planning import (
    CEM,
    MPPI,
    ActionSpace,
    CEMConfig,
    MPPIConfig,
    Rollout,
    RolloutConfig,
)
from mbrl_node.spec.system import BoxSystem
from mbrl_node.spec.task import Task

DT = 0.1
A, B = np.array([[1.0, DT], [0.0, 1.0]]), np.array([[DT**2 / 2], [DT]])
Q, R = np.diag([1.0, 0.1]), np.array([[0.1]])
SYSTEM = BoxSystem("cart", DT, ("x", "v"), ("a",), np.array([-3.0]), np.array([3.0]))
STARTS = np.array([[1.0, 0.0], [-1.0, 0.5], [0.5, -1.0], [-0.3, -0.3]])


def reward(state, action, next_state):
    return -(state[..., 0] ** 2 + 0.1 * state[..., 1] ** 2 + 0.1 * action[..., 0] ** 2)


TASK = Task(reward, lambda state: torch.zeros(state.shape[:-1], dtype=torch.bool))


def exact_world(policy: PolicyConfig | None = None) -> WorldModel:
    """Two members without hidden layers, which predict the double integrator exactly."""
    world = WorldModel(SYSTEM, ModelConfig(members=2, hidden=(), probabilistic=False))
    world.dynamics.input_std[2] = 1.0
    with torch.no_grad():
        change = torch.tensor(np.concatenate(((A - np.eye(2)).T, B.T)), dtype=torch.float32)
        world.dynamics.net.weights[0].copy_(change)
        world.dynamics.net.biases[0].zero_()
    if policy is not None:
        torch.manual_seed(0)
        world.policy = Policy(SYSTEM, policy)
    return world


def transitions(count: int, seed: int = 0, broken: bool = False) -> Records:
    """Random states and actions, and what comes of them."""
    rng, period = np.random.default_rng(seed), round(DT * 1e9)
    result = []
    for k in range(count):
        state, action = rng.uniform(-1.5, 1.5, 2), rng.uniform(-3, 3, 1)
        after = A @ state + B @ action
        cost = state @ Q @ state + action @ R @ action
        row = (1, k, 1, k, k * period, (k + 1) * period, state, action, action, after, -cost)
        result.append(Transition(*row, False, False, "random", 0))
    return records_of(result, 2, 1)


def data(count: int = 300) -> ReplayBuffer:
    buffer = ReplayBuffer(2, 1)
    buffer.add(transitions(count))
    return buffer


def lqr(discount: float) -> tuple[np.ndarray, np.ndarray]:
    """Cost matrix and gain of the discounted linear-quadratic problem, by iteration."""
    cost = Q
    for _ in range(300):
        gain = np.linalg.solve(R + discount * B.T @ cost @ B, discount * B.T @ cost @ A)
        cost = Q + gain.T @ R @ gain + discount * (A - B @ gain).T @ cost @ (A - B @ gain)
    return cost, gain


def closed_loop_cost(control, steps: int, discount: float = 1.0) -> float:
    """Of a control of states [2, N], from all of the starts."""
    state, total = STARTS.T, 0.0
    for t in range(steps):
        action = control(state)
        cost = (state * (Q @ state)).sum(0) + (action * (R @ action)).sum(0)
        total, state = total + discount**t * cost.sum(), A @ state + B @ action
    return total


TRAINING = PolicyConfig(train=True, horizon=1.0, gradient_steps=250, noise=0.02)


@pytest.fixture(scope="module")
def world() -> WorldModel:
    """The exact model with a policy that was trained in it, at last in small steps."""
    world = exact_world(TRAINING)
    for rate in (5e-3, 1e-3):
        world.policy.config = TRAINING.model_copy(update={"learning_rate": rate})
        report = PolicyTrainer(world.policy).train(world, TASK, data())
        assert report.gradient_steps == 250 and report.skipped == 0 and report.value < 0
    return world.requires_grad_(False)


def policy_control(policy: Policy):
    return lambda state: policy.act(torch.tensor(state.T).float()).double().numpy().T


def test_the_actor_costs_little_more_than_the_best_linear_gain(world):
    discount = world.policy.discount
    _, gain = lqr(discount)
    best = closed_loop_cost(lambda state: -gain @ state, 150, discount)
    actor = closed_loop_cost(policy_control(world.policy), 150, discount)
    assert actor < 1.1 * best


def test_the_critic_knows_what_the_best_control_costs(world):
    cost, _ = lqr(world.policy.discount)
    expected = -(STARTS @ cost * STARTS).sum(1)
    values = world.policy.value(torch.tensor(STARTS).float()).numpy()
    assert np.abs(values - expected).mean() < 0.12 * np.abs(expected).mean()
    assert np.argsort(values).tolist() == np.argsort(expected).tolist()


@pytest.mark.parametrize(
    "planner",
    [
        CEM(CEMConfig(horizon=3 * DT, samples=40, action_hold=1), ActionSpace.of(SYSTEM), DT),
        MPPI(MPPIConfig(horizon=3 * DT, samples=60, iterations=3), ActionSpace.of(SYSTEM), DT),
    ],
    ids=["cem", "mppi"],
)
def test_the_value_at_its_end_makes_a_horizon_of_three_steps_enough(world, planner):
    _, gain = lqr(1.0)
    best = closed_loop_cost(lambda state: -gain @ state, 30)
    costs = {}
    for extended in (False, True):
        config = RolloutConfig(propagation="expectation", terminal_value=extended)
        rollout = Rollout(world, TASK, config)

        def control(state, rollout=rollout):
            plans = []
            for start in torch.tensor(state.T).float():
                planner.reset()
                plans.append(planner.plan(rollout, start)[0].double().numpy())
            return np.stack(plans, 1)

        costs[extended] = closed_loop_cost(control, 30) / best
    assert costs[True] < 1.2 and costs[False] > 2.0


def test_proposals_bring_an_optimum_far_from_the_prior_within_reach_of_few_samples():
    seven = BoxSystem("arm", DT, ("s",), tuple("abcdefg"), np.full(7, -1.0), np.full(7, 1.0))
    best = torch.tensor([0.9, -0.9, 0.9, -0.9, 0.9, -0.9, 0.9])
    world = WorldModel(seven, ModelConfig(members=2, hidden=(4,)), policy=PolicyConfig())
    with torch.no_grad():
        world.policy.actor[-1].bias.copy_(torch.atanh(best - 0.05))
    task = Task(lambda s, a, s2: -(a - best).square().sum(-1), lambda s: s[..., 0] > 1e9)
    planner = CEM(CEMConfig(horizon=1.0, samples=20, iterations=2), ActionSpace.of(seven), DT)
    losses = {}
    for count in (0, 5):
        rollout = Rollout(world.requires_grad_(False), task, RolloutConfig(proposals=count))
        planner.reset()
        proposals = rollout.proposals(torch.zeros(1), planner.horizon)
        plan = planner.plan(rollout, torch.zeros(1), None, proposals)
        losses[count] = float((plan - best).square().sum(-1).mean())
    assert losses[5] < 0.25 * losses[0]


def test_proposals_are_the_policys_course_and_noisy_versions_of_it(world):
    start = torch.tensor([1.0, 0.0])
    config = RolloutConfig(proposals=4)
    proposals = Rollout(world, TASK, config).proposals(start, 6)
    assert proposals.shape == (4, 6, 1)
    state, course = STARTS[0], []
    for _ in range(6):
        course.append(policy_control(world.policy)(state))
        state = A @ state + B @ course[-1]
    np.testing.assert_allclose(proposals[0].numpy(), np.stack(course), atol=1e-4)
    assert (proposals[1:] - proposals[0]).abs().amax(1).min() > 1e-3
    assert torch.equal(proposals, Rollout(world, TASK, config).proposals(start, 6))
    assert Rollout(world, TASK).proposals(start, 6) is None
    assert Rollout(exact_world(), TASK, config).proposals(start, 6) is None


def test_a_world_without_a_policy_is_planned_with_as_before():
    actions = torch.randn(6, 5, 1, generator=torch.Generator().manual_seed(0))
    plain = Rollout(exact_world(), TASK).returns(torch.ones(2), actions)
    asked = Rollout(exact_world(), TASK, RolloutConfig(terminal_value=True))
    assert torch.equal(asked.returns(torch.ones(2), actions), plain)


def test_the_value_is_added_once_and_not_after_the_end(world):
    def ended(state):
        return state[..., 0] > 1.0

    task, actions = Task(reward, ended), torch.tensor([[[0.0], [0.0]], [[3.0], [3.0]]])
    start, config = torch.tensor([0.98, 0.0]), RolloutConfig(deviation=0.0)
    plain = Rollout(world, task, config).returns(start, actions)
    extended = config.model_copy(update={"terminal_value": True})
    difference = Rollout(world, task, extended).returns(start, actions) - plain
    expected = torch.stack((world.policy.value(start), torch.zeros(())))
    torch.testing.assert_close(difference, expected, atol=1e-4, rtol=1e-4)


def test_imagined_returns_are_those_of_the_plain_recursion_and_stop_at_the_end():
    torch.manual_seed(0)
    world = exact_world(PolicyConfig(horizon=0.6, noise=0.0))
    policy = world.policy
    for network in (policy.actor, policy.critic):
        torch.nn.init.normal_(network[-1].weight)

    def ended(state):
        return state[..., 1] > 0.3

    start = torch.tensor(STARTS).float().view(2, 2, 2)
    task = Task(reward, ended, lambda state: 0.5 * state[..., 0].abs())
    with torch.no_grad():
        result = imagine(policy, world.dynamics, task, start, torch.Generator().manual_seed(0))
    assert 0 < float(result.lives[-1].sum()) < 4
    for member in range(2):
        for row in range(2):
            states, rewards, ends = [start[member, row]], [], []
            for _ in range(6):
                state = states[-1].detach().double().numpy()
                action = policy.act(states[-1])
                after = torch.tensor(A @ state + B @ action.detach().double().numpy()).float()
                gain = reward(states[-1], action, after) - 0.5 * after[0].abs()
                rewards.append(float(gain.detach()))
                states.append(after)
                ends.append(bool(ended(after)))
            values = policy.value(torch.stack(states)).tolist()
            later = values[-1]
            for t in reversed(range(6)):
                mixed = (1 - LAMBDA) * values[t + 1] + LAMBDA * later
                later = rewards[t] + policy.discount * (0.0 if ends[t] else mixed)
                assert float(result.returns[t, member, row]) == pytest.approx(later, abs=1e-4)
                assert float(result.lives[t, member, row]) == float(not any(ends[:t]))


def learned_world(seed: int = 0, history: int = 1) -> WorldModel:
    """All that can be learned is: dynamics, reward, end and policy."""
    torch.manual_seed(seed)
    config = ModelConfig(members=3, hidden=(16,), history=history)
    policy = PolicyConfig(train=True, hidden=(16,), gradient_steps=5, batch_size=16)
    return WorldModel(SYSTEM, config, True, True, policy)


def test_the_model_and_its_optimiser_stay_as_they_are_bit_for_bit():
    world, buffer = learned_world(), data(60)
    trainer = Trainer(world, TrainerConfig())
    trainer.train(buffer, 5)
    weights = {k: v.clone() for k, v in world.state_dict().items()}
    moments = [
        {k: v.clone() for k, v in state.items()} for state in trainer._optimizer.state.values()
    ]
    PolicyTrainer(world.policy).train(world, Task(), buffer)
    after = world.state_dict()
    changed = {k for k in weights if not torch.equal(weights[k], after[k])}
    assert {k.split(".")[0] for k in changed} == {"policy"}
    assert {"policy.actor.0.weight", "policy.critic.0.weight"} <= changed
    for before, state in zip(moments, trainer._optimizer.state.values(), strict=True):
        assert all(torch.equal(before[k], state[k]) for k in before)
    assert all(p.grad is None for p in world.policy.parameters())


def test_training_the_model_does_not_touch_the_policy():
    world, buffer = learned_world(), data(60)
    PolicyTrainer(world.policy).train(world, Task(), buffer)
    before = {k: v.clone() for k, v in world.policy.state_dict().items()}
    Trainer(world, TrainerConfig()).train(buffer, 5)
    assert all(torch.equal(before[k], v) for k, v in world.policy.state_dict().items())


def test_a_model_with_history_has_a_policy_of_the_present_state():
    world = learned_world(history=3)
    report = PolicyTrainer(world.policy).train(world, Task(), data(60))
    assert report.gradient_steps == 5 and report.skipped == 0
    assert world.policy.act(torch.zeros(2)).shape == (1,)


def test_steps_that_are_not_finite_are_not_taken_and_reported():
    world = exact_world(TRAINING.model_copy(update={"gradient_steps": 6}))
    before = {k: v.clone() for k, v in world.policy.state_dict().items() if "normal" not in k}

    def broken(state, action, next_state):
        return reward(state, action, next_state).log()  # of what is never above 0

    report = PolicyTrainer(world.policy).train(world, Task(broken, TASK.termination), data(30))
    assert report.gradient_steps == report.skipped == 6 and np.isnan(report.value)
    after = world.policy.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_it_stops_when_told_to():
    world, asked = exact_world(TRAINING), []

    def cancelled():
        asked.append(True)
        return len(asked) > 3

    report = PolicyTrainer(world.policy).train(world, TASK, data(30), cancelled)
    assert report.gradient_steps == 3


def test_a_reward_that_is_neither_given_nor_learned_is_an_error():
    world = exact_world(TRAINING)
    with pytest.raises(ValueError, match="reward is neither given nor learned"):
        PolicyTrainer(world.policy).train(world, Task(), data(30))


SMALL = PolicyConfig(train=True, hidden=(8,), gradient_steps=3, batch_size=8)


def learner(path, policy: PolicyConfig | None = SMALL, **config) -> Learner:
    config = LearnerConfig(min_transitions=10, gradient_steps=5, **config)
    model = ModelConfig(members=2, hidden=(8,))
    return Learner(SYSTEM, TASK, path, config, None, model, policy=policy)


def actor_weights(it: Learner) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in it.model.policy.actor.parameters()]).clone()


def test_an_update_of_the_learner_goes_on_with_the_policy(tmp_path):
    it = learner(tmp_path)
    before = actor_weights(it)
    it.add(transitions(20))
    assert it.update() is not None
    assert 0 < (actor_weights(it) - before).abs().max() < 0.1


def test_an_update_that_is_refused_or_cancelled_leaves_the_policy(tmp_path, monkeypatch):
    it = learner(tmp_path)
    it.add(transitions(20))
    it.update()
    before = actor_weights(it)
    it.add(transitions(40)[20:])
    assert it.update(cancelled=lambda: True) is None
    bad = Verdict(Score(9.9, 9.9), Score(0.1, 0.1), 20, True, "worse")
    monkeypatch.setattr(it._gate, "compare", lambda *given: bad)
    assert it.update() is None and it.progress.refused == 1
    assert torch.equal(actor_weights(it), before)


def test_a_resumed_run_goes_on_with_its_policy_and_the_new_parameters(tmp_path):
    it = learner(tmp_path)
    it.add(transitions(30))
    it.update()
    again = learner(tmp_path, SMALL.model_copy(update={"hidden": (5,), "discount_time": 7.0}))
    assert torch.equal(actor_weights(again), actor_weights(it))
    assert again.model.policy.config.hidden == (8,)
    assert again.model.policy.config.discount_time == 7.0
    kept = learner(tmp_path, None)
    kept.add(transitions(60))
    kept.update()
    assert torch.equal(actor_weights(kept), actor_weights(it))


def test_without_being_asked_for_there_is_no_policy(tmp_path):
    assert learner(tmp_path / "a", None).model.policy is None
    assert learner(tmp_path / "b", PolicyConfig()).model.policy is None


def test_a_policy_can_be_added_to_a_run_that_had_none(tmp_path):
    it = learner(tmp_path, None)
    it.add(transitions(30))
    it.update()
    again = learner(tmp_path)
    again.add(transitions(60))
    again.update()
    assert learner(tmp_path, None).model.policy is not None


def test_the_same_seed_gives_the_same_bits_and_the_policy_changes_none_of_the_model(tmp_path):
    states = []
    for name, policy in (("a", SMALL), ("b", SMALL), ("c", None)):
        it = learner(tmp_path / name, policy)
        for k in range(2):
            it.add(transitions(20 * (k + 1))[20 * k :])
            it.update()
        states.append(it.model.state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert all(torch.equal(states[0][k], v) for k, v in states[2].items())
