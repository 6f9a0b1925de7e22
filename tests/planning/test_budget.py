"""A time budget: what a plan looks at follows the time that there is. The clock is a fake."""

import pytest
import torch

from mbrl_node.planning import PLANNERS, ActionSpace, Effort, budget

SPACE = ActionSpace(torch.tensor([-1.0]), torch.tensor([1.0]))
BUDGET = 10.0  # ms


class Machine:
    """Its clock goes on only while sequences are evaluated: `each` s for one."""

    def __init__(self, each: float) -> None:
        self.each, self.now, self.plans = each, 0.0, []

    def perf_counter(self) -> float:
        return self.now

    def returns(self, state, actions):
        self.now += self.each * len(actions)
        return -(actions - 0.3).square().sum((1, 2))


@pytest.fixture
def machine(monkeypatch):
    it = Machine(1e-5)
    monkeypatch.setattr(budget, "time", it)
    return it


def plans(name, machine, count, **config):
    planner = PLANNERS[name](PLANNERS[name].Config(budget=BUDGET, **config), SPACE, 0.1)
    made = []
    for _ in range(count):
        begin = machine.now
        planner.plan(machine, torch.zeros(1))
        made.append((1e3 * (machine.now - begin), planner.used))
    return made


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("each", [1e-6, 1e-5, 1e-4])
def test_the_time_is_used_and_kept_whatever_the_machine(machine, name, each):
    machine.each = each
    made = plans(name, machine, 20)
    assert all(time <= BUDGET for time, _ in made)
    # iCEM's later iterations have fewer samples than were asked for.
    assert all(time >= (0.5 if name == "icem" else 0.8) * BUDGET for time, _ in made[3:])


def test_samples_and_iterations_grow_together(machine):
    configured = Effort(40, 3)
    small, large = (
        plans("cem", machine, 6, samples=40, iterations=3)[-1][1]
        for machine.each in (0.9e-2 / 120, 0.9e-2 / 120 / 8)
    )
    assert small == configured
    assert (large.iterations, round(large.samples / 40)) == (6, 4)


def test_where_there_is_time_for_little_there_is_one_iteration_of_few(machine):
    machine.each = 2e-3
    assert plans("cem", machine, 4)[-1][1] == Effort(budget.FEWEST, 1)


def test_load_that_comes_is_answered_at_once_and_load_that_goes_slowly(machine):
    planner = PLANNERS["mppi"](PLANNERS["mppi"].Config(budget=BUDGET), SPACE, 0.1)
    sequences = []
    for each in (*[1e-5] * 10, *[4e-5] * 6, *[1e-5] * 20):
        machine.each = each
        planner.plan(machine, torch.zeros(1))
        sequences.append(planner.used.sequences)
    before, loaded, just_after, later = (sequences[k] for k in (9, 14, 17, 35))
    assert loaded < 0.35 * before
    assert just_after < 0.6 * before  # one quick plan is no proof that the load has gone
    assert later > 0.8 * before


def test_an_iteration_that_there_is_no_time_for_is_left_out(machine):
    planner = PLANNERS["cem"](PLANNERS["cem"].Config(budget=BUDGET, iterations=4), SPACE, 0.1)
    for _ in range(5):
        planner.plan(machine, torch.zeros(1))
    assert planner.used.iterations >= 4
    machine.each *= 20  # in the middle of things
    begin = machine.now
    planner.plan(machine, torch.zeros(1))
    assert planner.used.iterations == 1
    first = machine.each * planner.used.samples
    assert machine.now - begin == pytest.approx(first)


def test_without_a_budget_it_is_as_configured(machine):
    planner = PLANNERS["cem"](PLANNERS["cem"].Config(samples=33, iterations=2), SPACE, 0.1)
    planner.plan(machine, torch.zeros(1))
    assert planner.used == Effort(33, 2)
