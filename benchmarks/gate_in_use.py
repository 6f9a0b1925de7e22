"""How soon the controller goes back from a model that gets past every gate.

The launched system learns the cart-pole for 45 s. Then it is launched on that run without a learner
(`learn:=false`), swings the pole up, and while it is held it is offered sabotaged models, one after
the other, as if by its learner:

flipped          the signs of all actions are the wrong way round
shuffled targets learned from the data with the changes of state shuffled among the rows
shuffled weights each layer's weights in another order
noise            weights three times as large, and noise
few              a new one, learned from 10 transitions
not finite       a weight is NaN
other robot      the file of a model of a robot with one joint more

Counted are the seconds until it has gone back to the good model, or has refused the other; the
steps that the robot made with actions of the bad model; and whether the pole left the goal's range
(cos theta > 0.95) within 5 s. After each case it has to hold the pole again for 3 s.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mbrl_msgs.msg import Event, ModelUpdate, Transition

from benchmarks.adapt import Watcher, robot_file
from benchmarks.domains import free_domain
from benchmarks.launching import launched
from benchmarks.report import Row, progress, report
from mbrl_node.data import ReplayBuffer, RunStore
from mbrl_node.learning import Trainer, TrainerConfig
from mbrl_node.models import WorldModel, newest_checkpoint, save_checkpoint
from mbrl_node.models.checkpoint import checkpoint_path
from mbrl_node.ros.qos import EVENTS, LATEST
from mbrl_node.spec import RobotSpec, load_spec
from mbrl_node.spec.system import BoxSystem
from mbrl_node.spec.task import Task

KINDS = (
    *("flipped", "shuffled targets", "not finite", "few", "shuffled weights", "noise"),
    "other robot",
)
LEARNING = 45.0  # s of robot time
HELD, WATCHED, SWING_UP = 3.0, 5.0, 60.0  # s of robot time


class Tempter(Watcher):
    """Offers models, and sees what becomes of them."""

    def __init__(self, spec: RobotSpec, domain: int, launch: subprocess.Popen) -> None:
        super().__init__(spec, domain, launch)
        self.events: list[tuple[float, Event]] = []
        self.acted: list[tuple[float, int]] = []
        self._offers = self._node.create_publisher(ModelUpdate, "/mbrl_learner/model", LATEST)
        self._node.create_subscription(Event, "/mbrl_controller/events", self._on_event, EVENTS)

    def _on_event(self, event: Event) -> None:
        self.events.append((self.now, event))

    def _on_transition(self, message: Transition) -> None:
        super()._on_transition(message)
        self.acted.append((self.now, message.model_version))

    def offer(self, version: int, path: Path, spec: RobotSpec) -> None:
        """As a learner does."""
        self.wait(lambda: self._offers.get_subscription_count() > 0)
        self._offers.publish(
            ModelUpdate(version=version, path=str(path), spec_hash=spec.hash, transitions=1000)
        )

    def verdict(self, version: int) -> tuple[float, Event] | None:
        """When this version was refused or rolled back, and what was said."""
        for at, event in self.events:
            if event.kind in ("model", "rollback") and event.subject.split()[0] == str(version):
                return at, event
        return None


def sabotaged(kind: str, good: WorldModel, buffer: ReplayBuffer, seed: int) -> WorldModel:
    """A bad model, made from a good one and the data it has learned from."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = deepcopy(good).requires_grad_(True)
    net = model.dynamics.net
    with torch.no_grad():
        if kind == "flipped":
            features, actions = model.dynamics.geometry.feature_dim, model.dynamics.action_dim
            for period in net.weights[0].split(features + actions, 1):  # now, and before
                period[:, features:].neg_()
        elif kind == "not finite":
            net.weights[1].view(-1)[0] = math.nan
        elif kind == "shuffled weights":
            for weight in net.weights:
                flat = weight.view(-1)
                flat.copy_(flat[torch.randperm(len(flat), generator=generator)])
        elif kind == "noise":
            for weight in net.weights:
                weight.mul_(3.0).add_(0.1 * torch.randn(weight.shape, generator=generator))
    if kind == "shuffled targets":
        Trainer(model, TrainerConfig(), seed).train(shuffled(buffer, generator), 400)
    return model


def shuffled(buffer: ReplayBuffer, generator: torch.Generator) -> ReplayBuffer:
    """The same, with the changes of state among other rows."""
    mixed = deepcopy(buffer)
    data = mixed.batch()
    before = data.state[:, : data.next_state.shape[1]]
    order = torch.randperm(len(data), generator=generator)
    data.next_state.copy_(before + (data.next_state - before)[order])
    return mixed


def of_case(it: Tempter, kind: str, version: int, path: Path, spec: RobotSpec) -> Row:
    """What comes of one sabotaged model."""
    it.wait(lambda: it.held_for() >= HELD, it.now + SWING_UP)
    begin = it.now
    it.offer(version, path, spec)
    it.wait(lambda: it.verdict(version) is not None, begin + WATCHED)
    verdict = it.verdict(version)
    it.wait(lambda: it.now >= begin + WATCHED)
    fell = any(not holds for at, holds in it.holds if begin < at <= begin + WATCHED)
    again = it.wait(lambda: it.held_for() >= HELD, it.now + SWING_UP)
    return {
        "update": kind,
        "what": "nothing" if verdict is None else _said(verdict[1]),
        "noticed_after_s": math.nan if verdict is None else verdict[0] - begin,
        "steps_driven": sum(v == version for at, v in it.acted if at >= begin),
        "fell": fell,
        "goes_on": again,
    }


def _said(event: Event) -> str:
    return "refused" if event.kind == "model" else "rolled back"


def in_use(count: int = len(KINDS)) -> tuple[list[Row], Row]:
    """The first so many cases, a row each, and their summary."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        robot = robot_file(folder)
        spec = load_spec(str(robot))
        run: dict[str, Any] = {"robot": robot, "seed": 0, "run_dir": folder / "run"}
        progress(f"learning for {LEARNING:g} s of robot time")
        with launched(folder / "learned.log", free_domain(), **run, duration=LEARNING) as launch:
            launch.wait()
        cases = written(folder / "run", folder / "sabotaged", KINDS[:count], spec)
        domain = free_domain()
        rows = []
        with launched(folder / "in_use.log", domain, **run, learn="false") as launch:
            it = Tempter(spec, domain, launch)
            try:
                for kind, version, path in cases:
                    rows.append(of_case(it, kind, version, path, spec))
                    progress(" ".join(f"{k}={v}" for k, v in rows[-1].items()))
            finally:
                it.close()
    noticed = [row["noticed_after_s"] for row in rows if row["what"] != "nothing"]
    return rows, {
        "in_use": len(rows),
        "in_use_noticed": len(noticed),
        "in_use_worst_s": max(noticed, default=math.nan),
        "in_use_steps_driven": sum(row["steps_driven"] for row in rows),
        "in_use_fell": sum(row["fell"] for row in rows),
        "in_use_go_on": sum(row["goes_on"] for row in rows),
    }


def written(
    run_dir: Path, folder: Path, kinds: tuple[str, ...], spec: RobotSpec
) -> list[tuple[str, int, Path]]:
    """Files of sabotaged models, each a version later than the last, made from a run's newest."""
    newest = newest_checkpoint(run_dir / "models", spec)
    assert newest is not None
    _, good, info = newest
    store = RunStore(run_dir / "transitions.db", spec, read_only=True)
    buffer, few = (ReplayBuffer(spec.state_dim, spec.action_dim) for _ in range(2))
    records = store.records()
    buffer.add(records)
    few.add(records[len(records) // 2 :][:10])
    last = max([v.number for v in store.versions()], default=0)
    store.close()
    cases = []
    for seed, kind in enumerate(kinds):
        version = last + 1 + seed
        path = checkpoint_path(folder, version)
        if kind == "other robot":
            names = (*spec.state_names, "one_more"), spec.action_names
            system = BoxSystem(spec.name, spec.dt, *names, spec.action_min, spec.action_max)
            model = WorldModel(system)
        elif kind == "few":
            torch.manual_seed(seed)
            model = WorldModel.for_task(spec, Task.of(spec), good.dynamics.config)
            Trainer(model, TrainerConfig(), seed).train(few, 400)
        else:
            model = sabotaged(kind, good, buffer, seed)
        save_checkpoint(model, path, dict(info) | {"version": version})
        cases.append((kind, version, path))
    return cases


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate_in_use",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="the first two")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, summary = in_use(2 if options.quick else len(KINDS))
    report("Bad models in use", rows, summary, options.json)


if __name__ == "__main__":
    main()
