"""Targets: told, or of the robot's own; and whether they were reached."""

import math

import numpy as np
import pytest
import torch

from mbrl_node.spec import SpecError, load_spec
from mbrl_node.spec.goals import Goals
from mbrl_node.spec.robot import TASK_KEYS
from mbrl_node.spec.task import Task
from mbrl_node.spec.terms import Targets, goal_function

SPEC = load_spec("husky")
SECOND = 10**9


def at(x, y):
    return np.array([x, y, 0.0, 0.0, 0.0])


def reach(goals, now, seconds=1.0):
    """The robot stands at its target for a while; what was said, and when it is then."""
    said = []
    for _ in range(round(seconds * 10)):
        goals.aim(now)
        said += goals.watch(at(*goals.targets), now, 0)
        now += SECOND // 10
    return said, now


def test_a_robot_practises_with_targets_of_its_own_until_it_is_told_one():
    goals = Goals(SPEC, seed=1)
    first = goals.targets.copy()
    assert (np.abs(first) <= 4.0).all() and first.any()
    said, now = reach(goals, SECOND, 0.5)
    assert [line.partition(" after")[0] for line in said] == ["reached"]
    assert (goals.targets != first).all()
    goals.tell([1.0, -2.0])
    assert goals.aim(now) == "new target: goal_x 1 m, goal_y -2 m"
    said, now = reach(goals, now, 3.0)
    assert len(said) == 1 and goals.targets.tolist() == [1.0, -2.0]  # said once, and kept


def test_a_row_of_targets_solves_the_task_when_the_last_is_reached():
    goals = Goals(SPEC, seed=1)
    now, said = SECOND, []
    while not any("SOLVED" in line for line in said):
        said, now = reach(goals, now, 0.1)
        assert now < 20 * SECOND
    assert goals.in_a_row == 3
    assert said[-1].startswith("SOLVED: 3 targets were reached in a row, the last ")
    assert 0 < goals.solved_at * SECOND <= now


def test_a_target_that_is_not_reached_in_time_is_given_up_and_breaks_the_row():
    goals = Goals(SPEC, seed=1)
    _, now = reach(goals, SECOND, 0.4)
    assert goals.in_a_row == 1
    before, far = goals.targets.copy(), at(9.0, 9.0)
    said = []
    for _ in range(26):
        now += SECOND
        goals.aim(now)
        said += goals.watch(far, now, 0)
    assert len(said) == 1 and said[0].startswith("not reached in 25 s: ")
    assert goals.in_a_row == 0 and (goals.targets != before).all()


def test_what_is_out_of_range_is_refused_and_changes_nothing():
    goals = Goals(SPEC, seed=1)
    before = goals.targets.copy()
    with pytest.raises(ValueError, match=r"goal_y = 7 m is not between -4 and 4"):
        goals.tell([1.0, 7.0])
    with pytest.raises(ValueError, match="goal_x = nan m"):
        goals.tell([math.nan, 0.0])
    assert goals.aim(SECOND) == "" and (goals.targets == before).all()


def test_one_topic_of_several_sets_only_its_own_targets():
    goals = Goals(SPEC, seed=1)
    y = float(goals.targets[1])
    goals.tell([2.0], first=0)
    goals.aim(SECOND)
    assert goals.targets.tolist() == [2.0, y]


def test_rewards_and_goals_are_of_the_targets_of_now():
    targets = Targets(SPEC)
    task = Task.of(SPEC, targets)
    assert task.aims
    state, action = torch.tensor([3.0, 4.0, 0.0, 0.0, 0.0]), torch.zeros(2)
    assert float(task.reward(state, action, state)) == pytest.approx(-5.0)
    targets.set(np.array([3.0, 0.0]))
    assert float(task.reward(state, action, state)) == pytest.approx(-4.0)
    holds = goal_function(SPEC)
    assert holds(state.numpy(), np.array([3.0, 3.9])) and not holds(state.numpy(), np.zeros(2))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"targets": []}, r"reward\[0\]\.target: 'goal_x' is not a field of the targets"),
        (
            {"reward": [{"term": "cos", "of": ["x", "y"], "weight": 1.0}]},
            r"reward\[0\]\.of: 'cos' is of one field, only 'distance' of several",
        ),
        (
            {"reward": [{"term": "distance", "of": ["x", "speed_command"], "weight": 1.0}]},
            "fields of the state and of the action cannot be in one term",
        ),
        (
            {
                "reward": [
                    {"term": "distance", "of": ["x", "y"], "target": [0.0, 0.0, 1.0], "weight": 1.0}
                ]
            },
            r"reward\[0\]\.target: 3 targets of 2 fields",
        ),
        ({"settings": {"mppi": 3}}, r"settings\.mppi: 3 is not a mapping of parameters"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_its_place(change, problem):
    with pytest.raises(SpecError, match=problem):
        SPEC.with_overrides(**change)


def test_a_task_that_is_not_there_is_named_with_those_that_are():
    assert load_spec("cartpole", task="move_to").task == "move_to"
    with pytest.raises(SpecError, match=r"moveto: no such task; did you mean 'move_to'\?"):
        load_spec("cartpole", task="moveto")


def test_a_mistake_in_a_tasks_file_is_told_of_that_file(tmp_path):
    file = tmp_path / "circle.yaml"
    file.write_text("reward:\n  - {term: cos, of: thetta, weight: 1.0}\nrate: 3.0\n")
    with pytest.raises(SpecError) as error:
        load_spec("cartpole", task=str(file))
    assert error.value.problems == [
        f"{file}: rate: is no key of a task ({', '.join(TASK_KEYS)})",
        *error.value.problems[1:],
    ]
    assert any(p.startswith(f"{file}: reward[0].of: 'thetta'") for p in error.value.problems)
