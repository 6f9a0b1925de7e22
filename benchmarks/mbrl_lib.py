"""Side by side with mbrl-lib 0.2.0: its PETS and our agent on its own continuous cart-pole.

Both have the same environment, the same budget of environment steps, the reward and termination as
functions, and one thread. Counted are the environment steps, random ones too, at whose end an
episode first returned 200, the most there is.

mbrl-lib runs as in its notebook pets_example: 200 random steps, then episodes that are planned with
CEM, the model trained on all transitions before each. Only the size of the search differs: 100
samples x 3 iterations x 5 particles, so that a plan fits on one core (`--full`: 500 x 5 x 20, the
notebook's). Ours runs with the command's defaults and trains while it acts.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.report import Row, progress, report
from mbrl_node.agent import Agent, AgentConfig, system_of
from mbrl_node.spec.task import Task

Array = npt.NDArray[np.float32]

TRIAL = 200  # steps an episode may last, and random steps before the first plan
SOLVED = 200.0  # the most that an episode can return: 1 a step
_X_LIMIT = 2.4  # m
_ANGLE_LIMIT = math.radians(12.0)

_PACKAGES = Path(__file__).parents[1] / ".venv" / "mbrl-lib"
_MISSING = (
    "mbrl-lib cannot be imported ({}); install it beside, as its own pins fit no Python 3.11:\n"
    "  python -m pip install --no-deps --target .venv/mbrl-lib -r benchmarks/mbrl_lib.txt"
)
OURS = AgentConfig()


@dataclass(frozen=True)
class Search:
    """How much CEM looks at for one plan: samples x iterations x particles trajectories."""

    samples: int
    iterations: int
    particles: int


REDUCED = Search(samples=100, iterations=3, particles=5)
NOTEBOOK = Search(samples=500, iterations=5, particles=20)


def reward(state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
    """`mbrl.env.reward_fns.cartpole`: 1 where the episode goes on, else 0.

    The environment itself pays 1 for the step that ends the episode, too.

    Args:
        state: [..., 4], which does not count.
        action: [..., 1], which does not count.
        next_state: x in m, its rate in m/s, the pole's angle from upright in rad, its rate in
            rad/s, [..., 4].

    Returns:
        [...], of next_state's dtype.
    """
    return (~termination(next_state)).to(next_state.dtype)


def termination(next_state: Tensor) -> Tensor:
    """`mbrl.env.termination_fns.cartpole`: has the cart left its track or the pole fallen?

    Args:
        next_state: as in `reward`, [..., 4].

    Returns:
        bool, [...]; true where the position or the angle is NaN.
    """
    x, angle = next_state[..., 0], next_state[..., 2]
    return ~((x.abs() < _X_LIMIT) & (angle.abs() < _ANGLE_LIMIT))


class CartPole(gymnasium.Env[Array, Array]):
    """mbrl-lib's CartPoleEnv, truncated after 200 steps, with a record of its episodes.

    Observations are float32 [4], laid out as in `reward`; actions are float32 [1] in -1 ... 1,
    1 being 10 N. One step is 0.02 s.
    """

    def __init__(self, seed: int) -> None:
        if str(_PACKAGES) not in sys.path:
            sys.path.append(str(_PACKAGES))  # last: what is in both is taken from ours
        try:
            from mbrl.env.cartpole_continuous import CartPoleEnv
        except ImportError as error:
            raise ImportError(_MISSING.format(error)) from error
        self._env = CartPoleEnv()
        self._env.reset(seed=seed)
        self.observation_space = self._env.observation_space
        self.action_space = self._env.action_space
        self.action_space.seed(seed + 2)  # as mbrl-lib seeds its environments
        self.steps = 0  # since the environment was made
        self.episodes: list[tuple[int, float]] = []  # (steps when it ended, return) of each
        self._length, self._return = 0, 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """A start close to upright, at rest but for noise; an unfinished episode is forgotten."""
        super().reset(seed=seed)
        obs, info = self._env.reset(seed=seed)
        self._length, self._return = 0, 0.0
        return obs.astype(np.float32), info

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One step with the force `action` [1], limited to -1 ... 1."""
        limited = np.clip(action, self.action_space.low, self.action_space.high)
        obs, paid, terminated, _, info = self._env.step(limited)
        self.steps += 1
        self._length += 1
        self._return += float(paid)
        truncated = not terminated and self._length >= TRIAL
        if terminated or truncated:
            self.episodes.append((self.steps, self._return))
        return obs.astype(np.float32), float(paid), terminated, truncated, info


def steps_to(episodes: Sequence[tuple[int, float]], level: float = SOLVED) -> int | None:
    """How many steps were made when an episode first returned `level`, or None."""
    return next((step for step, value in episodes if value >= level), None)


def run_ours(seed: int, steps: int, until_solved: bool = True) -> Row:
    """Our agent for at most `steps` environment steps; as `run_theirs`."""
    env, begin = CartPole(seed), time.perf_counter()
    plan_times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        system = system_of(env, angles=[2])
        agent = Agent(system, Task(reward, termination), Path(folder), OURS, seed)
        state, _ = env.reset()
        while env.steps < steps and not (until_solved and steps_to(env.episodes)):
            action = agent.act(state)
            plan_times.append(agent.plan_time)
            before = state
            state, paid, terminated, truncated, _ = env.step(action)
            agent.observe(before, action, state, paid, terminated, truncated)
            if terminated or truncated:
                step, value = env.episodes[-1]
                progress(f"ours, seed {seed}: return {value:.0f} at step {step}")
                state, _ = env.reset()
                agent.begin_episode()
        agent.close()
    return _row("ours", seed, env, plan_times, begin)


def _row(agent: str, seed: int, env: CartPole, plan_times: list[float], begin: float) -> Row:
    return {
        "agent": agent,
        "seed": seed,
        "steps_to_200": steps_to(env.episodes) or math.nan,
        "returns": [round(value) for _, value in env.episodes],
        "plan_s": statistics.median(plan_times) if plan_times else math.nan,
        "wall_s": time.perf_counter() - begin,
    }


def run_theirs(seed: int, steps: int, search: Search = REDUCED) -> Row:
    """PETS for at most `steps` environment steps, random ones included; ends when it is solved.

    It sets torch's global seed; how many threads torch uses is up to the caller.

    Returns:
        seed; steps_to_200, the environment steps when an episode first returned 200, or NaN;
        returns, of each finished episode; plan_s, the median of a plan's time in s; wall_s,
        everything's.
    """
    env = CartPole(seed)  # first: it says what is missing
    from mbrl import models, planning
    from mbrl.env import reward_fns, termination_fns
    from mbrl.util import common
    from omegaconf import OmegaConf

    begin = time.perf_counter()
    torch.manual_seed(seed)
    shapes = env.observation_space.shape, env.action_space.shape
    config = OmegaConf.create(_model_config(steps))
    model = common.create_one_dim_tr_model(config, *shapes)
    buffer = common.create_replay_buffer(config, *shapes, rng=np.random.default_rng(seed))
    model_env = models.ModelEnv(
        env,
        model,
        termination_fns.cartpole,
        reward_fns.cartpole,
        generator=torch.Generator().manual_seed(seed),
    )
    agent = planning.create_trajectory_optim_agent_for_model(
        model_env, OmegaConf.create(_agent_config(search)), num_particles=search.particles
    )
    trainer = models.ModelTrainer(model, optim_lr=1e-3, weight_decay=5e-5)
    common.rollout_agent_trajectories(
        env,
        min(TRIAL, steps),
        planning.RandomAgent(env),
        {},
        replay_buffer=buffer,
        trial_length=TRIAL,
    )

    plan_times: list[float] = []
    while env.steps < steps and not steps_to(env.episodes):
        obs, _ = env.reset()
        agent.reset()
        _train(model, trainer, buffer, config)
        done = False
        while not done and env.steps < steps:
            start = time.perf_counter()
            action = agent.act(obs)
            plan_times.append(time.perf_counter() - start)
            next_obs, paid, terminated, truncated, _ = env.step(action)
            buffer.add(obs, action, next_obs, paid, terminated, truncated)
            obs, done = next_obs, terminated or truncated
        if done:
            step, value = env.episodes[-1]
            progress(f"mbrl-lib, seed {seed}: return {value:.0f} at step {step}")
    return _row("mbrl-lib", seed, env, plan_times, begin)


def _train(model: Any, trainer: Any, buffer: Any, config: Any) -> None:
    """All transitions so far, 50 epochs, on top of the weights that there are."""
    from mbrl.util import common

    model.update_normalizer(buffer.get_all())
    train, validation = common.get_basic_buffer_iterators(
        buffer,
        batch_size=config.overrides.model_batch_size,
        val_ratio=config.overrides.validation_ratio,
        ensemble_size=config.dynamics_model.ensemble_size,
        shuffle_each_epoch=True,
        bootstrap_permutes=False,
    )
    trainer.train(train, dataset_val=validation, num_epochs=50, patience=50, silent=True)


def _model_config(steps: int) -> dict[str, Any]:
    # "???" is filled in by mbrl-lib. mbrl-lib also makes the nested objects itself: Hydra 1.0 left
    # them alone, later ones have to be told.
    return {
        "dynamics_model": {
            "_target_": "mbrl.models.GaussianMLP",
            "_recursive_": False,
            "device": "cpu",
            "num_layers": 3,
            "ensemble_size": 5,
            "hid_size": 200,
            "in_size": "???",
            "out_size": "???",
            "deterministic": False,
            "propagation_method": "fixed_model",
            "activation_fn_cfg": {"_target_": "torch.nn.LeakyReLU", "negative_slope": 0.01},
        },
        "algorithm": {"learned_rewards": False, "target_is_delta": True, "normalize": True},
        "overrides": {
            "trial_length": TRIAL,
            "num_steps": steps,  # what the buffer holds
            "model_batch_size": 32,
            "validation_ratio": 0.05,
        },
    }


def _agent_config(search: Search) -> dict[str, Any]:
    return {
        "_target_": "mbrl.planning.TrajectoryOptimizerAgent",
        "_recursive_": False,
        "planning_horizon": 15,
        "replan_freq": 1,
        "verbose": False,
        "action_lb": "???",
        "action_ub": "???",
        "optimizer_cfg": {
            "_target_": "mbrl.planning.CEMOptimizer",
            "num_iterations": search.iterations,
            "elite_ratio": 0.1,
            "population_size": search.samples,
            "alpha": 0.1,
            "device": "cpu",
            "lower_bound": "???",
            "upper_bound": "???",
            "return_mean_elites": True,
            "clipped_normal": False,
        },
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mbrl_lib",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--steps", type=int, default=1000, help="of the environment, each seed")
    parser.add_argument("--full", action="store_true", help="the search of mbrl-lib's notebook")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="one seed, 220 steps: does it run?")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.steps = 1, TRIAL + 20
    torch.set_num_threads(1)
    search = NOTEBOOK if options.full else REDUCED
    rows, summary = [], {}
    try:
        for seed in range(options.seeds):  # in turns, so that other load on the machine hits both
            rows += [run_theirs(seed, options.steps, search), run_ours(seed, options.steps)]
    except ImportError as error:
        raise SystemExit(str(error)) from error
    for agent in ("mbrl-lib", "ours"):
        of_agent = [row for row in rows if row["agent"] == agent]
        steps = [row["steps_to_200"] for row in of_agent]
        steps = [math.inf if math.isnan(x) else x for x in steps]
        summary[agent] = {
            "solved": sum(map(math.isfinite, steps)),
            "median_steps_to_200": statistics.median(steps),
            "worst_steps_to_200": max(steps),
            "plan_s": statistics.median(row["plan_s"] for row in of_agent),
        }
    report("Environment steps to a return of 200", rows, summary, options.json)


if __name__ == "__main__":
    main()
