"""`mbrl export` and `mbrl import`: a run as a bag or another file, and a bag as a run."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from mbrl_node.agent import RunError
from mbrl_node.agent.run import only_learner, system_and_task
from mbrl_node.commands.folders import folders
from mbrl_node.commands.waiting import waiting
from mbrl_node.data import RunStore
from mbrl_node.data.export import write_minari, write_npz, write_parquet
from mbrl_node.spec import load_spec

_DATABASE = "transitions.db"


def export(
    run: Path,
    robot: str | None = None,
    mcap: Path | None = None,
    npz: Path | None = None,
    parquet: Path | None = None,
    minari: str | None = None,
    task: str | None = None,
    as_json: bool = False,
) -> None:
    """Writes a run's transitions in each format that is named.

    Args:
        robot: its name or file, where the run does not tell.
        task: whose topics a bag has; None: the newest session's.

    Raises:
        RunError, StoreError: there is no such run, or nothing to write.
        ExchangeError: it cannot be written.
    """
    if not (mcap or npz or parquet or minari):
        raise RunError("name what to write: --mcap, --npz, --parquet or --minari")
    system, _ = system_and_task(run, robot, task_name=task)
    store = RunStore(run / _DATABASE, system, read_only=True)
    records, tasks = store.records(), store.tasks
    store.close()
    if not len(records):
        raise RunError(f"{run}: has no transitions yet")
    written: list[str] = []
    omitted: list[str] = []
    episodes = None
    with waiting(f"writing {len(records)} transitions"):
        if mcap is not None:
            from mbrl_node.data.bags import write_bag

            omitted += write_bag(mcap, system, records, tasks)
            written.append(str(mcap))
        if npz is not None:
            write_npz(npz, system, records, tasks)
            written.append(str(npz))
        if parquet is not None:
            write_parquet(parquet, system, records, tasks)
            written.append(str(parquet))
        if minari is not None:
            episodes = write_minari(minari, system, records, tasks)
    if as_json:
        facts = {
            "run": str(run),
            "transitions": len(records),
            "written": written,
            "omitted": omitted,
            "minari": minari,
            "minari_episodes": episodes,
        }
        print(json.dumps(facts))
        return
    for line in omitted:
        print(line)
    for path in written:
        print(f"{len(records)} transitions written to {path}")
    if minari is not None:
        where = f"the Minari dataset {minari}, in {episodes} episodes"
        print(f"{len(records)} transitions written to {where}")


def import_bag(
    bag: Path, robot: str, run_dir: Path | None = None, task: str = "", as_json: bool = False
) -> None:
    """Adds the transitions of a bag to a run, and prints what was found.

    Args:
        robot: its name or file.
        run_dir: default: a new one where the launch file makes runs.
        task: what the robot did, its name or file; default: the one in the robot's own file.

    Raises:
        SpecError: the robot or the task is not known, or its file is not valid.
        ExchangeError: the bag cannot be read, or has not what is needed.
        RunError, StoreError: the run is of another robot, is in use, or cannot be written.
    """
    from mbrl_node.data.bags import BagError, read_bag

    spec = load_spec(robot, task=task)
    with waiting(f"reading {bag.name}"):
        found = read_bag(bag, spec)
    for warning in found.warnings:
        print(f"mbrl: warning: {warning}", file=sys.stderr)
    for line in () if as_json else found.report:
        print(line)
    if not len(found.records):
        raise BagError(f"{bag}: gives no transitions of {spec.name}")
    folder = run_dir or folders()[0] / time.strftime(f"{spec.name}-%Y%m%d-%H%M%S")
    with waiting(f"storing {len(found.records)} transitions"), only_learner(folder):
        store = RunStore(folder / _DATABASE, spec)
        new = len(store.add(found.records, found.tasks))
        store.close()
    known = len(found.records) - new
    of_task = f" task:={task}" if task else ""
    launch = f"ros2 launch mbrl bringup.launch.py robot:={robot}{of_task} run_dir:={folder}"
    if as_json:
        facts = {
            "run": str(folder),
            "robot": spec.name,
            "added": new,
            "known": known,
            "report": list(found.report),
            "warnings": list(found.warnings),
            "learn": launch,
        }
        print(json.dumps(facts))
        return
    print(f"{new} transitions added to {folder}" + (f", {known} were there already" * (known > 0)))
    print(f"learn from them:  {launch}")
