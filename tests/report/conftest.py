"""A run of the launched system, filmed, and one of the library."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from mbrl_node.data import RunStore, StoreError, Timeline
from mbrl_node.spec import load_spec

PATIENCE = 90.0  # s of wall time for anything awaited: how slow a machine may be, not how fast

MOVED = 4.0  # s of robot time, at least


@dataclass
class Launched:
    """A run that is over."""

    folder: Path
    during: dict  # its report, made while it went on
    moved: float  # s of robot time
    lasted: float  # s of wall time


@pytest.fixture(scope="session")
def launched_run(tmp_path_factory):
    """Ended as by Ctrl-C when it had learned something."""
    pytest.importorskip("mbrl_msgs.msg")
    from benchmarks.launching import launched
    from mbrl_node.report import report

    folder = tmp_path_factory.mktemp("launched")
    run, begin = folder / "run", time.monotonic()
    domain = int(os.environ["ROS_DOMAIN_ID"]) + 1
    with launched(folder / "log", domain, run_dir=run, record="true", seed=1) as process:
        wait_until(process, lambda: moved(run) >= MOVED and versions(run))
        during = report(run, load_spec("cartpole"), folder / "during.html")
        then = moved(run) + 2.0
        wait_until(process, lambda: moved(run) >= then)  # the second's figures are told
    return Launched(run, during, moved(run), time.monotonic() - begin)


def wait_until(process, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


def moved(run):
    """Robot time so far, s."""
    return Timeline(stored(run, RunStore.episodes)).duration


def versions(run):
    return stored(run, RunStore.versions)


def stored(run, what):
    try:
        store = RunStore(run / "transitions.db", read_only=True)
    except StoreError:  # it is not there yet
        return []
    found = what(store)
    store.close()
    return found


@pytest.fixture(scope="session")
def library_run(tmp_path_factory):
    """The folder of a robot's run without ROS, in episodes of 2 s."""
    from mbrl_node.agent import train

    folder = tmp_path_factory.mktemp("library")
    run_dir, robot = folder / "a <run> & more", folder / "cartpole.yaml"
    text = load_spec("cartpole").path.read_text()
    robot.write_text(
        text.replace("length: 30.0 ", "length: 2.0 ").replace("hold_time: 5", "hold_time: 1")
    )
    settings = {
        "model": {"members": 2, "hidden": [16, 16]},
        "mppi": {"samples": 10, "horizon": 0.2},
        "learner": {"period": 1.0, "gradient_steps": 5},
    }
    train(
        "sim:mbrl/Cartpole-v0", 120, 0, run_dir, config=settings, env_kwargs={"robot": str(robot)}
    )
    return run_dir
