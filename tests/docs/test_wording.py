"""What docs/debugging.md and docs/choosing.md quote is what the code says and has."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
COMMANDS = ("ros2 ", "mbrl ", "python ", "echo ", "top ")
NAMED = ("debugging.md", "choosing.md")


def quoted(page: str) -> list[str]:
    """What stands in the type of code, within a line."""
    text = re.sub(r"^```.*?^```$", "", (DOCS / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


def said() -> str:
    """All strings of the code, with what is implicitly joined in one piece."""
    files = [f for folder in ("mbrl_node", "sim") for f in (ROOT / folder).rglob("*.py")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return re.sub(r'"\s*\n\s*f?"', "", text)


def test_every_message_that_is_quoted_is_one_of_the_code():
    code = said()
    for line in quoted("debugging.md"):
        if line.startswith(COMMANDS):
            continue
        # Runs of plain words, between numbers, names and whatever else is filled in.
        for run in re.findall(r"[a-z]+(?: [a-z]+){2,}", line):
            assert run in code, f"docs/debugging.md: nothing in the code says '{run}' ({line})"


def test_every_benchmark_is_on_the_page_of_benchmarks():
    modules = [
        file for file in (ROOT / "benchmarks").glob("*.py") if "__main__" in file.read_text()
    ]
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| \[?`(\w+)`", page, re.MULTILINE))
    assert {file.stem for file in modules} == rows


@pytest.mark.parametrize("page", NAMED)
def test_every_parameter_and_field_that_is_named_is_there(page):
    parameters = (DOCS / "reference" / "parameters.md").read_text()
    messages = (DOCS / "reference" / "messages.md").read_text()
    prefixes = set(re.findall(r"`([a-z]\w*)\.\w+` |", parameters))
    fields = {
        name: messages.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
        for name, kind in {"status": "ControllerStatus", "learner_status": "LearnerStatus"}.items()
    }
    for name, field in re.findall(r"\b([a-z]\w*)\.([a-z]\w*)", " ".join(quoted(page))):
        if name in fields:
            assert f"| `{field}` |" in fields[name], f"{page}: there is no {name}.{field}"
        elif name in prefixes:
            assert f"`{name}.{field}`" in parameters, f"{page}: there is no {name}.{field}"
