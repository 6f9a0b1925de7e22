"""docs/reference is what the code says now."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RENEW = "docs/reference is not what the code says: run `python -m scripts.reference` to renew it"


def test_the_reference_is_what_the_code_says(tmp_path):
    pytest.importorskip("rclpy")
    done = subprocess.run(
        [sys.executable, "-m", "scripts.reference", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    now = {path.name: path.read_text() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text() for path in (ROOT / "docs" / "reference").iterdir()}
    assert now.keys() == kept.keys(), RENEW
    for name in now:
        assert now[name].splitlines() == kept[name].splitlines(), f"{name}: {RENEW}"
