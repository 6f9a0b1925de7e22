"""A film of each robot that has learned its task: docs/robots/ROBOT.gif, for the documentation.

The robot learns in the library, without ROS, until it has done its task or the time is over; then
it goes on for some seconds, and those are filmed.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import progress
from benchmarks.robots import ROBOTS
from mbrl_node.agent import Agent
from mbrl_node.agent.settings import config_from, merged, settings_of
from mbrl_node.spec import RobotSpec, load_spec
from mbrl_node.spec.task import Task
from sim.env import RobotEnv

SIZE = 320, 240  # pixels
FRAMES = 12.5  # a second

Frame = NDArray[np.uint8]  # [height, width, 3]


def film(spec: RobotSpec, seed: int, learning: float, filmed: float) -> list[Frame]:
    """What a robot does after it has learned.

    Args:
        learning: s of robot time, at most.
        filmed: s of robot time.
    """
    env, frames = RobotEnv(spec, render_mode="rgb_array"), []
    config = config_from(merged({"model": {"history": 2}}, settings_of(spec)))
    with tempfile.TemporaryDirectory() as folder:
        agent = Agent(spec, Task.of(spec), Path(folder), config, seed)
        state, _ = env.reset(seed=seed)
        begin: int | None = None  # of the film
        for k in range(round((learning + filmed) * spec.rate)):
            learned = not math.isnan(env.goals.solved_at) or k >= learning * spec.rate
            if begin is None and learned:
                begin = k
                progress(f"{spec.name}: filmed after {k * spec.dt:.0f} s")
            if begin is not None:
                if (k - begin) * spec.dt >= filmed:
                    break
                if len(frames) <= (k - begin) * spec.dt * FRAMES:
                    frames.append(env.picture(*SIZE))
            action = agent.act(state)
            following, reward, terminated, truncated, _ = env.step(action)
            agent.observe(state, action, following, reward, terminated, truncated)
            state = following
            if (terminated or truncated) and spec.episode.resets:
                state, _ = env.reset()
                agent.begin_episode()
        agent.close()
    env.close()
    return frames


def write(path: Path, frames: list[Frame]) -> None:
    """An endless GIF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    palette = "split[a][b];[a]palettegen=max_colors=64[p];[b][p]paletteuse=dither=none"
    writer = imageio_ffmpeg.write_frames(
        str(path),
        SIZE,
        fps=FRAMES,
        codec="gif",
        pix_fmt_out="pal8",
        macro_block_size=1,
        output_params=["-filter_complex", palette, "-loop", "0"],
    )
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--robots", nargs="+", default=list(ROBOTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning", type=float, default=60.0, help="s of robot time, at most")
    parser.add_argument("--filmed", type=float, default=8.0, help="s of robot time")
    parser.add_argument("--folder", type=Path, default=Path("docs/robots"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    for robot in args.robots:
        path = args.folder / f"{robot}.gif"
        write(path, film(load_spec(robot), args.seed, args.learning, args.filmed))
        progress(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
