"""How far training is, and a display of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

RECENT = 10  # episodes of which the mean return is told


@dataclass(frozen=True)
class Progress:
    """Figures after a step; NaN is one that there is none of yet."""

    steps: int  # of the environment, in total
    goal: int  # steps at which it ends
    episodes: int  # that came to their end, in total
    last_return: float
    mean_return: float  # of the last `RECENT` episodes
    version: int  # of the model; 0: none yet
    held_out_error: float  # of it: RMSE over the standard deviation of the change
    train_steps_per_s: float  # gradient steps
    plan_time: float  # s, mean over the episode
    seconds: float  # since training began or went on

    def __str__(self) -> str:
        minutes, seconds = divmod(int(self.seconds), 60)
        parts = [
            f"step {self.steps}/{self.goal}",
            f"episode {self.episodes}",
            f"return {_number(self.last_return, '.1f')}",
            f"last {RECENT}: {_number(self.mean_return, '.1f')}",
            f"model {self.version}",
            f"error {_number(self.held_out_error, '.3f')}",
            f"{_number(self.train_steps_per_s, '.0f')} training steps/s",
            f"plan {1e3 * self.plan_time:.1f} ms",
            f"{minutes}:{seconds:02}",
        ]
        return "  ".join(parts)


class ProgressDisplay:
    """A line for each episode and, on a terminal, one below that is always up to date.

    To be used in a `with` statement.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._episodes: int | None = None

    def update(self, progress: Progress) -> None:
        """Takes up the newest figures."""
        if self._episodes not in (None, progress.episodes):
            # Not wrapped: where this is no terminal, a line is to be one line.
            self._console.print(str(progress), soft_wrap=True, highlight=False)
        self._episodes = progress.episodes
        self._live.update(Text(f"… {progress}"))

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)
