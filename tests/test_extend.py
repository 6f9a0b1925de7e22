"""The examples of docs/extend.md, run as they stand there."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from mbrl_node.control import Controller, ControllerManager, ControlLoop, Hold, Observation
from mbrl_node.data import ReplayBuffer, Transition, records_of
from mbrl_node.learning import Trainer, TrainerConfig
from mbrl_node.models import (
    DynamicsModel,
    ModelConfig,
    WorldModel,
    load_checkpoint,
    save_checkpoint,
)
from mbrl_node.planning import PLANNERS, ActionSpace, Planner, Rollout
from mbrl_node.spec import load_spec
from mbrl_node.spec.plugins import find
from mbrl_node.spec.task import Task
from mbrl_node.spec.terms import TermReward

PAGE = (Path(__file__).parents[1] / "docs" / "extend.md").read_text(encoding="utf-8")
SECTIONS = {section.splitlines()[0]: section for section in PAGE.split("\n## ")[1:]}
SPEC = load_spec("cartpole")


def blocks(language: str, text: str = PAGE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def settings(section: str) -> Any:
    """The YAML of a section."""
    (text,) = blocks("yaml", SECTIONS[section])
    return yaml.safe_load(text)


def from_python(section: str) -> dict[str, Any]:
    """What the section's example without an entry point leaves behind."""
    names: dict[str, Any] = {}
    exec(blocks("python", SECTIONS[section])[-1], names)
    return names


@pytest.fixture(autouse=True)
def my_package(distribution) -> None:
    """The package that the page describes, installed."""
    files = {"my_package/__init__.py": ""}
    for text in blocks("python"):
        if path := re.match(r"# (my_package/\w+\.py)\n", text):
            files[path[1]] = text
    lines = []
    for text in blocks("toml"):
        for group, entries in tomllib.loads(text)["project"]["entry-points"].items():
            lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    distribution("my-package", "\n".join(lines), files)


def a_run(steps: int = 300) -> ReplayBuffer:
    """A cart on which a force acts; the pole does nothing."""
    rng = np.random.default_rng(0)
    buffer, state, transitions = ReplayBuffer(4, 1), np.zeros(4), []
    for k in range(steps):
        action = rng.uniform(-5, 5, 1)
        x, theta, speed, spin = state
        after = np.array([x + SPEC.dt * speed, theta, 0.95 * speed + 0.1 * action[0], spin])
        numbers = (state, action, action, after, 0.0, False, False, "random", 0)
        transitions.append(Transition(1, k, 1, k, k * 40_000_000, (k + 1) * 40_000_000, *numbers))
        state = after
    buffer.add(records_of(transitions, 4, 1))
    return buffer


@pytest.mark.parametrize("text", [text for text in blocks("python") if text.startswith("# my_")])
def test_no_example_is_longer_than_20_lines(text):
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 20


def test_the_term_counts_in_the_reward_of_a_robot():
    reward = TermReward(SPEC.with_overrides(**settings("A reward term")))
    states = torch.tensor([[0.5, 0, 0, 0], [0.7, 0, 0, 0], [9.0, 0, 0, 0]])
    torch.testing.assert_close(
        reward(states, torch.zeros(3, 1), states), torch.tensor([1.0, math.exp(-1.0), 0.0])
    )


def test_a_reward_in_python_is_planned_with():
    rollout = from_python("A reward term")["rollout"]
    returns = rollout.returns(torch.zeros(4), torch.tensor([[[0.0]], [[5.0]]]))
    assert returns.shape == (2,) and torch.isfinite(returns).all()


def test_the_model_is_trained_saved_loaded_and_planned_with(tmp_path):
    torch.manual_seed(0)
    config = ModelConfig(**settings("A dynamics model")["/**"]["ros__parameters"]["model"])
    world, task, buffer = WorldModel.for_task(SPEC, Task.of(SPEC), config), Task.of(SPEC), a_run()
    errors, batch = [], buffer.batch()
    trainer = Trainer(world, TrainerConfig())
    for steps in (1, 100):
        trainer.train(buffer, steps)
        errors.append(world.dynamics.error(batch.state, batch.action, batch.next_state))
    assert errors[1] < 0.5 * errors[0]
    save_checkpoint(world, tmp_path / "model.safetensors", {})
    loaded, _ = load_checkpoint(tmp_path / "model.safetensors", SPEC)
    assert type(loaded.dynamics).__name__ == "Kinematic"
    state, action = torch.tensor([0.0, 0.0, 2.0, 0.0]), torch.zeros(1)
    pair = state.expand(3, 1, -1), action.expand(3, 1, -1)
    brought_along = loaded.dynamics.predict(*pair) - DynamicsModel.predict(loaded.dynamics, *pair)
    torch.testing.assert_close(brought_along[0, 0], torch.tensor([2.0 * SPEC.dt, 0.0, 0.0, 0.0]))
    planner = PLANNERS["mppi"](PLANNERS["mppi"].Config(), ActionSpace.of(SPEC), SPEC.dt)
    assert torch.isfinite(planner.plan(Rollout(loaded, task), state)).all()


def test_the_model_is_passed_as_an_object_too():
    world = from_python("A dynamics model")["world"]
    Trainer(world, TrainerConfig()).train(a_run(50), 2)
    assert torch.isfinite(Rollout(world, Task.of(SPEC)).step(torch.zeros(4), torch.zeros(1))).all()


def test_the_planner_takes_its_settings_and_plans_better_than_the_start():
    kind = find("mbrl.planners", "hill_climber", PLANNERS, Planner)
    numbers = settings("A planner")["/**"]["ros__parameters"]["hill_climber"]
    planner = kind(kind.Config(**numbers), ActionSpace.of(SPEC), SPEC.dt)
    assert planner.horizon == 25

    class Target:
        def returns(self, state, actions):
            return -(actions - 3.0).square().mean((1, 2))

    for _ in range(20):
        plan = planner.plan(Target(), torch.zeros(4))
    assert plan.shape == (25, 1) and plan.abs().max() <= 5.0
    assert (plan.mean() - 3.0).abs() < 0.5


def test_the_planner_is_passed_as_an_object_too():
    controller = from_python("A planner")["controller"]
    assert controller.name == "hill_climber" and controller.not_ready
    controller.close()


def test_the_controller_drives_a_control_loop():
    kind = find("mbrl.controllers", "brake", {"hold": Hold}, Controller)
    controllers = [kind("brake", SPEC), Hold("hold", SPEC)]
    loops = [ControlLoop(SPEC, ControllerManager(controllers, "hold", "hold"), session=1)]
    loops.append(from_python("A controller")["loop"])
    for loop in loops:
        tick = loop.tick(Observation(0, 0, np.array([0.0, 0.0, 1.5, 0.0])))
        assert tick.action == -3.0 and loop.safe_reason == ""
