"""The commands of README.md and the pages of docs, as a reader would type them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = (
    "ros2",
    "mbrl",
    "python",
    "pip",
    "ssh",
    "tensorboard",
    "source",
    ".",
    "kill",
    "cpupower",
)
SHELL = ("sh", "bash", "console", "shell")
_CHOOSES = re.compile(r"ros2 (param|lifecycle) set|mbrl switch ")
_INLINE = re.compile(r"`((?:mbrl|python -m|ros2 launch) [^`\n]+)`")


@dataclass(frozen=True)
class Command:
    """A command, as it stands on a page."""

    page: str
    text: str
    inline: bool = False

    @property
    def words(self) -> list[str]:
        """As a shell splits it, without its comment."""
        return shlex.split(self.text, comments=True)

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def commands() -> list[Command]:
    """All commands in blocks, in the order of the pages; then those within the text. Each once,
    but for those that choose who acts: they are needed where they stand on their page."""
    found = [c for page in PAGES for c in _in_blocks(page)]
    found += [
        Command(page.name, text, True)
        for page in PAGES
        for text in _INLINE.findall(page.read_text(encoding="utf-8"))
    ]
    once: dict[tuple[bool, str, str], Command] = {}
    for command in found:
        page = command.page if _CHOOSES.match(command.text) else ""
        once.setdefault((command.inline, page, command.text), command)
    return list(once.values())


def _in_blocks(page: Path) -> list[Command]:
    result = []
    for line in _joined(_block_lines(page.read_text(encoding="utf-8"))):
        text = line.removeprefix("$ ").strip()
        text = re.sub(r"^\. \./setup\.bash && ", "", text)
        text = re.sub(r"  +[^#\"'\s-].*$| +# .*$|  +`.*$", "", text).strip()
        if text.split(" ")[0] in PROGRAMS or re.match(r"[A-Z_]+=\S+ (python|ros2|mbrl)", text):
            result.append(Command(page.name, text))
    return result


def _block_lines(text: str) -> list[str]:
    """The lines of indented blocks, and of fenced ones in a shell's language."""
    lines, fence = [], None
    for line in text.splitlines():
        if found := re.match(r"\s*```(\w*)", line):
            fence = None if fence is not None else found[1]
        elif fence in SHELL:
            lines.append(line)
        elif fence is None and line.startswith("    "):
            lines.append(line[4:])
    return lines


def _joined(lines: list[str]) -> list[str]:
    """Lines that end in a backslash go on in the next."""
    return re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
