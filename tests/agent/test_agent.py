"""An agent on a robot whose commands take effect late."""

import numpy as np
import torch

from mbrl_node.agent import AgentConfig
from mbrl_node.agent.agent import Agent
from mbrl_node.data import transitions_of
from mbrl_node.learning.delay import delay_of
from mbrl_node.spec import load_spec
from mbrl_node.spec.task import Task
from sim.env import RobotEnv

CARTPOLE = load_spec("cartpole")
LATE = CARTPOLE.with_overrides(action={"delay": 2 * CARTPOLE.dt})


def drive(agent, steps):
    """The states that it met and the actions that it took."""
    env, met, taken = RobotEnv(LATE), [], []
    state, _ = env.reset(seed=0)
    for _ in range(steps):
        action = agent.act(state)
        reached, reward, *_ = env.step(action)
        agent.observe(state, action, reached, reward)
        met.append(state)
        taken.append(action)
        state = reached
    env.close()
    return np.array(met), np.array(taken)


def test_an_agent_learns_from_the_commands_that_were_in_effect(tmp_path, small):
    small["learner"]["min_transitions"] = 1000
    agent = Agent(LATE, Task.of(LATE), tmp_path, AgentConfig(**small))
    _, taken = drive(agent, 120)
    stored = list(transitions_of(agent.learner.store.records()))
    agent.close()
    assert np.array_equal([t.action_requested for t in stored], taken)
    assert np.array_equal([t.action for t in stored], [[0.0], [0.0], *taken[:-2]])
    found = delay_of(agent.learner.buffer, LATE)
    assert (found.lag, found.assumed) == (0, 2)


def test_an_agent_plans_from_the_state_in_which_its_action_will_take_effect(tmp_path, small):
    agent = Agent(LATE, Task.of(LATE), tmp_path, AgentConfig(**small))
    drive(agent, 30)
    rollout, plan, starts = agent._rollout, agent._planner.plan, []

    def recorded(rollout, start, *rest):
        starts.append(start)
        return plan(rollout, start, *rest)

    agent._planner.plan = recorded
    agent._learn = False  # the model stays the same
    agent.begin_episode()
    met, taken = drive(agent, 5)
    agent.close()
    for k in range(2, 5):
        expected = torch.tensor(met[k], dtype=torch.float32)
        for action in taken[k - 2 : k]:
            expected = rollout.step(expected, torch.tensor(action, dtype=torch.float32))
        assert torch.allclose(starts[k], expected)
