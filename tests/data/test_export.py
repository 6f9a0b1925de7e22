"""Transitions as files of other programs, read as those read them."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from mbrl_node.data import Records, SessionTask, record_type
from mbrl_node.data.exchange import MissingLibrary
from mbrl_node.data.export import ExportError, episodes, write_minari, write_npz, write_parquet
from mbrl_node.data.records import with_room
from mbrl_node.spec import load_spec
from tests.data.tasks import REACH

SPEC = load_spec("cartpole")


def run(steps=250) -> Records:
    """Two sessions; in the first one an episode ends, and steps are missing in the second one."""
    rng = np.random.default_rng(0)
    records, k = np.zeros(steps, record_type(4, 1)), np.arange(steps)
    states = rng.normal(size=(steps + 1, 4))
    second = k >= 150
    records["session"] = 1 + second
    records["sequence"] = k - 150 * second + 10 * (k >= 200)
    records["episode"] = np.where(second, 1, 1 + k // 100)
    records["step"] = np.where(second, records["sequence"], k % 100)
    records["stamp"], records["next_stamp"] = 40_000_000 * k, 40_000_000 * (k + 1)
    records["state"], records["next_state"] = states[:-1], states[1:]
    records["action"] = rng.uniform(-5, 5, (steps, 1))
    records["action_requested"] = 2 * records["action"]
    records["reward"] = rng.normal(size=steps)
    records["terminated"][99] = True
    records["controller"] = np.where(k < 50, b"random", b"mppi")
    records["model_version"] = k // 10
    return records


def test_npz_has_every_field_and_what_it_is_of(tmp_path):
    records = run()
    write_npz(tmp_path / "run.npz", SPEC, records, {})
    with np.load(tmp_path / "run.npz") as found:
        for name in records.dtype.names:
            assert found[name].dtype == records.dtype[name].base
            assert (found[name] == records[name]).all()
        assert found["state_names"].tolist() == ["x", "theta", "x_dot", "theta_dot"]
        assert found["action_names"].tolist() == ["force"]
        assert (found["robot"], found["spec_hash"], found["dt"]) == ("cartpole", SPEC.hash, SPEC.dt)


def test_parquet_has_a_row_a_transition_and_a_column_a_field(tmp_path, monkeypatch):
    from pyarrow import parquet

    monkeypatch.setattr("mbrl_node.data.export._ROWS", 100)  # of a group, so that there are some
    records = run()
    write_parquet(tmp_path / "run.parquet", SPEC, records, {})
    table = parquet.read_table(tmp_path / "run.parquet")
    assert table.column_names == [
        *("session", "sequence", "episode", "step", "stamp", "next_stamp"),
        *("state.x", "state.theta", "state.x_dot", "state.theta_dot"),
        *("action.force", "action_requested.force"),
        *("next_state.x", "next_state.theta", "next_state.x_dot", "next_state.theta_dot"),
        *("reward", "terminated", "truncated", "controller", "model_version", "task"),
    ]
    assert table.num_rows == len(records)
    for name in ("sequence", "reward", "terminated", "model_version"):
        assert table[name].to_pylist() == records[name].tolist()
    assert table["next_state.theta"].to_pylist() == records["next_state"][:, 1].tolist()
    assert table["controller"].to_pylist()[49:51] == ["random", "mppi"]
    assert table.schema.metadata[b"robot"] == b"cartpole"
    assert table.schema.metadata[b"spec_hash"] == str(SPEC.hash).encode()


TASKS = {
    1: SessionTask.of(REACH),
    2: SessionTask("other", ("speed", "height")),
}


def of_tasks() -> Records:
    """A run of which each session has another task, with other targets."""
    records = with_room(run(), 3)
    k = np.arange(len(records))
    for session, task in TASKS.items():
        mine = records["session"] == session
        for column in range(len(task.targets)):
            records["targets"][mine, column] = 10 * column + k[mine] // 30
    return records


def wanted(name: str) -> np.ndarray:
    """A target by its name, NaN where the task has none of it."""
    records, result = of_tasks(), np.full(250, np.nan)
    for session, task in TASKS.items():
        if name in task.targets:
            mine = records["session"] == session
            result[mine] = records["targets"][mine, task.targets.index(name)]
    return result


def test_targets_of_several_tasks_are_found_by_their_names(tmp_path, monkeypatch):
    import minari
    from pyarrow import parquet

    names = ["goal_x", "goal_z", "speed", "height"]
    values = np.stack([wanted(name) for name in names], 1)
    tasks = ["reach"] * 150 + ["other"] * 100

    write_npz(tmp_path / "run.npz", SPEC, of_tasks(), TASKS)
    with np.load(tmp_path / "run.npz") as found:
        assert found["target_names"].tolist() == names and found["task"].tolist() == tasks
        np.testing.assert_array_equal(found["targets"], values)

    write_parquet(tmp_path / "run.parquet", SPEC, of_tasks(), TASKS)
    table = parquet.read_table(tmp_path / "run.parquet")
    assert table.column_names[-5:] == [*(f"targets.{name}" for name in names), "task"]
    assert table["task"].to_pylist() == tasks
    for name in names:
        np.testing.assert_array_equal(table[f"targets.{name}"].to_numpy(), wanted(name))

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    write_minari("cartpole/run-v0", SPEC, of_tasks(), TASKS)
    dataset = minari.load_dataset("cartpole/run-v0")
    assert dataset.observation_space.shape == (8,)
    assert "theta_dot, goal_x, goal_z, speed, height, actions force" in str(
        dataset.storage.metadata["description"]
    )
    episode = next(iter(dataset.iterate_episodes()))
    np.testing.assert_array_equal(episode.observations[:100, 4:], values[:100])
    np.testing.assert_array_equal(episode.observations[100, 4:], values[99])
    assert (episode.observations[:100, :4] == of_tasks()["state"][:100]).all()


def test_minari_has_the_episodes_without_gaps(tmp_path, monkeypatch):
    import minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    records = run()
    assert write_minari("cartpole/run-v0", SPEC, records, {}) == 4
    dataset = minari.load_dataset("cartpole/run-v0")
    assert (dataset.total_episodes, dataset.total_steps) == (4, 250)
    assert isinstance(dataset.observation_space, gymnasium.spaces.Box)
    assert dataset.action_space.low == -5.0 and dataset.action_space.high == 5.0
    first = 0
    for episode in dataset.iterate_episodes():
        part = records[first : first + len(episode)]
        assert (episode.observations[:-1] == part["state"]).all()
        assert (episode.observations[-1] == part["next_state"][-1]).all()
        assert (episode.actions == part["action"]).all()
        assert (episode.rewards == part["reward"]).all()
        assert (episode.terminations == part["terminated"]).all()
        assert episode.truncations.tolist() == [
            *([False] * (len(part) - 1)),
            not part["terminated"][-1],
        ]
        first += len(part)
    assert first == 250
    assert dataset.storage.metadata["algorithm_name"] == "mppi, random"

    with pytest.raises(ExportError, match=r"cartpole/run-v0: cannot be written: .* already exists"):
        write_minari("cartpole/run-v0", SPEC, records, {})
    assert minari.load_dataset("cartpole/run-v0").total_steps == 250


def test_a_name_that_minari_does_not_take_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(ExportError, match="no name: cannot be written: "):
        write_minari("no name", SPEC, run(), {})
    assert not (tmp_path / "no name").exists()


def test_episodes_are_unbroken_and_each_ends():
    parts = list(episodes(run()))
    assert [len(part) for part in parts] == [100, 50, 50, 50]
    for part in parts:
        assert (part["state"][1:] == part["next_state"][:-1]).all()
        assert part["terminated"][-1] != part["truncated"][-1]
    assert list(episodes(run()[:0])) == []


@pytest.mark.parametrize("write", [write_npz, write_parquet])
def test_what_cannot_be_written_leaves_what_was_there(tmp_path, write):
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(ExportError, match="cannot be written: Is a directory"):
        write(path, SPEC, run(), {})
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ExportError, match="No such file"):
        write(tmp_path / "nowhere" / "file", SPEC, run(), {})


@pytest.mark.parametrize(
    ("library", "write"), [("pyarrow", write_parquet), ("minari", write_minari)]
)
def test_without_the_library_it_is_told_what_to_install(tmp_path, monkeypatch, library, write):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        MissingLibrary, match=rf"{library} is not installed: pip install .*\[data\]"
    ):
        write("x", SPEC, run(), {})


def test_none_of_the_libraries_is_loaded_before_it_is_needed():
    code = (
        "import sys, mbrl_node.commands.exchange, mbrl_node.data.export; "
        "print({'minari', 'pyarrow', 'rosbags'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "set()"
