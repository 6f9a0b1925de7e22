"""README.zh.md is README.md in Chinese."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def parts(name: str) -> tuple[list[str], list[int], list[str], list[int]]:
    """Lines of code without their comments, levels of headings, links, and widths of tables."""
    text = (ROOT / name).read_text(encoding="utf-8")
    code = [re.sub(r"\s+# .*", "", line) for line in text.splitlines() if line.startswith("    ")]
    levels = [len(found) for found in re.findall(r"^(#+) ", text, re.MULTILINE)]
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("README")]
    tables = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    return code, levels, sorted(links), tables


def test_both_have_the_same_code_headings_links_and_tables():
    english, chinese = parts("README.md"), parts("README.zh.md")
    for what, here, there in zip(
        ("code", "headings", "links", "tables"), english, chinese, strict=True
    ):
        assert here == there, f"README.zh.md: its {what} are not those of README.md: translate anew"


def test_each_links_to_the_other():
    assert "(README.zh.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(README.md)" in (ROOT / "README.zh.md").read_text(encoding="utf-8")
