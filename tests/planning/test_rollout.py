"""The rollout against a plain loop over members, samples and steps."""

import torch

from mbrl_node.models import DynamicsModel, ModelConfig, WorldModel
from mbrl_node.planning import Rollout, RolloutConfig
from mbrl_node.spec import load_spec
from mbrl_node.spec.task import Task

SPEC = load_spec("cartpole")
TASK = Task.of(SPEC)


def world() -> WorldModel:
    torch.manual_seed(0)
    it = WorldModel(SPEC, ModelConfig(members=3, hidden=(16,)))
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
                total += float(TASK.reward(before, action, now))
                if TASK.termination(now):
                    ended += 1
                    break
            totals.append(total)
        values = torch.tensor(totals)
        result.append(values.mean() - risk * values.std())
    return torch.stack(result), ended


def test_returns_are_those_of_the_plain_loop_with_termination_and_risk():
    net, state = world(), torch.tensor([4.0, 3.0, 0.0, 0.0])
    actions = 5 * torch.randn(8, 6, 1, generator=torch.Generator().manual_seed(1))
    expected, ended = reference(net.dynamics, state, actions, risk=0.7)
    assert 0 < ended < 24
    returns = Rollout(net, TASK, RolloutConfig(deviation=0.7)).returns(state, actions)
    torch.testing.assert_close(returns, expected, rtol=1e-4, atol=1e-4)


def test_a_sequence_that_runs_into_infinity_is_never_chosen_and_spoils_no_other():
    net, state = world(), torch.zeros(4)
    actions = torch.zeros(3, 6, 1)
    actions[1, 2] = torch.nan
    returns = Rollout(net, TASK).returns(state, actions)
    assert returns[1] == -torch.inf and torch.isfinite(returns[[0, 2]]).all()


def test_the_trajectory_has_the_return_that_one_sequence_has():
    net, state = world(), torch.tensor([0.0, 3.0, 0.0, 0.0])
    actions, rollout = torch.ones(4, 1), Rollout(net, TASK, RolloutConfig(deviation=0.0))
    states, total = rollout.trajectory(state, actions)
    assert states.shape == (5, 4) and torch.equal(states[0], state)
    assert abs(total - float(rollout.returns(state, actions[None]))) < 1e-3
