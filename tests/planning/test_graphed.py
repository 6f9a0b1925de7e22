"""Plans recorded once and repeated. A GPU does it with CUDA graphs; where there is none, a stand-in
runs the same function on the same memory again, and a watch sees to it that no number is looked
at."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mbrl_node.models import ModelConfig, PolicyConfig, WorldModel
from mbrl_node.planning import (
    PLANNERS,
    ActionSpace,
    GraphedPlanner,
    PlanningError,
    Rollout,
    RolloutConfig,
)
from mbrl_node.planning.graphed import record
from mbrl_node.spec import load_spec
from mbrl_node.spec.task import Task

SPEC = load_spec("cartpole")
STATE = torch.tensor([0.0, 3.0, 0.0, 0.0])
LOOKS = {"_local_scalar_dense", "nonzero", "masked_select", "item", "is_nonzero", "equal"}


class NoLooking(TorchDispatchMode):
    """Raises where an operation needs a number on the host, or gives a shape that depends on one:
    a graph cannot hold it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        by_mask = name == "index" and any(x is not None and x.dtype == torch.bool for x in args[1])
        if name in LOOKS or by_mask:
            raise AssertionError(f"{func} looks at numbers")
        return func(*args, **(kwargs or {}))


class Recorder:
    """Stands for a CUDA graph: what it repeats ends in the memory that the first run gave."""

    def __init__(self):
        self.count = 0

    def __call__(self, function, generators):
        self.count += 1
        function()
        cells = dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))
        planner, found = cells["planner"].cell_contents, cells["found"].cell_contents
        kept = [*found, *(getattr(planner, name) for name in planner.remembers)]

        def again():
            before = [getattr(planner, name) for name in planner.remembers]
            with NoLooking():
                function()
            made = [*found, *(getattr(planner, name) for name in planner.remembers)]
            for old, new in zip(kept, made, strict=True):
                if old is not None:
                    old.copy_(new)
            planner.tops = None  # a graph runs no Python
            for name, value in zip(planner.remembers, before, strict=True):
                setattr(planner, name, value)

        return again


def a_world(seed=0, **config):
    torch.manual_seed(seed)
    config = {"members": 2, "hidden": (16,), **config}
    return WorldModel(SPEC, ModelConfig(**config)).requires_grad_(False)


def a_rollout(world, **config):
    return Rollout(world, Task.of(SPEC), RolloutConfig(engine="torch", **config))


def pair(name, recorder, **config):
    """A planner, and another like it that is recorded."""
    kind = PLANNERS[name]
    plain, inner = (
        kind(kind.Config(samples=30, **config), ActionSpace.of(SPEC), SPEC.dt) for _ in range(2)
    )
    return plain, GraphedPlanner(inner, recorder)


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("propagation", ["tsinf", "ts1", "expectation", "moment_matching"])
def test_a_repeated_plan_is_the_plan(name, propagation):
    recorder, rollout = Recorder(), a_rollout(a_world(), propagation=propagation)
    plain, graphed = pair(name, recorder)
    rates = torch.tensor([0.5])
    for step in range(5):
        # The recording itself uses random numbers up, so both begin anew.
        plain.reset()
        graphed.reset()
        wanted = plain.plan(a_rollout(a_world(), propagation=propagation), STATE + step, rates)
        graphed.plan(rollout, STATE + step, rates)  # records at first
        graphed.reset()
        for graph in graphed._graphs.values():
            graph.rollout.generator.manual_seed(0)
        found = graphed.plan(rollout, STATE + step, rates)
        torch.testing.assert_close(found, wanted)
    assert recorder.count == 1


@pytest.mark.parametrize("name", PLANNERS)
def test_warm_starts_are_remembered_as_without(name):
    rollout, (plain, graphed) = a_rollout(a_world()), pair(name, Recorder())
    for step in range(4):
        graphed.plan(rollout, STATE)
        # The same random numbers for both from here on.
        plain.generator.set_state(graphed._planner.generator.get_state())
        for key in plain.remembers:
            setattr(plain, key, copy.deepcopy(getattr(graphed._planner, key)))
        wanted = plain.plan(rollout, STATE)
        if step:
            torch.testing.assert_close(graphed.plan(rollout, STATE), wanted)
        graphed.shift(1)


@pytest.mark.parametrize("name", PLANNERS)
def test_while_actions_are_limited_it_plans_without_a_graph(name):
    recorder, rollout = Recorder(), a_rollout(a_world())
    plain, graphed = pair(name, recorder)
    limits = torch.tensor([[-0.5], [1.0]])
    for planner in (plain, graphed):
        planner.limit(limits)
    for step in range(3):
        plan = graphed.plan(rollout, STATE + step)
        assert torch.equal(plan, plain.plan(rollout, STATE + step))
        assert plan.min() >= -0.5 and plan.max() <= 1.0 + 1e-6
    assert recorder.count == 0 and graphed.used.samples == 30
    graphed.limit(None)
    graphed.plan(rollout, STATE)
    assert recorder.count == 1


def test_a_newer_model_is_taken_over_without_recording_anew():
    recorder = Recorder()
    _, graphed = pair("mppi", recorder)
    plans = []
    for seed in (0, 1, 0):
        rollout = a_rollout(a_world(seed))
        if plans:
            graphed.reset()
        graphed.plan(rollout, STATE)
        graphed.reset()
        plans.append(graphed.plan(rollout, STATE))
    assert recorder.count == 1
    torch.testing.assert_close(plans[0], plans[2])
    assert not torch.allclose(plans[0], plans[1])


def test_the_model_that_was_recorded_with_is_not_written_over():
    _, graphed = pair("mppi", Recorder())
    first = a_rollout(a_world(0))
    before = [w.clone() for w in first.model.parameters()]
    graphed.plan(first, STATE)
    graphed.plan(a_rollout(a_world(1)), STATE)
    assert all(torch.equal(x, y) for x, y in zip(before, first.model.parameters(), strict=True))


@pytest.mark.parametrize("name", PLANNERS)
def test_a_model_that_gives_nothing_finite_is_noticed_and_nothing_is_forgotten(name):
    _, graphed = pair(name, Recorder())
    good = a_rollout(a_world())
    graphed.plan(good, STATE)
    graphed.plan(good, STATE)
    before = [getattr(graphed._planner, key) for key in graphed._planner.remembers]
    bad = a_world()
    bad.dynamics.delta_mean[:] = torch.nan
    with pytest.raises(PlanningError, match="no finite return"):
        graphed.plan(a_rollout(bad), STATE)
    after = [getattr(graphed._planner, key) for key in graphed._planner.remembers]
    assert all(x is y or torch.equal(x, y) for x, y in zip(before, after, strict=True))
    assert torch.isfinite(graphed.plan(good, STATE)).all()


def test_learned_rewards_ends_and_values_are_a_part_of_it():
    torch.manual_seed(0)
    config = ModelConfig(members=2, hidden=(8,))
    world = WorldModel(SPEC, config, True, True, PolicyConfig(hidden=(8,))).requires_grad_(False)
    settings = RolloutConfig(engine="torch", terminal_value=True, disagreement=0.1, aleatoric=True)
    rollout = Rollout(world, Task(), settings)
    _, graphed = pair("icem", Recorder())
    for _ in range(3):
        assert torch.isfinite(graphed.plan(rollout, STATE)).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_a_gpu_the_graph_plans_as_well_as_the_planner_without_it(name, precision):
    device = torch.device("cuda")
    rollout = Rollout(a_world().to(device), Task.of(SPEC), RolloutConfig(precision=precision))
    kind = PLANNERS[name]
    space = ActionSpace.of(SPEC).to(device)
    plain, inner = (kind(kind.Config(samples=500), space, SPEC.dt) for _ in range(2))
    graphed, state = GraphedPlanner(inner, record), STATE.to(device)
    worth = []
    for planner in (plain, graphed):
        for _ in range(4):
            plan = planner.plan(rollout, state)
            planner.shift(1)
        worth.append(float(rollout.returns(state, plan[None])))
    assert abs(worth[0] - worth[1]) < 0.1 * abs(worth[0])
