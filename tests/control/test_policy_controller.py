"""The learned policy in command."""

import threading

import numpy as np
import pytest
import torch

from mbrl_node.control import Observation, PolicyController
from mbrl_node.models import ModelConfig, WorldModel
from mbrl_node.models.policy import PolicyConfig
from mbrl_node.planning import Rollout
from mbrl_node.spec import load_spec
from mbrl_node.spec.task import Task

SPEC = load_spec("cartpole")


def rollout(seed: int, has_policy: bool = True) -> Rollout:
    torch.manual_seed(seed)
    policy = PolicyConfig(hidden=(8, 8)) if has_policy else None
    world = WorldModel(SPEC, ModelConfig(members=1, hidden=(4,)), policy=policy)
    if world.policy is not None:
        torch.nn.init.normal_(world.policy.actor[-1].weight)
    return Rollout(world.requires_grad_(False), Task.of(SPEC))


def act(controller: PolicyController, state: list[float]) -> float:
    action = controller.update(Observation(0, 0, np.array(state)), np.zeros(1))
    assert action.shape == (1,) and action.dtype == np.float64
    return float(action[0])


def expected(model: Rollout, state: list[float]) -> float:
    return float(model.policy.act(torch.tensor(state)))


def test_it_waits_for_a_model_that_has_a_policy():
    controller = PolicyController("policy")
    assert "model with a policy" in controller.not_ready
    controller.set_model(rollout(0, has_policy=False), 1)
    assert "model with a policy" in controller.not_ready
    with pytest.raises(RuntimeError, match="policy waits for"):
        act(controller, [0.0] * 4)
    controller.set_model(rollout(0), 2)
    assert controller.not_ready == ""


def test_it_acts_as_the_newest_policy_says_and_tells_its_version():
    controller, state = PolicyController("policy"), [0.3, 2.0, -0.5, 1.0]
    for version in (1, 2):
        model = rollout(version)
        controller.set_model(model, version)
        assert act(controller, state) == pytest.approx(expected(model, state), abs=1e-4)
        assert controller.model_version == version
    controller.set_model(rollout(3, has_policy=False), 3)
    assert act(controller, state) == pytest.approx(expected(model, state), abs=1e-4)
    assert controller.model_version == 2


def test_training_that_goes_on_does_not_change_what_it_was_given():
    controller, model, state = PolicyController("policy"), rollout(0), [0.3, 2.0, -0.5, 1.0]
    controller.set_model(model, 1)
    before = act(controller, state)
    torch.nn.init.zeros_(model.policy.actor[0].weight)
    model.policy.normalizer.std.fill_(3.0)
    assert act(controller, state) == before


def test_its_actions_are_within_bounds_or_an_error_names_the_state():
    controller = PolicyController("policy")
    controller.set_model(rollout(0), 1)
    for scale in (1.0, 1e3, 1e9):
        assert abs(act(controller, [scale, scale, -scale, scale])) <= 5.0
    with pytest.raises(FloatingPointError, match=r"in the state .*nan"):
        act(controller, [0.0, 0.0, np.nan, 0.0])


def test_a_model_may_come_from_another_thread_while_it_acts():
    controller, models = PolicyController("policy"), [rollout(k) for k in range(2)]
    state = [0.3, 2.0, -0.5, 1.0]
    answers = {k: expected(model, state) for k, model in enumerate(models)}
    controller.set_model(models[0], 0)

    def exchange() -> None:
        for k in range(300):
            controller.set_model(models[k % 2], k % 2)

    thread = threading.Thread(target=exchange)
    thread.start()
    for _ in range(300):
        action = act(controller, state)
        assert action == pytest.approx(answers[controller.model_version], abs=1e-4)
    thread.join()
