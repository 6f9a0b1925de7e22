"""What is lost when processes of the launched system are killed by `kill -9` at random moments."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import rclpy
from mbrl_msgs.msg import Acknowledgement, ControllerStatus, Transition
from rclpy.executors import SingleThreadedExecutor

from benchmarks.domains import free_domain
from benchmarks.launching import launched, processes
from benchmarks.report import Row, progress
from mbrl_node.data import RunStore, StoreError
from mbrl_node.ros.qos import ACKNOWLEDGEMENTS, TRANSITIONS
from mbrl_node.ros.stamps import from_time

KINDS: dict[str, tuple[str, ...]] = {
    "learner": ("learner",),
    "controller": ("controller",),
    "both": ("controller", "learner"),
}
PATIENCE = 120.0  # s for anything awaited
ON_THE_WAY = 10  # transitions, of 25 a second and a learner that commits 20 times a second


class Witness:
    """Sees every transition that a launched system publishes.

    Args:
        launch: the process of the launch, the leader of a session.
    """

    def __init__(self, launch: subprocess.Popen[bytes], domain: int, log: Path) -> None:
        self._launch, self._log = launch, log
        self.seen: set[tuple[int, int, int]] = set()  # session, sequence and stamp (ns) of each
        self.newest_session = 0
        self.unacknowledged: list[int] = []
        self.acknowledgements = 0
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context, domain_id=domain)
        self._node = rclpy.create_node("witness", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        acknowledged = "/mbrl_learner/acknowledgement"
        for kind, topic, take, qos in (
            (Transition, "/mbrl_controller/transitions", self._on_transition, TRANSITIONS),
            (ControllerStatus, "/mbrl_controller/status", self._on_status, 10),
            (Acknowledgement, acknowledged, self._on_acknowledgement, ACKNOWLEDGEMENTS),
        ):
            self._node.create_subscription(kind, topic, take, qos)

    def _on_transition(self, msg: Transition) -> None:
        self.seen.add((msg.session, msg.sequence, from_time(msg.stamp)))
        self.newest_session = max(self.newest_session, msg.session)

    def _on_status(self, msg: ControllerStatus) -> None:
        self.unacknowledged.append(msg.unacknowledged)

    def _on_acknowledgement(self, _: Acknowledgement) -> None:
        self.acknowledgements += 1

    def wait(self, condition: Callable[[], object], what: str) -> float:
        """Waits until it holds; how long that took, s."""
        begin = time.monotonic()
        while not condition():
            self._executor.spin_once(timeout_sec=0.05)
            if self._launch.poll() is not None or time.monotonic() > begin + PATIENCE:
                raise SystemExit(f"{what} did not happen:\n{self._log.read_text()[-3000:]}")
        return time.monotonic() - begin

    def look(self, seconds: float) -> None:
        """Sees what comes for so long."""
        until = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= until, "the passing of time")

    def goes_on(self, session: int = 0) -> float:
        """Waits for transitions that were not published before, of a session after that one; how
        long that took, s."""
        count = len(self.seen)
        return self.wait(
            lambda: len(self.seen) > count + 2 and self.newest_session > session, "a transition"
        )

    def pid(self, name: str) -> int | None:
        """Of one of the launched processes."""
        folder = processes(self._launch.pid).get(name)
        return None if folder is None else int(folder.name)

    def kill(self, name: str) -> int:
        """Kills one of the processes, that has to be there; its number."""
        number = self.pid(name)
        if number is None:
            raise SystemExit(f"the {name} is not there:\n{self._log.read_text()[-3000:]}")
        os.kill(number, signal.SIGKILL)
        return number

    def comes_back(self, name: str, killed: int) -> None:
        """Waits for a process in the place of the one that was killed."""
        self.wait(lambda: self.pid(name) not in (None, killed), f"a new {name}")

    def close(self) -> None:
        """Ends the watching."""
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)


def readable(database: Path) -> bool:
    """Whether a run's database is whole, and is read."""
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as db:
            whole = db.execute("PRAGMA quick_check").fetchone()[0] == "ok"
        store = RunStore(database, read_only=True)
        store.records()
        store.close()
    except (StoreError, sqlite3.Error):
        return False
    return whole


def kills(count: int, seed: int = 0) -> tuple[list[Row], Row]:
    """Kills learner, controller, and both in turn; a row a kind, and the summary."""
    draw, domain = random.Random(seed), free_domain()
    rows: dict[str, Row] = {
        kind: {"killed": kind, "times": 0, "longest_until_it_went_on_s": 0.0, "unreadable": 0}
        for kind in KINDS
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log, database = folder / "launch.log", folder / "run" / "transitions.db"
        with launched(log, domain, run_dir=database.parent, use_sim_time="false") as launch:
            it = Witness(launch, domain, log)
            try:
                it.goes_on()
                for number in range(count):
                    kind = list(KINDS)[number % len(KINDS)]
                    if "learner" in KINDS[kind]:  # one that has not stored anything yet is no test
                        it.wait(lambda: it.acknowledgements, "storing")
                    it.look(draw.uniform(0.2, 2.0))
                    killed = {process: it.kill(process) for process in KINDS[kind]}
                    # A controller that was killed has gone on when the next one has.
                    took = it.goes_on(it.newest_session if "controller" in killed else 0)
                    for process, pid in killed.items():
                        it.comes_back(process, pid)
                    if "learner" in killed:
                        it.acknowledgements = 0
                    row = rows[kind]
                    row["times"] += 1
                    longest = max(row["longest_until_it_went_on_s"], took)
                    row["longest_until_it_went_on_s"] = longest
                    row["unreadable"] += not readable(database)
                    progress(
                        f"{number + 1} of {count}: killed {kind}, {len(it.seen)} transitions seen"
                    )
                it.unacknowledged.clear()
                # The newest few are always on their way; the end in good order waits for them.
                it.wait(
                    lambda: len(it.unacknowledged) > 1 and max(it.unacknowledged[-2:]) < ON_THE_WAY,
                    "acknowledgement of everything but the newest, twice",
                )
            finally:
                it.close()
        return list(rows.values()), compared(database, it.seen, rows)


def compared(database: Path, seen: set[tuple[int, int, int]], rows: dict[str, Row]) -> Row:
    """What is in the database beside what was seen."""
    records = RunStore(database, read_only=True).records()
    names = "session", "sequence", "stamp"
    stored = list(zip(*(records[name].tolist() for name in names), strict=True))
    keys = [(session, sequence) for session, sequence, _ in stored]
    # Two ticks may have the same measurement, where the next was late or lost; but no time passes.
    passes = records["next_stamp"] > records["stamp"]
    stamps = [(session, stamp) for session, _, stamp in np.array(stored)[passes].tolist()]
    doubled = sum(n - 1 for each in (keys, stamps) for n in Counter(each).values())
    newest = Counter[int]()
    for session, sequence in keys:
        newest[session] = max(newest[session], sequence)
    gaps = {(session, k) for session, last in newest.items() for k in range(last + 1)} - set(keys)
    missed = {(session, sequence) for session, sequence, _ in seen - set(stored)}
    return {
        "kills": sum(row["times"] for row in rows.values()),
        "sessions": len(newest),
        "transitions": len(keys),
        "lost": len(gaps | missed),
        "doubled": doubled,
        "unreadable": sum(row["unreadable"] for row in rows.values()),
    }
