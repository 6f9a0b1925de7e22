"""Lint, formatting, types and the import contract, each by its own tool over the tree."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

CHECKS = {
    "ruff finds nothing": ["-m", "ruff", "check", "--output-format", "concise", "."],
    "ruff formats nothing": ["-m", "ruff", "format", "--check", "--output-format", "concise", "."],
    "mypy finds nothing": ["-m", "mypy"],
    "imports point one way": [
        "-c",
        "import importlinter.cli as c; c.lint_imports_command()",
        "--no-logo",
    ],
}


@pytest.mark.parametrize("arguments", CHECKS.values(), ids=CHECKS.keys())
def test_the_code_is_clean(arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"\n{result.stdout}{result.stderr}"


def test_the_launch_folder_does_not_shadow_the_launch_package() -> None:
    assert not (ROOT / "launch" / "__init__.py").exists()
