"""`mbrl bench`: the benchmarks of the checkout, listed or run."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from mbrl_node.commands.errors import CommandError
from mbrl_node.spec.errors import did_you_mean

_RUNS = 'if __name__ == "__main__"'  # what sets a benchmark apart from what it uses
_SENTENCE = re.compile(r"(.+?[.?:])(?:\s|$)", re.DOTALL)


def listed(as_json: bool) -> None:
    """Lists what there is.

    Raises:
        CommandError: the checkout is not here.
    """
    found = benchmarks()
    if as_json:
        print(json.dumps({"folder": str(_folder()), "benchmarks": found}))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, about in found.items():
        table.add_row(name, escape(about))
    Console(highlight=False).print(table)
    print("run one:  mbrl bench NAME [its options];  what they are:  mbrl bench NAME --help")


def run(name: str, arguments: Sequence[str]) -> None:
    """Becomes `python -m benchmarks.NAME …` in the checkout; does not come back.

    Raises:
        CommandError: the checkout is not here, or has no such benchmark.
    """
    found = benchmarks()
    if name not in found:
        hint = did_you_mean(name, list(found))
        raise CommandError(f"{name}: no such benchmark{hint}; `mbrl bench` lists them")
    root = _folder().parent
    os.chdir(root)
    given = arguments[1:] if arguments[:1] == ["--"] else arguments
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", f"benchmarks.{name}", *given])


def _folder() -> Path:
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    if not folder.is_dir():
        raise CommandError(
            "the benchmarks are not here: they are in the checkout only, not in what pip installs"
        )
    return folder


def benchmarks() -> dict[str, str]:
    """What each is about, by name."""
    found = {}
    for path in sorted(_folder().glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if _RUNS in text:
            words = " ".join((ast.get_docstring(ast.parse(text)) or "").split())
            sentence = _SENTENCE.match(words)
            found[path.stem] = (sentence[1] if sentence else words).rstrip(".:")
    return found
