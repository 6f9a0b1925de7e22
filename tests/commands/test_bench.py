"""`mbrl bench` on the benchmarks of this checkout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from mbrl_node.commands import bench

ROOT = Path(__file__).parents[2]


def test_the_benchmarks_are_listed_with_what_each_is_about(mbrl):
    code, out, _ = mbrl("bench", "--json")
    listed = json.loads(out)
    assert code == 0 and listed["folder"] == str(ROOT / "benchmarks")
    found = listed["benchmarks"]
    assert {"learning", "loop", "first_light"} <= found.keys()
    assert "launching" not in found and "__init__" not in found  # what benchmarks use
    assert all(about and len(about) < 160 for about in found.values())
    code, out, _ = mbrl("bench")
    assert code == 0 and "mbrl bench NAME" in out
    assert all(name in out for name in found)


def test_one_is_run_with_its_own_options(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mbrl_node.cli", "bench", "learning", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--seeds" in done.stdout


def test_a_mistake_is_one_line(mbrl, monkeypatch):
    code, _, err = mbrl("bench", "learnin")
    assert code == 2 and "learnin: no such benchmark; did you mean 'learning'?" in err
    monkeypatch.setattr(bench, "__file__", "/a/b/c/bench.py")
    code, _, err = mbrl("bench")
    assert code == 2 and "they are in the checkout only, not in what pip installs" in err
