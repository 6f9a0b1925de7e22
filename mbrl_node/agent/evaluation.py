"""How good a run's newest model is: episodes without learning, counted or filmed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mbrl_node.agent.agent import Agent
from mbrl_node.agent.environment import Environment
from mbrl_node.agent.run import RunError, RunInfo, one_thread
from mbrl_node.agent.training import action_of, started, stepped
from mbrl_node.spec.terms import RewardFunction, TerminationFunction

SEED = 1_000_000  # of the first start: none that training has seen
FRAME_RATE = 30  # frames a second of a film, about


@dataclass(frozen=True)
class Episode:
    """One evaluated episode."""

    total: float  # of the rewards: its return
    steps: int
    terminated: bool  # it ended by itself, not for its length


def evaluate(
    run_dir: str | Path,
    episodes: int = 10,
    seed: int = SEED,
    *,
    reward: RewardFunction | str | None = None,
    termination: TerminationFunction | str | None = None,
    device: str = "cpu",
    report: Callable[[], object] = lambda: None,
) -> list[Episode]:
    """Acts with the newest model of a run, and learns nothing.

    Args:
        seed: of the starts.
        reward, termination: as given to `train`; needed where they were given as functions that
            cannot be imported by name.
        report: called after each episode.

    Raises:
        RunError: there is no such run, it has no model yet, or its environment cannot be made.
    """
    seen = []
    with _acting(Path(run_dir), None, reward, termination, device) as (agent, env):
        for k in range(episodes):
            seen.append(_episode(agent, env, seed + k))
            report()
    return seen


def record(
    run_dir: str | Path,
    video: str | Path | None = None,
    episodes: int = 1,
    seed: int = SEED,
    *,
    reward: RewardFunction | str | None = None,
    termination: TerminationFunction | str | None = None,
    device: str = "cpu",
    report: Callable[[], object] = lambda: None,
) -> Path:
    """Like `evaluate`, and films it: an MP4 file in real time.

    Args:
        video: the file; None: `play.mp4` in the run's folder.

    Returns:
        The file written.

    Raises:
        RunError: as `evaluate`; the environment draws no pictures; the file cannot be written.
    """
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # else SDL looks for a display and complains
    run_dir = Path(run_dir)
    path = run_dir / "play.mp4" if video is None else Path(video)
    if path.suffix != ".mp4":
        raise RunError(f"{path}: films are MP4 files: name one that ends in .mp4")
    with _acting(run_dir, "rgb_array", reward, termination, device) as (agent, env):
        every = max(1, round(1 / (agent.system.dt * FRAME_RATE)))
        with _film(path, 1 / (agent.system.dt * every)) as add:
            for k in range(episodes):
                _episode(agent, env, seed + k, lambda step: step % every or add(_picture(env)))
                report()
    return path


@contextmanager
def _acting(
    run_dir: Path,
    render_mode: str | None,
    reward: RewardFunction | str | None,
    termination: TerminationFunction | str | None,
    device: str,
) -> Iterator[tuple[Agent, Environment]]:
    """An agent with a run's newest model, and the environment."""
    info = RunInfo.read(run_dir)
    env = info.make_env(render_mode)
    try:
        system, task = info.parts(env, reward, termination, device)
        agent = info.agent(run_dir, system, task, device, learn=False)
        try:
            if agent.learner.latest is None:
                raise RunError(f"{run_dir}: has no model yet; train it for longer")
            with one_thread():
                yield agent, env
        finally:
            agent.close()
    finally:
        env.close()


def _episode(
    agent: Agent, env: Environment, seed: int, watch: Callable[[int], object] = lambda step: None
) -> Episode:
    """Runs one episode.

    Args:
        watch: called with the number of each step, after the reset with 0.
    """
    state = started(env, seed)
    agent.begin_episode()
    total, steps, terminated, truncated = 0.0, 0, False, False
    watch(0)
    while not (terminated or truncated):
        action = action_of(agent, env, state)
        next_state, paid, terminated, truncated = stepped(env, action)
        agent.observe(state, action, next_state, paid, terminated, truncated)
        state, total, steps = next_state, total + paid, steps + 1
        watch(steps)
    return Episode(total, steps, terminated)


def _picture(env: Environment) -> NDArray[np.uint8]:
    name = env.spec.id if env.spec else str(env)
    try:
        picture = env.render()
    except (gymnasium.error.Error, NotImplementedError) as error:
        raise RunError(f"{name}: cannot be drawn: {error}") from error
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] != 3:
        raise RunError(f"{name}: draws no pictures (render_mode 'rgb_array')")
    return np.ascontiguousarray(picture, np.uint8)


@contextmanager
def _film(path: Path, rate: float) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """A function that adds frames [height, width, 3] to an MP4 file, which is there when all are.

    Raises:
        RunError: the package for it is missing, or the file cannot be written.
    """
    try:
        import imageio_ffmpeg
    except ImportError:
        raise RunError(
            "a film needs a package: `pip install imageio-ffmpeg` (extra `viz`)"
        ) from None
    part = path.with_name(f".{path.name}.part.mp4")
    writer: Any = None

    def add(frame: NDArray[np.uint8]) -> None:
        nonlocal writer
        if writer is None:
            size = frame.shape[1], frame.shape[0]
            # H.264 halves the colours' resolution, so width and height must be even.
            writer = imageio_ffmpeg.write_frames(str(part), size, fps=rate, macro_block_size=2)
            writer.send(None)
        writer.send(frame)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()  # what ffmpeg says when it cannot is a page long
        yield add
        if writer is not None:
            writer.close()
            part.replace(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if writer is not None:
            writer.close()
        with suppress(OSError):
            part.unlink()
