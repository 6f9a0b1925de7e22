"""What was found, for people: a table where rich is installed, else plain lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from mbrl_node.commands.doctor.checks import Check, Level

_COLOUR = {"ok": "green", "info": "cyan", "warning": "yellow", "problem": "bold red"}


@contextmanager
def waiting(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar where there is a terminal; call what it gives after each step."""
    try:
        from mbrl_node.commands.waiting import waiting as bar
    except ImportError:
        yield lambda: None
    else:
        with bar(what, total) as advance:
            yield advance


def show(found: Mapping[str, Sequence[Check]], counts: Mapping[Level, int]) -> None:
    """Prints all of it, and how many problems and warnings there are."""
    try:
        _show_table(found)
    except ImportError:
        _show_lines(found)
    bad: tuple[Level, ...] = ("problem", "warning")
    parts = [f"{counts[x]} {x}{'s' * (counts[x] != 1)}" for x in bad if counts[x]]
    print(", ".join(parts) if parts else "all is well")


def _show_table(found: Mapping[str, Sequence[Check]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("level", no_wrap=True)
    table.add_column("name", no_wrap=True)
    table.add_column("text", overflow="fold")
    for group, checks in found.items():
        table.add_row("", f"[bold]{escape(group)}[/bold]", "")
        for check in checks:
            colour = _COLOUR[check.level]
            table.add_row(
                f"[{colour}]{check.level}[/{colour}]", escape(check.name), escape(check.text)
            )
            if check.mend:
                table.add_row("", "", f"[bold]mend:[/bold] {escape(check.mend)}")
    console.print(table)


def _show_lines(found: Mapping[str, Sequence[Check]]) -> None:
    width = max(len(check.name) for checks in found.values() for check in checks)
    for group, checks in found.items():
        print(group)
        for check in checks:
            print(f"{check.level.ljust(8)} {check.name.ljust(width)} {check.text}")
            if check.mend:
                print(f"{' ' * (width + 9)} mend: {check.mend}")
