"""Each planner does what its parameters say, on objectives that stand where a rollout would."""

import math

import pytest
import torch
from pydantic import ValidationError

from mbrl_node.planning import (
    ICEM,
    MPPI,
    PLANNERS,
    ActionSpace,
    CEMConfig,
    GraphedPlanner,
    ICEMConfig,
    MPPIConfig,
    Planner,
    PlanningError,
    RandomShooting,
    RandomShootingConfig,
)
from mbrl_node.planning.cem import truncated_normal
from mbrl_node.spec import load_spec

H, DT = 5, 0.1
STATE = torch.zeros(4)
every_planner = pytest.mark.parametrize("name", PLANNERS)
those_with_a_mean = pytest.mark.parametrize("name", ["cem", "icem", "mppi"])

# Enough for each to settle on an optimum of H actions in one plan.
SETTINGS = {
    "random_shooting": dict(samples=4000, action_hold=H),
    "cem": dict(samples=200, iterations=8, action_hold=1),
    "icem": dict(samples=200, iterations=8, colour=1.0),
    "mppi": dict(samples=200, iterations=8, noise=0.4, correlation=0.5),
}


class Objective:
    """Stands where a rollout would: the return is a known function of the actions."""

    def __init__(self, function):
        self.function = function
        self.seen = []

    def returns(self, state, actions):
        self.seen.append(actions)
        return self.function(actions)


def target(value) -> Objective:
    return Objective(lambda a: -(a - torch.as_tensor(value)).square().sum((1, 2)))


def box(m: int = 1, max_step: float = math.inf) -> ActionSpace:
    return ActionSpace(
        -torch.arange(1.0, m + 1), 2 * torch.arange(1.0, m + 1), torch.full((m,), max_step)
    )


def make(name: str, space: ActionSpace | None = None, seed: int = 0, **changes):
    kind = PLANNERS[name]
    config = kind.Config(**{"horizon": H * DT} | SETTINGS[name] | changes)
    return kind(config, space or box(), DT, seed)


def known(name: str, **changes):
    """Those of the changes that are parameters of this planner."""
    return {k: v for k, v in changes.items() if k in PLANNERS[name].Config.model_fields}


# The action space


def test_the_space_of_a_robot_has_its_limits_and_its_largest_step_in_a_period():
    spec = load_spec("cartpole")
    space = ActionSpace.of(spec)
    assert space.low.tolist() == spec.action_min.tolist()
    torch.testing.assert_close(
        space.max_step, torch.as_tensor(spec.action_max_rate * spec.dt).float()
    )
    assert not box(2).rate_limited and box(2, 0.1).rate_limited
    assert not ActionSpace(torch.zeros(2), torch.ones(2)).rate_limited


def test_projection_moves_a_sequence_no_further_than_the_limits_ask():
    space = box(2, max_step=0.5)
    allowed = torch.tensor([[0.2, 0.0], [0.6, -0.5], [0.2, -1.0]])
    assert torch.equal(space.project(allowed, torch.zeros(2)), allowed)
    jump = torch.tensor([[2.0, 0.1], [2.0, 0.1], [-9.0, 0.1]])
    moved = torch.tensor([[0.5, 0.1], [1.0, 0.1], [0.5, 0.1]])
    assert torch.equal(space.project(jump, torch.zeros(2)), moved)
    assert space.project(jump)[0, 0] == 2.0  # nothing is known of the action before
    assert jump[2, 0] == -9.0  # and the argument is as it was


def test_a_last_action_outside_the_box_does_not_take_the_plan_there():
    plan = box(1, max_step=0.5).project(torch.zeros(3, 1), torch.tensor([9.0]))
    assert plan[:, 0].tolist() == [2.0, 1.5, 1.0]


# All planners


@every_planner
@pytest.mark.parametrize("m", [1, 2, 3])
def test_an_action_of_more_than_one_dimension_has_its_own_bounds_and_noise_in_each(name, m):
    value = box(m).low + torch.linspace(0.2, 0.8, m) * (box(m).high - box(m).low)
    plan = make(name, box(m)).plan(target(value), STATE)
    assert plan.shape == (H, m)
    assert ((plan - value).abs() / box(m).half_range).mean() < 0.2


@every_planner
def test_the_best_sequences_of_the_last_iteration_are_kept_when_asked_for(name):
    planner, objective = make(name, samples=30), target(0.5)
    planner.plan(objective, STATE)
    assert planner.kept is None
    planner.keep = 4
    planner.plan(objective, STATE)
    assert planner.kept is not None
    actions, returns = planner.kept
    everything = objective.function(objective.seen[-1])
    assert actions.shape == (4, H, 1) and torch.equal(returns, everything.topk(4).values)
    assert torch.equal(objective.function(actions), returns)


@every_planner
def test_keeping_the_best_changes_no_plan_and_keeps_none_that_is_lost(name):
    def mostly_lost(a):
        value = -(a - 0.5).square().sum((1, 2))
        value[2:] = math.nan
        return value

    plain, keeper = make(name, samples=30), make(name, samples=30)
    keeper.keep = 4
    for objective in (target(0.5), Objective(mostly_lost), target(0.5)):
        assert torch.equal(plain.plan(objective, STATE), keeper.plan(objective, STATE))
        assert keeper.kept is not None and torch.isfinite(keeper.kept[1]).all()
        assert len(keeper.kept[0]) == len(keeper.kept[1])


@every_planner
def test_a_nan_return_never_wins_nor_poisons_the_next_plan(name):
    def trap(bad):
        def function(a):
            value = a.mean((1, 2))
            return torch.where(value > 0.2, bad, value)

        return Objective(function)

    for bad in (math.nan, math.inf, -math.inf):
        planner = make(name)
        for _ in range(3):
            plan = planner.plan(trap(bad), STATE)
            assert torch.isfinite(plan).all() and plan.mean() < 0.35
        plan = planner.plan(target(1.0), STATE)
        assert (plan - 1.0).abs().mean() < 0.25


@every_planner
def test_no_finite_return_at_all_is_an_error_and_the_planner_plans_on_afterwards(name):
    planner = make(name)
    before = planner.plan(target(0.5), STATE)
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(PlanningError, match="no finite return"):
            planner.plan(Objective(lambda a, bad=bad: torch.full((len(a),), bad)), STATE)
    start = target(0.5)
    assert torch.isfinite(planner.plan(start, STATE)).all()
    if name == "mppi":  # whose first sample is the mean
        assert torch.equal(start.seen[0][0], before)


@every_planner
def test_a_few_finite_returns_are_enough_and_only_they_make_the_plan(name):
    def only_three(a):
        returns = torch.full((len(a),), math.nan)
        returns[4:7] = torch.tensor([1.0, 1.0, 1.0])
        return returns

    objective = Objective(only_three)
    plan = make(name, **known(name, iterations=1, momentum=0.0)).plan(objective, STATE)
    allowed = objective.seen[0][4:7]
    assert (plan >= allowed.amin(0) - 1e-6).all() and (plan <= allowed.amax(0) + 1e-6).all()


@every_planner
def test_equal_costs_do_not_bias_to_a_bound(name):
    flat = Objective(lambda a: torch.zeros(len(a)))
    plans = []
    for seed in range(20):
        planner = make(name, seed=seed)
        for _ in range(3):
            plan = planner.plan(flat, STATE)
            planner.shift(1)
        plans.append(plan)
    centre, half = box().centre, box().half_range
    assert (torch.stack(plans).mean() - centre).abs() < 0.35 * half
    if name != "random_shooting":
        assert (torch.stack(plans) - centre).abs().max() < 0.8 * half


@every_planner
def test_the_same_seed_gives_the_same_bits(name):
    a, b, other = make(name, seed=3), make(name, seed=3), make(name, seed=4)
    objective = target(0.3)
    first = [a.plan(objective, STATE) for _ in range(3)]
    assert all(torch.equal(x, b.plan(objective, STATE)) for x in first)
    assert not torch.equal(first[0], other.plan(objective, STATE))


@pytest.mark.parametrize(
    "name, changes", [*((name, {}) for name in PLANNERS), ("mppi", {"lifted": True})]
)
def test_reset_clears_everything_the_elites_too(name, changes):
    planner = make(name, **changes)
    plans = []
    for _ in range(2):
        seen = []
        for _ in range(3):
            objective = target(0.7)
            seen += [planner.plan(objective, STATE), *objective.seen]
            planner.shift(1)
        plans.append(seen)
        planner.reset()
    assert all(torch.equal(x, y) for x, y in zip(*plans, strict=True))


@every_planner
def test_every_parameter_has_an_effect(name):
    base = BASE[name]
    changes = CHANGES[name]
    assert {key for change in changes for key in change} == set(PLANNERS[name].Config.model_fields)
    before = effects(name, base)
    for change in changes:
        after = effects(name, base | change)
        assert [x.shape for x in before] != [x.shape for x in after] or not all(
            torch.allclose(x, y) for x, y in zip(before, after, strict=True)
        ), change


def effects(name, config):
    planner = PLANNERS[name](PLANNERS[name].Config(**config), box(2), DT)
    plans = []
    for _ in range(2):
        plans.append(planner.plan(target(0.7), STATE))
        planner.shift(1)
    return plans


BASE = {
    "random_shooting": dict(horizon=0.5, samples=50, action_hold=2),
    "cem": dict(horizon=0.5, samples=20, iterations=4, min_noise=0.1),
    "icem": dict(horizon=0.5, samples=20, iterations=4, min_noise=0.1),
    "mppi": dict(horizon=0.5, samples=200, iterations=1, temperature=0.5),
}
COMMON = [{"horizon": 0.3}, {"samples": 30}, {"budget": 1.0}]
CHANGES = {
    "random_shooting": [*COMMON, {"action_hold": 3}],
    "cem": [
        *COMMON,
        {"iterations": 2},
        {"elite_ratio": 0.5},
        {"action_hold": 1},
        {"noise": 0.3},
        {"min_noise": 0.4},
        {"momentum": 0.5},
    ],
    "icem": [
        *COMMON,
        {"iterations": 2},
        {"decay": 2.0},
        {"elite_ratio": 0.5},
        {"keep_elites": 0.0},
        {"keep_elites": 1.0},
        {"noise": 0.3},
        {"min_noise": 0.4},
        {"colour": 0.5},
        {"momentum": 0.5},
    ],
    "mppi": [
        *COMMON,
        {"iterations": 2},
        {"noise": 0.1},
        {"covariance": (2.0,)},
        {"covariance": (1.0, 2.0)},
        {"covariance": (1.0, 0.5, 0.5, 1.0)},
        {"correlation": 0.9},
        {"temperature": 5.0},
        {"smoothing": 1},
        {"lifted": True},
    ],
}


@every_planner
def test_a_parameter_that_does_not_exist_or_is_out_of_range_is_refused(name):
    for wrong in ({"sample": 3}, {"samples": 0}, {"horizon": 0.0}):
        with pytest.raises(ValidationError):
            PLANNERS[name].Config(**wrong)


@every_planner
def test_a_proposal_can_win_and_does_not_disturb_the_samples(name):
    needle = torch.tensor([1.9, -0.9, 1.9, -0.9, 1.9])[:, None]
    value = needle.clone()

    def function(a):
        return torch.where((a - value).abs().amax((1, 2)) < 0.05, 100.0, a.mean((1, 2)))

    proposals = torch.cat((torch.zeros(1, H, 1), needle[None], torch.full((1, H, 1), math.nan)))
    kept = known(name, iterations=1, temperature=0.05, elite_ratio=0.001, momentum=0.0)
    count = SETTINGS[name]["samples"]
    found, without = Objective(function), Objective(function)
    plan = make(name, **kept).plan(found, STATE, proposals=proposals)
    torch.testing.assert_close(plan, needle)
    make(name, **kept).plan(without, STATE)
    assert torch.equal(found.seen[0][:count], without.seen[0][:count])
    assert torch.isfinite(found.seen[0]).all()


@every_planner
def test_proposals_are_evaluated_once_and_moved_into_the_action_space(name):
    objective = target(0.5)
    far = torch.full((3, H, 2), 99.0)
    space = box(2, max_step=0.25)
    make(name, space).plan(objective, STATE, torch.zeros(2), far)
    count = SETTINGS[name]["samples"]
    ramp = (0.25 * torch.arange(1.0, H + 1))[:, None].expand(H, 2)
    torch.testing.assert_close(objective.seen[0][count : count + 3], ramp.expand(3, H, 2))
    assert all(len(actions) <= count + 3 for actions in objective.seen[:1])
    if name in ("cem", "mppi"):
        assert all(len(actions) == count for actions in objective.seen[1:])


@those_with_a_mean
def test_time_shifts_the_warm_start_and_the_centre_falls_in(name):
    planner = make(name, min_noise=1e-6, momentum=0.0) if name != "mppi" else make(name)
    ramp = torch.linspace(-0.8, 1.8, H)[:, None]
    before = planner.plan(target(ramp), STATE)
    planner.shift(0)
    torch.testing.assert_close(planner._mean, before)
    planner.shift(2)
    torch.testing.assert_close(planner._mean[:3], before[2:])
    torch.testing.assert_close(planner._mean[3:], box().centre.expand(2, 1))
    planner.shift(100)  # more than the horizon: nothing is left
    torch.testing.assert_close(planner._mean, box().centre.expand(H, 1))
    objective = target(ramp)
    planner.plan(objective, STATE)
    middle = objective.seen[0].mean() if name != "mppi" else objective.seen[0][0].mean()
    assert (middle - box().centre).abs() < 0.2


@those_with_a_mean
def test_a_warm_start_makes_the_next_plan_better(name):
    few = dict(samples=20, iterations=1)
    ramp = torch.linspace(-0.8, 1.8, H)[:, None]
    cold, warm = [], []
    for seed in range(10):
        planner = make(name, seed=seed, **few)
        cold.append((planner.plan(target(ramp), STATE) - ramp).abs().mean())
        for _ in range(6):
            plan = planner.plan(target(ramp), STATE)
        warm.append((plan - ramp).abs().mean())
    assert sum(warm) < 0.7 * sum(cold)


# CEM and iCEM


@pytest.mark.parametrize("name", ["cem", "icem"])
def test_the_elite_mean_not_the_single_best_sample_is_executed(name):
    objective = target(0.5)
    planner = make(name, iterations=1, samples=50, elite_ratio=0.2, momentum=0.0)
    plan = planner.plan(objective, STATE)
    actions = objective.seen[0]
    order = objective.function(actions).argsort(descending=True)
    torch.testing.assert_close(plan, actions[order[:10]].mean(0))
    assert not torch.allclose(plan, actions[order[0]])


@pytest.mark.parametrize("name", ["cem", "icem"])
def test_the_noise_never_falls_below_its_floor(name):
    objective = target(0.5)
    make(name, min_noise=0.2, iterations=12).plan(objective, STATE)
    count = 2 * 40  # iCEM's samples get fewer
    spread = objective.seen[-1][:count].std(0)
    assert (spread > 0.1 * box().half_range).all()
    assert (spread < 0.4 * box().half_range).all()


@pytest.mark.parametrize("name", ["cem", "icem"])
def test_momentum_keeps_its_part_of_the_old_mean(name):
    plans = [make(name, momentum=k, iterations=1).plan(target(1.5), STATE) for k in (0.0, 0.75)]
    torch.testing.assert_close(plans[1], 0.25 * plans[0] + 0.75 * box().centre)


def test_the_samples_of_cem_are_truncated_at_the_bounds_not_clipped():
    space = ActionSpace(torch.tensor([-1.0, -5.0]), torch.tensor([1.0, 1.0]))
    mean, std = torch.tensor([[0.9, 0.0]]), torch.tensor([[0.5, 1.0]])
    uniform = torch.rand(50_000, 1, 2, generator=torch.Generator().manual_seed(0))
    drawn = truncated_normal(uniform, mean, std, space)[:, 0]
    # Exact moments of the truncated normal, by integration on a fine grid.
    for k in range(2):
        x = torch.linspace(float(space.low[k]), float(space.high[k]), 20_001).double()
        p = torch.exp(-0.5 * ((x - mean[0, k]) / std[0, k]) ** 2)
        p = p / p.sum()
        exact = (p * x).sum()
        deviation = (p * (x - exact) ** 2).sum().sqrt()
        assert abs(drawn[:, k].mean() - exact) < 0.02 and abs(drawn[:, k].std() - deviation) < 0.02
        assert ((drawn[:, k] == space.low[k]) | (drawn[:, k] == space.high[k])).sum() == 0


def test_the_samples_of_cem_are_finite_however_small_the_noise_and_wherever_the_mean():
    space = box()
    for mean in (space.low, space.high, space.centre):
        for std in (1e-6, 1.0, 1e6):
            uniform = torch.tensor([0.0, 0.5, 1 - 2**-24])[:, None, None]
            drawn = space.clip(truncated_normal(uniform, mean[None], torch.tensor([[std]]), space))
            assert torch.isfinite(drawn).all()


def test_cem_holds_each_deviation_for_the_control_periods_asked_for():
    objective = Objective(lambda a: torch.zeros(len(a)))
    make("cem", action_hold=2, iterations=1).plan(objective, STATE)
    actions = objective.seen[0][:, :, 0]
    assert torch.equal(actions[:, 0], actions[:, 1]) and torch.equal(actions[:, 2], actions[:, 3])
    assert not torch.equal(actions[:, 1], actions[:, 2])


@pytest.mark.parametrize("colour", [0.0, 1.0, 2.0, 3.5])
def test_the_noise_of_icem_has_the_spectrum_and_spread_asked_for(colour):
    wide = ActionSpace(torch.tensor([-1000.0]), torch.tensor([1000.0]))
    objective = Objective(lambda a: torch.zeros(len(a)))
    config = ICEMConfig(horizon=3.2, samples=5000, iterations=1, noise=0.1, colour=colour)
    ICEM(config, wide, DT).plan(objective, STATE)
    noise = objective.seen[0][:5000, :, 0]
    torch.testing.assert_close(noise.std(0), torch.full((32,), 100.0), rtol=0.05, atol=0)
    power = torch.fft.rfft(noise).abs().square().mean(0)[1:16]
    frequency = torch.arange(1.0, 16.0)
    slope = torch.linalg.lstsq(
        torch.stack((frequency.log(), torch.ones(15)), 1), power.log()[:, None]
    ).solution[0]
    assert abs(float(slope) + colour) < 0.05


def test_icem_keeps_elites_between_iterations_and_shifts_them_to_the_next_plan():
    ramp = torch.linspace(-0.8, 1.8, H)[:, None]
    planner = make("icem", samples=50, elite_ratio=0.2, keep_elites=0.3, iterations=2, decay=1.0)
    first, second = target(ramp), target(ramp)
    planner.plan(first, STATE)

    def top(actions):
        return actions[first.function(actions).argsort(descending=True)[:3]]

    assert [len(a) for a in first.seen] == [50, 50 + 3 + 1]
    assert torch.equal(first.seen[1][50:53], top(first.seen[0]))
    planner.shift(2)
    planner.plan(second, STATE)
    assert len(second.seen[0]) == 50 + 3
    kept = second.seen[0][50:]
    assert torch.equal(kept[:, :3], top(first.seen[1])[:, 2:])
    assert torch.equal(kept[:, 3:], box().centre.expand(3, 2, 1))


def test_icem_draws_fewer_samples_from_iteration_to_iteration_and_adds_the_mean_at_the_end():
    objective = target(0.5)
    settings = dict(samples=100, elite_ratio=0.2, decay=1.5, keep_elites=0.0, momentum=0.0)
    make("icem", iterations=5, **settings).plan(objective, STATE)
    assert [len(a) for a in objective.seen] == [100, 67, 44, 40, 40 + 1]  # at least 2 × 20 elites
    before = objective.seen[3]
    elite = before[objective.function(before).argsort(descending=True)[:20]]
    torch.testing.assert_close(objective.seen[4][-1], elite.mean(0))


# MPPI


def seen_noise(m=1, **config):
    """Deviations from the mean of many samples, [N, H, m], in half ranges of 1000."""
    wide = ActionSpace(torch.full((m,), -1000.0), torch.full((m,), 1000.0))
    objective = Objective(lambda a: torch.zeros(len(a)))
    MPPI(MPPIConfig(**{"horizon": 2.0, "samples": 20_000} | config), wide, DT).plan(
        objective, STATE
    )
    return objective.seen[0][1:] / 1000


def test_the_noise_of_mppi_has_the_spread_and_correlation_asked_for():
    noise = seen_noise(noise=0.1, correlation=0.8)[..., 0]
    torch.testing.assert_close(noise.std(0), torch.full((20,), 0.1), rtol=0.05, atol=0)
    lagged = (noise[:, 1:] * noise[:, :-1]).mean(0) / 0.1**2
    torch.testing.assert_close(lagged, torch.full((19,), 0.8), rtol=0.05, atol=0)


@pytest.mark.parametrize(
    "given, matrix",
    [
        ((4.0,), [[4.0, 0.0], [0.0, 4.0]]),
        ((1.0, 4.0), [[1.0, 0.0], [0.0, 4.0]]),
        ((1.0, 0.6, 0.6, 0.5), [[1.0, 0.6], [0.6, 0.5]]),
    ],
)
def test_the_noise_of_mppi_has_the_covariance_asked_for(given, matrix):
    noise = seen_noise(2, noise=0.1, covariance=given).flatten(0, 1)
    torch.testing.assert_close(noise.T.cov(), 0.01 * torch.tensor(matrix), rtol=0.05, atol=2e-4)


@pytest.mark.parametrize(
    "given, problem",
    [
        ((), "1 or 2 or 4 numbers expected, got 0"),
        ((1.0, 1.0, 1.0), "1 or 2 or 4 numbers expected, got 3"),
        ((1.0, 0.5, 0.4, 1.0), "is not symmetric"),
        ((1.0, 2.0, 2.0, 1.0), "is not positive definite"),
        ((0.0,), "is not positive definite"),
        ((1.0, -1.0), "is not positive definite"),
        ((math.nan,), "is not positive definite"),
        ((math.inf,), "is not positive definite"),
    ],
)
def test_a_covariance_that_is_none_is_refused_by_name(given, problem):
    with pytest.raises(ValueError, match=f"covariance: .*{problem}"):
        MPPI(MPPIConfig(covariance=given), box(2), DT)


def test_smoothing_removes_a_zigzag_and_leaves_a_straight_line_alone():
    steps = torch.arange(20.0)[:, None]
    space = ActionSpace(torch.tensor([-100.0]), torch.tensor([100.0]))
    for width in (1, 3, 50):
        planner = MPPI(MPPIConfig(horizon=2.0, samples=1, smoothing=width), space, DT)
        line = 2.0 * steps - 7.0
        planner._mean = line
        torch.testing.assert_close(planner.plan(target(0.0), STATE), line, rtol=1e-4, atol=1e-4)
        planner._mean = 10 * (-1.0) ** steps
        rough = planner._mean.diff(dim=0).abs().mean()
        assert planner.plan(target(0.0), STATE).diff(dim=0).abs().mean() < 0.5 * rough


def test_a_smoothed_plan_is_within_bounds_and_rates():
    space = ActionSpace(torch.tensor([-1.0]), torch.tensor([1.0]), torch.tensor([0.3]))
    planner = MPPI(MPPIConfig(horizon=1.0, samples=50, smoothing=2), space, DT)
    for _ in range(5):
        plan = planner.plan(target(9.0), STATE, torch.tensor([-1.0]))
        steps = torch.cat((torch.tensor([[-1.0]]), plan)).diff(dim=0).abs()
        assert steps.max() <= 0.3 + 1e-6 and plan.abs().max() <= 1.0


def test_lifted_plans_go_on_from_the_last_action_and_are_smoother():
    last = torch.tensor([1.5])
    rough, smooth = (
        MPPI(MPPIConfig(horizon=3.0, iterations=2, lifted=lifted), box(), DT)
        for lifted in (False, True)
    )
    changes = {False: [], True: []}
    for _ in range(10):
        for planner in (rough, smooth):
            plan = planner.plan(target(1.0), STATE, last)
            steps = torch.cat((last[None], plan)).diff(dim=0).abs()
            changes[planner is smooth].append(steps)
    for part in (slice(0, 1), slice(None)):
        mean = {k: torch.stack(v)[:, part].mean() for k, v in changes.items()}
        assert mean[True] < 0.6 * mean[False]
    assert (plan[-10:] - 1.0).abs().mean() < 0.4


def test_lifted_shift_keeps_the_changes_and_holds_the_last_action_beyond_the_horizon():
    planner = make("mppi", lifted=True)
    ramp = torch.linspace(-0.8, 1.8, H)[:, None]
    for _ in range(4):
        plan = planner.plan(target(ramp), STATE)
    planner.shift(2)
    objective = target(ramp)
    planner.plan(objective, STATE)
    expected = torch.cat((plan[2:], plan[-1:].expand(2, 1)))
    torch.testing.assert_close(objective.seen[0][0], expected)
    planner.shift(1)
    moved = target(ramp)
    planner.plan(moved, STATE, torch.tensor([0.1]))  # something else was sent
    planner.shift(100)
    planner.plan(target(ramp), STATE)
    assert moved.seen[0].isfinite().all()


def test_the_noise_of_lifted_mppi_has_the_mean_square_asked_for():
    noise = seen_noise(noise=0.1, lifted=True)[..., 0]
    assert abs(float(noise.square().mean().sqrt()) - 0.1) < 0.002
    assert noise[:, 0].std() < 0.2 * noise[:, -1].std()


def test_a_diverging_model_does_not_poison_mppi():
    def diverging(a):
        value = -(a - 0.5).square().sum((1, 2))
        return torch.where(a[:, 0, 0] > 0.8, -1e30, torch.where(a[:, 0, 0] < 0, -math.inf, value))

    planner = make("mppi")
    for _ in range(3):
        plan = planner.plan(Objective(diverging), STATE)
    assert torch.isfinite(plan).all() and 0 <= plan[0, 0] <= 0.8


# Random shooting


def test_random_shooting_takes_the_single_best_and_holds_actions():
    objective = target(0.5)
    planner = RandomShooting(
        RandomShootingConfig(horizon=0.5, samples=50, action_hold=2), box(), DT
    )
    plan = planner.plan(objective, STATE)
    actions = objective.seen[0]
    assert torch.equal(plan, actions[objective.function(actions).argmax()])
    assert torch.equal(actions[:, 0], actions[:, 1]) and torch.equal(actions[:, 2], actions[:, 3])


def test_the_table_holds_every_planner_with_its_own_config():
    ours = {k for k in Planner.__subclasses__() if k.__module__.startswith("mbrl_node.planning.")}
    assert {*PLANNERS.values(), GraphedPlanner} == ours
    assert all(kind.__module__.endswith(f".{name}") for name, kind in PLANNERS.items())
    assert [PLANNERS[name].Config for name in ("random_shooting", "cem", "icem", "mppi")] == [
        RandomShootingConfig,
        CEMConfig,
        ICEMConfig,
        MPPIConfig,
    ]


# Settings that come from outside.


@every_planner
@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"horizon": 1e9},
            "horizon: 1e+09 s is 10000000000 control periods of 0.1 s; at most 1000",
        ),
        ({"horizon": 90.0, "samples": 1_000_000}, "samples: 1000000 sequences of 900 actions have"),
    ],
)
def test_settings_for_which_there_is_no_memory_are_refused_by_name(name, settings, problem):
    kind = PLANNERS[name]
    with pytest.raises(ValueError, match=problem.replace("+", r"\+")):
        kind(kind.Config(**settings), box(), DT)


@every_planner
@pytest.mark.parametrize(
    "settings",
    [{"samples": 2**40}, {"horizon": math.inf}, {"horizon": math.nan}, {"budget": 1e12}],
)
def test_settings_out_of_range_are_refused(name, settings):
    with pytest.raises(ValidationError):
        PLANNERS[name].Config(**settings)


@pytest.mark.parametrize("name", ["random_shooting", "cem"])
def test_an_action_may_be_held_for_longer_than_the_horizon(name):
    kind = PLANNERS[name]
    planner = kind(kind.Config(horizon=H * DT, action_hold=2**40), box(), DT)
    assert planner.plan(target(1.0), STATE).shape == (H, 1)


# Changed settings.


@those_with_a_mean
def test_a_planner_resumes_what_another_knows(name):
    kind = PLANNERS[name]
    old, new = (kind(kind.Config(horizon=H * DT, samples=n), box(), DT) for n in (40, 50))
    plan = old.plan(target(1.5), STATE)
    new.resume(old)
    seen = Objective(lambda a: torch.zeros(len(a)))
    new.plan(seen, STATE)
    noise = seen.seen[0] - plan
    assert noise.mean().abs() < 0.5 * (plan.mean() - box().centre)  # around the plan it was given
    new.resume(old)
    old.shift(1)
    assert torch.equal(new._mean, plan)  # what the old one does later is its own


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("mppi", {"horizon": 2 * H * DT}), ("mppi", {"lifted": True}), ("cem", {})],
)
def test_a_planner_resumes_nothing_that_means_something_else_to_it(kind, settings):
    old = MPPI(MPPIConfig(horizon=H * DT), box(), DT)
    old.plan(target(1.5), STATE)
    config = PLANNERS[kind].Config(**{"horizon": H * DT, **settings})
    new, fresh = (PLANNERS[kind](config, box(), DT) for _ in range(2))
    new.resume(old)
    assert torch.equal(new.plan(target(1.0), STATE), fresh.plan(target(1.0), STATE))


def test_a_graphed_planner_resumes_what_another_knows():
    planners = [MPPI(MPPIConfig(horizon=H * DT, noise=n), box(), DT) for n in (0.5, 0.6)]
    planners[0].plan(target(1.5), STATE)
    old, new = (GraphedPlanner(planner, lambda function, generators: None) for planner in planners)
    new.resume(old)
    assert torch.equal(planners[1]._mean, planners[0]._mean)
    new.resume(planners[0])  # not of its kind: nothing
    assert torch.equal(planners[1]._mean, planners[0]._mean)
