"""The examples of docs/data.md, run as they stand there."""

import re
from pathlib import Path

import numpy as np
import pytest

from mbrl_node.data import RunStore, Transition, Version, records_of
from mbrl_node.spec.system import BoxSystem

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
SYSTEM = BoxSystem("toy", 0.1, ("x", "y"), ("u",), np.array([-1.0]), np.array([1.0]))


def test_the_examples_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    numbers = np.zeros(2), np.ones(1), np.ones(1), np.ones(2), 0.5, False, True, "mppi", 0
    store = RunStore(Path("run/transitions.db"), SYSTEM)
    steps = [Transition(1, k, k, 0, 0, 1, *numbers) for k in range(3)]
    store.add(records_of(steps, 2, 1))
    store.add_version(Version(1, 0, 0, 3, "accepted", "refit", {"held_out_error": 0.25}))
    names: dict[str, object] = {}
    text = PAGE.read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(example, names)
    assert names["records"].tobytes() == store.records().tobytes()
    assert names["best"][1] == 0.5 and names["errors"] == [(1, 0.25)]
    assert len(names["buffer"]) == 3


@pytest.mark.parametrize(
    "table", ["run", "session_task", "transition_", "skipped", "episode", "version", "event"]
)
def test_every_column_is_explained(tmp_path, table):
    store = RunStore(tmp_path / "t.db", SYSTEM)
    columns = [row[1] for row in store._db.execute(f"PRAGMA table_info({table})")]
    text = PAGE.read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{table}` \|.*$", text, re.MULTILINE)
    assert columns and all(f"`{column}`" in row for column in columns)
