"""The examples of docs/models.md, run as they stand there."""

import re
from pathlib import Path

import numpy as np
import torch

from mbrl_node.control import Observation
from mbrl_node.data import ReplayBuffer, Transition, records_of
from mbrl_node.spec import load_spec
from mbrl_node.spec.task import Task

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_examples_run_one_after_the_other():
    spec = load_spec("cartpole")
    rng = np.random.default_rng(0)
    buffer, episodes = ReplayBuffer(4, 1), []
    for episode in range(4):
        states = rng.normal(size=(31, 4)).cumsum(0) * 0.1
        for k in range(30):
            action = rng.uniform(spec.action_min, spec.action_max)
            facts = (0, 30 * episode + k, episode, k, 0, 0)
            outcome = (states[k + 1], 0.0, False, False, "random", 0)
            step = Transition(*facts, states[k], action, action, *outcome)
            buffer.add(records_of([step], 4, 1))
        episodes.append((torch.tensor(states, dtype=torch.float32), torch.rand(4) * 20))
    names = {"system": spec, "task": Task.of(spec), "buffer": buffer, "episodes": episodes}
    examples = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(examples) == 6
    for example in examples:
        exec(example, names)
    assert names["theta"].shape == (4,)
    at_rest = Observation(0, 0, np.zeros(4))
    assert names["controller"].update(at_rest, np.zeros(1)).shape == (1,)
