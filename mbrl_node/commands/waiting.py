"""A bar while something takes long; on stderr, and only where that is a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn


@contextmanager
def waiting(what: str, total: float | None = None) -> Iterator[Callable[[], None]]:
    """Shows how far something is, and for how long; it is gone when that has ended.

    Args:
        what: that is done, such as `evaluating`.
        total: steps; None: nobody knows, and the bar only moves.

    Yields:
        A function to call after each step, in any thread.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
