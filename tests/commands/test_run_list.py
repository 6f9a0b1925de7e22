"""`mbrl runs` finds the runs in the folders where they are made by default."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mbrl_node.data import RunStore, Transition, Version, records_of
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole")


def run(folder: Path, transitions: int, written: int) -> None:
    """Written this long after the epoch, in s."""
    store = RunStore(folder / "transitions.db", SPEC)
    numbers = np.zeros(4), np.ones(1), np.ones(1), np.ones(4), 0.5, False, False, "mppi", 0
    steps = [Transition(1, k, 1, k, 0, 1, *numbers) for k in range(transitions)]
    store.add(records_of(steps, 4, 1))
    store.add_version(Version(1, 0, 0, transitions, "accepted", "", {}))
    store.close()
    os.utime(folder / "transitions.db", (written, written))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "mbrl" / "runs"


def test_runs_of_both_folders_are_listed_the_last_written_first(mbrl, home):
    run(home / "old", 3, 10**9)
    run(Path("runs") / "new", 5, 2 * 10**9)
    (home / "no run").mkdir()
    broken = home / "broken" / "transitions.db"
    broken.parent.mkdir()
    broken.write_text("nothing that SQLite would know" * 100)
    os.utime(broken, (5, 5))
    code, out, err = mbrl("runs", "--json")
    assert (code, err) == (0, "")
    new, old, bad = json.loads(out)["runs"]
    assert new == {
        "run": "runs/new",
        "written": 2 * 10**18,
        "robot": "cartpole",
        "tasks": ["swing_up"],
        "transitions": 5,
        "versions": 1,
    }
    assert (old["run"], old["transitions"]) == (str(home / "old"), 3)
    assert "not a database" in bad["problem"]
    code, out, _ = mbrl("runs")
    assert code == 0 and "runs/new" in out and f"{broken}: cannot be used" in out


def test_without_runs_it_says_where_it_looked(mbrl, home):
    assert mbrl("runs") == (0, f"there are no runs in {home} or runs\n", "")
    code, out, _ = mbrl("runs", "--json")
    assert code == 0 and json.loads(out) == {"folders": [str(home), "runs"], "runs": []}
    assert not Path("runs").exists()
