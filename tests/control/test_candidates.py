"""Where the best samples of a plan would have led."""

import numpy as np
import torch

from mbrl_node.control.candidates import take_candidates
from mbrl_node.models import ModelConfig, WorldModel
from mbrl_node.planning import CEM, ActionSpace, CEMConfig, GraphedPlanner, Rollout
from mbrl_node.spec import load_spec
from mbrl_node.spec.task import Task

SPEC = load_spec("cartpole")
START = torch.tensor([0.0, 3.0, 0.0, 0.0])


def planner_and_rollout():
    torch.manual_seed(0)
    world = WorldModel(SPEC, ModelConfig(members=2, hidden=(8,))).requires_grad_(False)
    planner = CEM(CEMConfig(horizon=0.4, samples=20), ActionSpace.of(SPEC), SPEC.dt)
    return planner, Rollout(world, Task.of(SPEC))


def test_candidates_are_states_from_the_start_on_with_the_best_first():
    planner, rollout = planner_and_rollout()
    planner.keep = 5
    planner.plan(rollout, START)
    candidates = take_candidates(planner, rollout, START)
    assert candidates is not None
    assert candidates.states.shape == (5, 11, 4) and candidates.states.dtype == np.float64
    assert (candidates.states[:, 0] == START.numpy()).all()
    assert candidates.returns.shape == (5,) and (np.diff(candidates.returns) <= 0).all()


def test_each_plan_gives_its_candidates_once():
    planner, rollout = planner_and_rollout()
    planner.keep = 5
    planner.plan(rollout, START)
    assert take_candidates(planner, rollout, START) is not None
    assert take_candidates(planner, rollout, START) is None


def test_there_are_none_of_a_planner_that_keeps_none():
    planner, rollout = planner_and_rollout()
    planner.plan(rollout, START)
    assert take_candidates(planner, rollout, START) is None
    repeated = GraphedPlanner(planner)
    repeated.keep = 5
    assert take_candidates(repeated, rollout, START) is None
