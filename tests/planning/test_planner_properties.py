"""What holds for every planner whatever the action space, the horizon and the seed."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl_node.planning import PLANNERS, ActionSpace

DT = 0.1
STATE = torch.zeros(3)
every_planner = pytest.mark.parametrize("name", PLANNERS)
quick = settings(max_examples=15, deadline=None, derandomize=True, database=None)

SMALL = {
    "random_shooting": [{}],
    "cem": [{"iterations": 2}, {"iterations": 2, "action_hold": 1, "noise": 3.0}],
    "icem": [{"iterations": 2}, {"iterations": 3, "colour": 0.0, "noise": 3.0}],
    "mppi": [
        {},
        {"iterations": 2, "noise": 3.0, "smoothing": 2},
        {"iterations": 2, "lifted": True},
        {"lifted": True, "noise": 3.0, "smoothing": 1},
    ],
}


class Objective:
    """A random smooth function of the actions, of which some are not finite."""

    def __init__(self, m, seed, scale=1.0, holes=True):
        self.weight = torch.randn(m, generator=torch.Generator().manual_seed(seed))
        self.scale, self.holes, self.seen = scale, holes, []

    def returns(self, state, actions):
        self.seen.append(actions)
        value = (actions * self.weight).tanh().sum((1, 2)) - 0.3 * actions.diff(dim=1).square().sum(
            (1, 2)
        )
        if self.holes:
            value[1::5], value[2::7], value[3::11] = math.nan, math.inf, -math.inf
        return self.scale * value


def make(name, space, horizon=6, seed=0, **changes):
    config = PLANNERS[name].Config(**{"horizon": horizon * DT, "samples": 25} | changes)
    return PLANNERS[name](config, space, DT, seed)


@st.composite
def spaces(draw):
    m = draw(st.integers(1, 4))

    def each(low, high):
        return torch.tensor([draw(st.floats(low, high, width=32)) for _ in range(m)])

    centre, half = each(-50.0, 50.0), each(0.0625, 100.0)
    steps = [draw(st.just(math.inf) | st.floats(0.0078125, 3.0, width=32)) for _ in range(m)]
    return ActionSpace(centre - half, centre + half, half * torch.tensor(steps))


@every_planner
@quick
@given(
    space=spaces(),
    horizon=st.integers(1, 12),
    seed=st.integers(0, 2**31),
    where=st.floats(0, 1),
    shift=st.integers(0, 15),
    given_last=st.booleans(),
)
def test_bounds_and_rates_are_always_obeyed(name, space, horizon, seed, where, shift, given_last):
    m = len(space.low)
    for changes in SMALL[name]:
        planner = make(name, space, horizon, seed % 1000, **changes)
        last = space.low + where * (space.high - space.low) if given_last else None
        objective = Objective(m, seed)
        for _ in range(3):
            wild = 1e3 * torch.tensor([[[1.0]], [[-1.0]]]).expand(2, horizon, m) * space.half_range
            plan = planner.plan(objective, STATE, last, wild)
            planner.shift(shift)
            for actions in (*objective.seen, plan):
                check(space, actions, last)
            objective.seen.clear()
            last = plan[min(shift, horizon - 1)] if given_last else None


@every_planner
@quick
@given(
    space=spaces(),
    seed=st.integers(0, 1000),
    low=st.floats(0.0, 0.45),
    high=st.floats(0.55, 1.0),
    given_last=st.booleans(),
)
def test_limits_of_a_plan_are_obeyed_and_can_be_lifted(name, space, seed, low, high, given_last):
    m = len(space.low)
    way = space.high - space.low
    limits = torch.stack((space.low + low * way, space.low + high * way))
    narrow = replace(space, low=limits[0], high=limits[1])
    for changes in SMALL[name]:
        planner, objective = make(name, space, 6, seed, **changes), Objective(m, seed)
        last = narrow.centre if given_last else None
        for bounds, wanted in ((None, space), (limits, narrow), (None, space), (limits, narrow)):
            planner.limit(bounds)
            assert planner.limited == (bounds is not None)
            plan = planner.plan(objective, STATE, last)
            planner.shift(1)
            for actions in (*objective.seen, plan):
                check(wanted, actions, last)
            objective.seen.clear()


def check(space, actions, last):
    """Within the box exactly but for a mean's rounding, and within the rates but for rounding."""
    rounding = 1e-5 * (space.half_range + space.centre.abs())
    assert torch.isfinite(actions).all()
    assert (actions >= space.low - rounding).all() and (actions <= space.high + rounding).all()
    if last is not None:
        first = last.expand(*actions.shape[:-2], 1, -1)
        actions = torch.cat((first, actions), -2)
    assert (actions.diff(dim=-2).abs() <= space.max_step + rounding).all()


@every_planner
@quick
@given(seed=st.integers(0, 10_000), exponent=st.integers(-6, 20))
def test_the_scale_of_the_returns_does_not_change_the_plan(name, seed, exponent):
    space = ActionSpace(torch.tensor([-1.0, 0.0]), torch.tensor([2.0, 0.5]))
    for changes in SMALL[name]:
        plans = []
        for scale in (1.0, 2.0**exponent):
            planner = make(name, space, seed=seed, **changes)
            objective = Objective(2, seed, scale)
            plans.append(torch.stack([planner.plan(objective, STATE) for _ in range(2)]))
        torch.testing.assert_close(*plans)


@every_planner
@quick
@given(
    seed=st.integers(0, 10_000),
    factor=st.lists(st.floats(0.01, 100.0), min_size=2, max_size=2),
    offset=st.lists(st.floats(-3.0, 3.0), min_size=2, max_size=2),
)
def test_the_unit_and_the_zero_of_an_action_do_not_change_the_plan(name, seed, factor, offset):
    scale, zero = torch.tensor(factor), torch.tensor(offset)
    low, high, step = torch.tensor([[-1.0, -0.5], [2.0, 0.5], [0.4, math.inf]])
    for changes in SMALL[name]:
        plans = []
        for unit, origin in ((torch.ones(2), torch.zeros(2)), (scale, zero * scale)):
            space = ActionSpace(low * unit + origin, high * unit + origin, step * unit)
            planner = make(name, space, seed=seed, **changes)
            inner = Objective(2, seed, holes=False)

            class InUnits:
                def returns(self, state, actions, inner=inner, unit=unit, origin=origin):
                    return inner.returns(state, (actions - origin) / unit)

            plans.append((planner.plan(InUnits(), STATE, origin) - origin) / unit)
        torch.testing.assert_close(*plans, rtol=1e-3, atol=1e-3)


@every_planner
@quick
@given(seed=st.integers(0, 10_000), order=st.permutations(range(3)))
def test_the_order_of_the_actions_does_not_change_the_plan(name, seed, order):
    limits = torch.tensor([[-1.0, -0.5, -3.0], [2.0, 0.5, 1.0], [0.4, math.inf, 0.7]])
    for changes in SMALL[name]:
        plans = []
        for columns in ([0, 1, 2], order):
            planner = make(name, ActionSpace(*limits[:, columns]), seed=seed, **changes)
            for draw in ("_normal", "_uniform"):  # the same numbers for the same action
                drawn = getattr(planner, draw)
                setattr(planner, draw, lambda *s, d=drawn, c=columns: d(*s)[..., c])
            objective = Objective(3, seed, holes=False)
            objective.weight = objective.weight[columns]
            plan = planner.plan(objective, STATE)
            plans.append(plan[:, torch.tensor(columns).argsort()])
        torch.testing.assert_close(*plans, rtol=1e-3, atol=1e-3)


@every_planner
@quick
@given(
    seed=st.integers(0, 10_000),
    samples=st.integers(1, 4),
    horizon=st.integers(1, 3),
    data=st.data(),
)
def test_any_number_of_samples_and_any_horizon_will_do(name, seed, samples, horizon, data):
    space = ActionSpace(torch.tensor([-1.0]), torch.tensor([1.0]))
    changes = data.draw(st.sampled_from(SMALL[name])) | {"samples": samples}
    planner = make(name, space, horizon, seed, **changes)
    objective = Objective(1, seed, holes=False)
    for _ in range(3):
        plan = planner.plan(objective, STATE)
        assert plan.shape == (horizon, 1) and torch.isfinite(plan).all()
        planner.shift(1)
