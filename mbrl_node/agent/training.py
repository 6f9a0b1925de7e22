"""Learning in a Gymnasium environment, from nothing or on from where a run stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from mbrl_node.agent.agent import Agent, AgentConfig, Array
from mbrl_node.agent.curves import Curves
from mbrl_node.agent.environment import Environment, robot_spec
from mbrl_node.agent.progress import RECENT, Progress
from mbrl_node.agent.run import FILE, RunError, RunInfo, name_of, one_thread, only_learner
from mbrl_node.agent.settings import Settings, config_from, differences, merged, settings_of
from mbrl_node.data import StoreError
from mbrl_node.learning import Update
from mbrl_node.planning import PLANNERS, PlanningError
from mbrl_node.spec.system import Quaternion
from mbrl_node.spec.terms import RewardFunction, TerminationFunction

log = logging.getLogger(__name__)

STEPS = 10_000
# A robot must learn and plan within its period. A simulation waits: an update may be longer and a
# plan look further; but what a second is to a robot is not known of an environment: these are in
# steps, and were found on Pendulum-v1.
HORIZON = 40  # steps that a plan looks ahead
UPDATE_EVERY, GRADIENT_STEPS = 20, 100


@dataclass(frozen=True)
class TrainResult:
    """What came of training."""

    returns: list[float]  # of each finished episode, those of earlier calls too
    run_dir: Path
    agent: Agent  # acts with what it learned, and learns no more
    steps: int  # of the environment, in total


def train(
    env: str | None = None,
    steps: int | None = None,
    seed: int | None = None,
    run_dir: str | Path | None = None,
    *,
    config: AgentConfig | Settings | None = None,
    reward: RewardFunction | str | None = None,
    termination: TerminationFunction | str | None = None,
    angles: Sequence[int] | None = None,
    quaternions: Sequence[Quaternion] | None = None,
    env_kwargs: dict[str, Any] | None = None,
    device: str = "cpu",
    report: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Learns to act in a Gymnasium environment, with a model and by planning.

        result = train("Pendulum-v1", steps=3000, seed=0, run_dir="runs/pendulum")

    All that it learns is in `run_dir`. Called again on the same folder it goes on to `steps` in
    total, also after it was killed; what is not given then is as it was.

    Args:
        env: id of an environment with flat boxes of observations and actions; `module:id` imports
            the module first.
        steps: of the environment, in total; 10,000 if it was never said.
        seed: of everything random; 0 if it was never said.
        run_dir: by default `runs/` and a new name from the environment's and the time.
        config: settings, those that are not the defaults: `{"planner": "icem"}`.
        reward: (state [..., n], action [..., m], next state [..., n]) -> [...], on torch tensors,
            or `module:function`. None: the robot's own, or learned from what the environment pays.
        termination: next state [..., n] -> bool [...]; likewise.
        angles: columns of the observation that are angles, in rad.
        quaternions: columns of x, y, z, w of each orientation.
        env_kwargs: what the environment is made with.
        device: of torch.
        report: called after every step.
        stop: asked after every step; when it says yes, training ends as if it had come to `steps`.

    Raises:
        RunError: the environment cannot be used, or the run in `run_dir` is of something else.
        SettingsError: `config` has unknown keys or values that cannot be used.
    """
    if steps is not None and steps < 1:
        raise RunError(f"steps: {steps} is below 1")
    folder = default_run_dir(env) if run_dir is None else Path(run_dir)
    settings = config.model_dump() if isinstance(config, AgentConfig) else config or {}
    every: dict[str, Any] = {
        "env": env,
        "env_kwargs": env_kwargs,
        "seed": seed,
        "angles": None if angles is None else tuple(angles),
        "quaternions": None if quaternions is None else tuple(quaternions),
        "reward": name_of(reward),
        "termination": name_of(termination),
    }
    given = {key: value for key, value in every.items() if value is not None}
    resumed = (folder / FILE).exists()
    info = _resumed(folder, given, settings) if resumed else _started(given, settings)
    if steps is not None:
        info = info.model_copy(update={"steps": steps})
    world = info.make_env()
    try:
        system, task = info.parts(world, reward, termination, device)
        with one_thread(), only_learner(folder):
            agent = info.agent(folder, system, task, device)
            try:
                info.write(folder)
                returns = [e.total for e in agent.learner.store.episodes() if e.end]
                with Curves(folder, system.dt) as curves:
                    _learn(agent, world, info, returns, curves, report, stop)
                return TrainResult(returns, folder, agent, agent.steps)
            finally:
                agent.close()
    except StoreError as error:
        raise RunError(str(error)) from error
    finally:
        world.close()


def default_run_dir(env: str | None) -> Path:
    """`runs/<environment>-<date>-<time>`, of a folder that is not there yet."""
    name = (env or "run").rpartition(":")[2].replace("/", "-")
    base = Path("runs") / time.strftime(f"{name}-%Y%m%d-%H%M%S")
    path, count = base, 1
    while path.exists():
        count += 1
        path = base.with_name(f"{base.name}-{count}")
    return path


def _started(given: dict[str, Any], settings: Settings) -> RunInfo:
    if "env" not in given:
        raise RunError("there is no such run yet: an environment is needed, such as Pendulum-v1")
    info = RunInfo(steps=STEPS, **given)
    env = info.make_env()
    try:
        spec = robot_spec(env)
        below = settings_of(spec) if spec else _defaults(info.system(env).dt)
    finally:
        env.close()
    return info.model_copy(update={"config": config_from(merged(below, settings))})


def _defaults(dt: float) -> Settings:
    """What differs from the defaults of a robot, in an environment with steps of `dt` s."""
    planners = {name: {"horizon": round(HORIZON * dt, 9)} for name in PLANNERS}
    period = round(UPDATE_EVERY * dt, 9)
    return {**planners, "learner": {"period": period, "gradient_steps": GRADIENT_STEPS}}


def _resumed(folder: Path, given: dict[str, Any], settings: Settings) -> RunInfo:
    """The run that there is, if nothing that is given differs from it."""
    info = RunInfo.read(folder)
    differing = [
        f"{key} is {getattr(info, key)!r}, not {value!r}"
        for key, value in given.items()
        if getattr(info, key) != value
    ]
    differing += differences(info.config, config_from(merged(info.config.model_dump(), settings)))
    if differing:
        raise RunError(
            f"{folder}: holds a run of which {'; '.join(differing)}: leave that out to go on with "
            "it, or choose another run folder"
        )
    return info


def _learn(
    agent: Agent,
    env: Environment,
    info: RunInfo,
    returns: list[float],
    curves: Curves,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> None:
    """Acts and learns until the run has its steps; adds to `returns`."""
    begin, latest, nothing = time.monotonic(), agent.learner.latest, float("nan")
    # A run that goes on must not meet the same starts again.
    state = started(env, seed=info.seed + agent.steps)
    total = 0.0
    plans: list[float] = []
    while agent.steps < info.steps and not stop():
        action = action_of(agent, env, state)
        plans.append(agent.plan_time)
        next_state, paid, terminated, truncated = stepped(env, action)
        total += paid
        update = _observed(agent, state, action, next_state, paid, terminated, truncated)
        state = next_state
        if update is not None:
            latest = update
            curves.update(update, agent.steps)
        if over := terminated or truncated:
            returns.append(total)
            curves.episode(total, fmean(plans), agent.steps)
        report(
            Progress(
                agent.steps,
                info.steps,
                len(returns),
                returns[-1] if returns else nothing,
                fmean(returns[-RECENT:]) if returns else nothing,
                latest.version if latest else 0,
                latest.held_out_error if latest else nothing,
                latest.gradient_steps / latest.train_time if latest else nothing,
                fmean(plans),
                time.monotonic() - begin,
            )
        )
        if over:
            state = started(env)
            agent.begin_episode()
            total, plans = 0.0, []


def started(env: Environment, seed: int | None = None) -> Array:
    """The state that an episode begins in; a seed makes all that is random in it repeatable."""
    if seed is not None:
        env.action_space.seed(seed)
    return np.array(env.reset(seed=seed)[0], np.float64)


def stepped(env: Environment, action: Array) -> tuple[Array, float, bool, bool]:
    """Next state, reward, terminated and truncated of a step."""
    state, paid, terminated, truncated, _ = env.step(action)
    # A copy: an environment may give the same array each time.
    return np.array(state, np.float64), float(paid), bool(terminated), bool(truncated)


def action_of(agent: Agent, env: Environment, state: Array) -> Array:
    """What the agent does, as the environment takes it; where there is no plan, any action."""
    try:
        action = agent.act(state)
    except PlanningError as error:
        log.warning("a random action instead of a plan: %s", error)
        action = env.action_space.sample()
    result: Array = action.astype(env.action_space.dtype)
    return result


def _observed(agent: Agent, *what: Any) -> Update | None:
    """Lets the agent learn; that one update fails does not end the run."""
    try:
        return agent.observe(*what)
    except FloatingPointError as error:
        log.warning("the model stays as it was: %s", error)
        return None
