"""Planners on problems whose answer is known."""

import pytest
import torch

from mbrl_node.planning import (
    MPPI,
    ActionSpace,
    MPPIConfig,
    Planner,
    PlanningError,
    RandomShooting,
    RandomShootingConfig,
)

H = 5


class Objective:
    """Stands where a rollout would: the return is a known function of the actions."""

    def __init__(self, function):
        self.function = function
        self.seen = []

    def returns(self, state, actions):
        self.seen.append(actions)
        result = self.function(actions)
        return torch.where(torch.isfinite(result), result, -torch.inf)


def box(m: int = 1) -> ActionSpace:
    return ActionSpace(-torch.arange(1.0, m + 1), 2 * torch.arange(1.0, m + 1))


def planners(m: int = 1, seed: int = 0) -> list[Planner]:
    mppi = MPPIConfig(
        horizon=H * 0.1, samples=200, iterations=8, noise=0.4, correlation=0.5, temperature=0.3
    )
    shooting = RandomShootingConfig(horizon=H * 0.1, samples=4000, action_hold=H)
    return [MPPI(mppi, box(m), 0.1, seed), RandomShooting(shooting, box(m), 0.1, seed)]


def constant_target(target: torch.Tensor) -> Objective:
    return Objective(lambda a: -(a - target).square().sum((1, 2)))


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_the_optimum_of_a_quadratic_is_found(index, m):
    target = torch.linspace(-0.5, 1.0, m)
    plan = planners(m)[index].plan(constant_target(target), torch.zeros(4))
    assert plan.shape == (H, m)
    assert (plan - target).abs().mean() < 0.25


@pytest.mark.parametrize("index", [0, 1])
def test_every_sample_and_the_plan_are_within_each_dimensions_bounds(index):
    objective = constant_target(torch.tensor([100.0, -100.0]))
    plan = planners(2)[index].plan(objective, torch.zeros(4))
    for actions in (*objective.seen, plan):
        assert (actions >= box(2).low).all() and (actions <= box(2).high).all()
    assert plan[0, 0] > 1.5 and plan[0, 1] < -1.5


@pytest.mark.parametrize("index", [0, 1])
def test_a_return_that_is_not_a_number_never_wins(index):
    def nan_above_zero(a):
        value = a.mean((1, 2))
        return torch.where(value > 0.2, torch.nan, value)

    planner = planners()[index]
    for _ in range(3):
        plan = planner.plan(Objective(nan_above_zero), torch.zeros(4))
        assert torch.isfinite(plan).all() and plan.mean() < 0.35


def test_equal_returns_do_not_push_mppi_to_a_bound():
    plan = planners()[0].plan(Objective(lambda a: torch.zeros(len(a))), torch.zeros(4))
    assert (plan - box().centre).abs().max() < 0.35 * box().half_range


@pytest.mark.parametrize("index", [0, 1])
def test_the_same_seed_gives_the_same_bits_and_reset_forgets_everything(index):
    objective = constant_target(torch.tensor([0.3]))
    a, b = planners(seed=3)[index], planners(seed=3)[index]
    first = [a.plan(objective, torch.zeros(4)) for _ in range(3)]
    assert all(torch.equal(x, b.plan(objective, torch.zeros(4))) for x in first)
    a.reset()
    assert torch.equal(first[0], a.plan(objective, torch.zeros(4)))
    other = planners(seed=4)[index].plan(objective, torch.zeros(4))
    assert not torch.equal(first[0], other)


def test_time_shifts_the_warm_start():
    planner = planners()[0]
    ramp = torch.linspace(-0.8, 1.8, H)[:, None]
    before = planner.plan(constant_target(ramp), torch.zeros(4))
    planner.shift(2)
    objective = constant_target(ramp)
    planner.plan(objective, torch.zeros(4))
    mean = objective.seen[0][0]  # the first sample is the mean
    torch.testing.assert_close(mean[:3], before[2:])
    planner.shift(100)  # more than the horizon: nothing is left
    planner.plan(objective, torch.zeros(4))
    torch.testing.assert_close(objective.seen[8][0], box().centre.expand(H, 1))


@pytest.mark.parametrize(
    "change",
    [
        {"noise": 0.1},
        {"correlation": 0.9},
        {"temperature": 5.0},
        {"samples": 20},
        {"iterations": 2},
        {"horizon": 0.3},
    ],
)
def test_every_parameter_of_mppi_has_an_effect(change):
    base = dict(horizon=0.5, samples=200, iterations=1, noise=0.4, correlation=0.5, temperature=0.5)
    objective = constant_target(torch.tensor([0.7]))
    plans = [
        MPPI(MPPIConfig(**config), box(), 0.1).plan(objective, torch.zeros(4))
        for config in (base, base | change)
    ]
    assert plans[0].shape != plans[1].shape or not torch.allclose(*plans)


def test_the_noise_of_mppi_has_the_spread_and_correlation_asked_for():
    objective = Objective(lambda a: torch.zeros(len(a)))
    wide = ActionSpace(torch.tensor([-1000.0]), torch.tensor([1000.0]))
    config = MPPIConfig(horizon=2.0, samples=20_000, noise=0.1, correlation=0.8)
    MPPI(config, wide, 0.1).plan(objective, torch.zeros(4))
    noise = objective.seen[0][1:, :, 0]
    torch.testing.assert_close(noise.std(0), torch.full((20,), 100.0), rtol=0.05, atol=0)
    lagged = (noise[:, 1:] * noise[:, :-1]).mean(0) / 100.0**2
    torch.testing.assert_close(lagged, torch.full((19,), 0.8), rtol=0.05, atol=0)


def test_no_finite_return_at_all_is_an_error(monkeypatch):
    from mbrl_node.models import DynamicsModel, ModelConfig
    from mbrl_node.planning import Rollout
    from mbrl_node.spec import load_spec

    spec = load_spec("cartpole")
    model = DynamicsModel(spec, ModelConfig(members=2, hidden=(4,)))
    rollout = Rollout(model, lambda s, a: s[..., 0] * torch.nan)
    with pytest.raises(PlanningError, match="no finite return"):
        rollout.returns(torch.zeros(4), torch.zeros(3, 5, 1))
