"""Pieces of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; what is in a cell stays in it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def code(text: object) -> str:
    """In the type of code; nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def page(title: str, intro: str, parts: Iterable[str]) -> str:
    """A page of the reference, with the remark that it is generated."""
    made = "Made from the code by `python -m scripts.reference`: not to be edited by hand."
    return "\n\n".join([f"# {title}", made, intro, *parts]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
