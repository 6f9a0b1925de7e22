"""Transitions as files of other programs: NumPy's npz, Parquet, Minari."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mbrl_node.data.exchange import ExchangeError, needs
from mbrl_node.data.records import Records, record_type
from mbrl_node.data.store import SessionTask
from mbrl_node.spec.errors import one_line
from mbrl_node.spec.system import System

_OF_STATE = ("state", "next_state")
_TEXT = ("controller", "task")
_ROWS = 100_000  # of a row group in Parquet


class ExportError(ExchangeError):
    """An export cannot be written; the message names it and says why."""


def write_npz(
    path: Path, system: System, records: Records, tasks: Mapping[int, SessionTask]
) -> None:
    """Each field of the records as an array, [N] or [N, width], the `task` of each, and what they
    are of: `robot`, `spec_hash`, `dt`, `state_names`, `action_names`, `target_names`.

    Args:
        tasks: of the sessions.

    Raises:
        ExportError: it cannot be written; what was there before is left.
    """
    records, target_names = by_target(records, tasks)
    arrays = {name: records[name] for name in records.dtype.names or ()}
    arrays["task"] = _task_names(records, tasks)
    about: dict[str, Any] = {
        "state_names": system.state_names,
        "action_names": system.action_names,
        "target_names": np.array(target_names, np.str_),
    }

    def write(part: Path) -> None:
        with open(part, "wb") as file:
            np.savez_compressed(file, **arrays, **about, **_about(system))

    _replace(path, write)


def write_parquet(
    path: Path, system: System, records: Records, tasks: Mapping[int, SessionTask]
) -> None:
    """One row a transition; of state, action and targets one column a field, such as `state.x`.

    Args:
        tasks: of the sessions.

    Raises:
        ExportError: it cannot be written; what was there before is left.
        MissingLibrary: pyarrow is not installed.
    """
    with needs("pyarrow"):
        import pyarrow
        from pyarrow import parquet

    schema = pyarrow.schema(
        [
            (name, pyarrow.string() if name in _TEXT else pyarrow.from_numpy_dtype(v.dtype))
            for name, v in _columns(system, records[:0], tasks)
        ],
        {key: str(value) for key, value in _about(system).items()},
    )

    def write(part: Path) -> None:
        with parquet.ParquetWriter(part, schema) as writer:
            for start in range(0, max(1, len(records)), _ROWS):
                columns = dict(_columns(system, records[start : start + _ROWS], tasks))
                writer.write_table(pyarrow.table(columns, schema))

    _replace(path, write)


def write_minari(
    name: str, system: System, records: Records, tasks: Mapping[int, SessionTask]
) -> int:
    """A dataset of Minari in its folder, ~/.minari/datasets or what MINARI_DATASETS_PATH says. An
    observation is the state, and after it the targets.

    Args:
        name: of the dataset, such as `cartpole/learned-v0`.
        records: by session and sequence, [N]. Where steps are missing, an episode ends and another
            one begins.
        tasks: of the sessions.

    Returns:
        How many episodes there are.

    Raises:
        ExportError: there is such a dataset already, or it cannot be written.
        MissingLibrary: minari or pyarrow is not installed.
    """
    with needs("minari", "pyarrow"):
        import minari
        import pyarrow  # noqa: F401
        from minari.data_collector import EpisodeBuffer
        from minari.storage.datasets_root_dir import get_dataset_path

    records, target_names = by_target(records, tasks)
    observed, box = (*system.state_names, *target_names), gymnasium.spaces.Box
    buffers = [
        EpisodeBuffer(
            id=number,
            observations=_observations(part),
            actions=part["action"],
            rewards=part["reward"],
            terminations=part["terminated"],
            truncations=part["truncated"],
        )
        for number, part in enumerate(episodes(records))
    ]
    controllers = sorted({text.decode(errors="replace") for text in set(records["controller"])})
    try:
        folder = Path(get_dataset_path(name))
        there = folder.exists()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on what may be left out
            try:
                minari.create_dataset_from_buffers(
                    name,
                    buffers,
                    observation_space=box(-np.inf, np.inf, (len(observed),), np.float64),
                    action_space=box(system.action_min, system.action_max, dtype=np.float64),
                    algorithm_name=", ".join(controllers),
                    description=f"What {system.name} did under mbrl; observations in the order "
                    f"{', '.join(observed)}, actions {', '.join(system.action_names)}.",
                    data_format="arrow",
                )
            except BaseException:
                if not there:
                    shutil.rmtree(folder, ignore_errors=True)
                raise
    except (ValueError, OSError) as error:
        raise ExportError(f"{name}: cannot be written: {one_line(error)}") from error
    return len(buffers)


def episodes(records: Records) -> Iterator[Records]:
    """The unbroken sequences of steps, each of one episode. Each ends terminated or truncated."""
    breaks = np.zeros(max(0, len(records) - 1), bool)
    for name, by in (("session", 0), ("episode", 0), ("sequence", 1)):
        breaks |= records[name][1:] != records[name][:-1] + np.array(by, records.dtype[name])
    for part in np.split(records, np.flatnonzero(breaks) + 1) if len(records) else ():
        part = part.copy()
        part["truncated"][-1] = not part["terminated"][-1]
        yield part


def by_target(
    records: Records, tasks: Mapping[int, SessionTask]
) -> tuple[Records, tuple[str, ...]]:
    """The records with the targets of all tasks, a column for each name, and these names. NaN is
    what a task does not have."""
    names = tuple(dict.fromkeys(name for task in tasks.values() for name in task.targets))
    n, m = records.dtype["state"].shape[0], records.dtype["action"].shape[0]
    result = np.empty(len(records), record_type(n, m, len(names)))
    for name in records.dtype.names or ():
        if name != "targets":
            result[name] = records[name]
    result["targets"] = np.nan
    for session, task in tasks.items():
        mine = records["session"] == session
        for column, name in enumerate(task.targets):
            result["targets"][mine, names.index(name)] = records["targets"][mine, column]
    return result, names


def _task_names(records: Records, tasks: Mapping[int, SessionTask]) -> NDArray[np.str_]:
    """Of each record, [N]."""
    sessions, index = np.unique(records["session"], return_inverse=True)
    names = [tasks[session].task if session in tasks else "" for session in sessions.tolist()]
    return np.array(names, np.str_)[index]


def _observations(episode: Records) -> NDArray[np.float64]:
    """States and targets of N steps, [N + 1, n + t]; the last targets are those before."""
    last = np.concatenate((episode["next_state"], episode["targets"]), 1)[-1:]
    return np.concatenate((np.concatenate((episode["state"], episode["targets"]), 1), last))


def _columns(
    system: System, records: Records, tasks: Mapping[int, SessionTask]
) -> Iterator[tuple[str, Any]]:
    records, target_names = by_target(records, tasks)
    for name in records.dtype.names or ():
        values = records[name]
        if values.ndim == 2:
            fields = system.state_names if name in _OF_STATE else system.action_names
            for column, field in enumerate(target_names if name == "targets" else fields):
                yield f"{name}.{field}", np.ascontiguousarray(values[:, column])
        elif name == "controller":
            yield name, np.char.decode(values, errors="replace")
        else:
            yield name, np.ascontiguousarray(values)
    yield "task", _task_names(records, tasks)


def _about(system: System) -> dict[str, Any]:
    return {"robot": system.name, "spec_hash": system.hash, "dt": system.dt}


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Makes a file whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        os.replace(part, path)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink()
