"""One small run of a real learner, on a toy with the cart-pole's state."""

import math

import numpy as np
import pytest

from mbrl_node.data import Transition, records_of
from mbrl_node.learning import Learner, LearnerConfig
from mbrl_node.models import ModelConfig
from mbrl_node.spec import load_spec
from mbrl_node.spec.task import Task

SPEC = load_spec("cartpole")
PERIOD = round(SPEC.dt * 1e9)


def steps(version_of):
    """420 steps in episodes of 60."""
    rng, state = np.random.default_rng(0), np.zeros(4)
    for k in range(420):
        if k % 60 == 0:
            state = rng.normal(size=4)
        action = rng.uniform(-5, 5, 1)
        change = [state[2], state[3], action[0], action[0] - 9 * math.sin(state[1])]
        next_state = 0.99 * state + 0.04 * np.array(change)
        version = version_of(k)
        yield Transition(
            1,
            k,
            k // 60,
            k % 60,
            k * PERIOD,
            (k + 1) * PERIOD,
            state,
            action,
            action,
            next_state,
            math.cos(next_state[1]),
            False,
            k % 60 == 59,
            "mppi" if version else "random",
            version,
        )
        state = next_state


def make_run(folder, model):
    config = LearnerConfig(min_transitions=20, gradient_steps=30)
    learner = Learner(SPEC, Task.of(SPEC), folder, config, None, model)
    for t in steps(lambda k: learner.latest.version if learner.latest else 0):
        learner.add(records_of([t], 4, 1))
        if t.sequence % 30 == 29:
            learner.update()
    learner.store.close()
    return folder


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory):
    model = ModelConfig(members=3, hidden=(24,))
    return make_run(tmp_path_factory.mktemp("runs") / "first <light> & more", model)


@pytest.fixture(scope="session")
def plain_run_dir(tmp_path_factory):
    """Of one deterministic network: no likelihood, no spread, no intervals."""
    model = ModelConfig(members=1, hidden=(24,), probabilistic=False)
    return make_run(tmp_path_factory.mktemp("runs") / "plain", model)
