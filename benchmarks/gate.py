"""Does a bad model get to drive the robot?

A cart-pole is learned for a minute of robot time in lock-step. Then updates are sabotaged, each
with the trainer and the data of that run, and the gate judges them against the model in use:

shuffled     learned from the data with the changes of state shuffled among the rows
not finite   a weight is NaN
other robot  learned from PILCO's cart-pole, which has other masses and lengths
few          a new model, learned from 10 transitions alone
over-fitted  learned from the newest second alone, thousands of steps

Good updates are those that the same run makes when it goes on. What bypasses the gate is noticed in
use: the launched system is offered such models as if by its learner (`benchmarks.gate_in_use`), and
counted is the time until the controller has gone back to the good one.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from copy import deepcopy
from pathlib import Path

import torch

from benchmarks.gate_in_use import in_use, shuffled
from benchmarks.report import Row, progress, report
from mbrl_node.agent import Agent, AgentConfig
from mbrl_node.data import ReplayBuffer
from mbrl_node.learning import Trainer, TrainerConfig
from mbrl_node.learning.gate import Gate, GateConfig
from mbrl_node.models import WorldModel
from mbrl_node.spec import load_spec
from mbrl_node.spec.system import System
from mbrl_node.spec.task import Task
from sim.env import RobotEnv

KINDS = ("shuffled", "not finite", "other robot", "few", "over-fitted")


class Rehearsal:
    """A robot that is learned in lock-step.

    Args:
        robot: its name or file.
    """

    def __init__(self, robot: str, folder: Path, seed: int) -> None:
        self.spec = load_spec(robot)
        self.env, self.task = RobotEnv(self.spec), Task.of(self.spec)
        self.agent = Agent(self.spec, self.task, folder, AgentConfig(), seed)
        self._state, _ = self.env.reset(seed=seed)

    def go_on(self, seconds: float) -> None:
        """Acts and learns for so much robot time."""
        for _ in range(round(seconds / self.spec.dt)):
            action = self.agent.act(self._state)
            state, reward, terminated, truncated, _ = self.env.step(action)
            self.agent.observe(self._state, action, state, float(reward), terminated, truncated)
            self._state = state
            if terminated or truncated:
                self._state, _ = self.env.reset()
                self.agent.begin_episode()

    def close(self) -> None:
        """Ends it."""
        self.agent.close()
        self.env.close()


def sabotaged(
    kind: str,
    good: WorldModel,
    system: System,
    own: ReplayBuffer,
    other: ReplayBuffer,
    seed: int,
) -> WorldModel:
    """A model to be refused, made from a good one."""
    torch.manual_seed(seed)
    trainer = Trainer(deepcopy(good).requires_grad_(True), TrainerConfig(), seed)
    size = len(own)
    if kind == "not finite":
        with torch.no_grad():
            trainer.model.dynamics.net.weights[seed % 2].view(-1)[seed] = float("nan")
    elif kind == "shuffled":
        trainer.train(shuffled(own, torch.Generator().manual_seed(seed)), 400)
    elif kind == "other robot":
        trainer.train(other, 400)
    elif kind == "few":
        new = WorldModel(system, good.dynamics.config)
        trainer = Trainer(new, TrainerConfig(), seed)
        trainer.train(own, 400, weights=(torch.randperm(size) < 10).float())
    else:
        trainer.train(own, 3000, weights=(torch.arange(size) >= size - 25).float())
    return trainer.model


def judged(seconds: float, trials: int, good_updates: int) -> list[Row]:
    """What the gate says of sabotaged updates, a row a kind, and of good ones.

    Args:
        seconds: of robot time that the run has had before.
        trials: of each kind.
    """
    with tempfile.TemporaryDirectory() as folder:
        progress(f"learning for {seconds:g} s of robot time, on two robots")
        own = Rehearsal("cartpole", Path(folder) / "own", 0)
        other = Rehearsal("cartpole_pilco", Path(folder) / "other", 0)
        own.go_on(seconds)
        other.go_on(min(seconds, 20.0))
        learner, gate = own.agent.learner, Gate(own.task, GateConfig(), own.spec.dt)
        good = deepcopy(learner.model).requires_grad_(False)
        rows = []
        for kind in KINDS:
            verdicts = []
            for seed in range(trials):
                bad = sabotaged(
                    kind, good, own.spec, learner.buffer, other.agent.learner.buffer, seed
                )
                verdicts.append(gate.compare(bad, good, learner.buffer, learner.era))
                progress(f"{kind} {seed}: {verdicts[-1].problem or 'passed'}")
            rows.append(
                {
                    "update": kind,
                    "trials": trials,
                    "refused": sum(bool(v.problem) for v in verdicts),
                    "error": min(v.new.state for v in verdicts),
                    "error_in_use": verdicts[0].old.state,
                }
            )
        begin = learner.progress.accepted + learner.progress.refused
        before = learner.progress.refused
        while (made := learner.progress.accepted + learner.progress.refused - begin) < good_updates:
            own.go_on(1.0)
        refused = learner.progress.refused - before
        rows.append(
            {
                "update": "good",
                "trials": made,
                "refused": refused,
                "error": learner.latest.horizon_error if learner.latest else math.nan,
                "error_in_use": verdicts[0].old.state,
            }
        )
        own.close()
        other.close()
    return rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="one of each, and two in use")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds, trials, updates = (15.0, 1, 5) if options.quick else (60.0, 4, 20)
    rows = judged(seconds, trials, updates)
    used, noticed = in_use(2 if options.quick else 7)
    sabotage, good = rows[:-1], rows[-1]
    summary = {
        "sabotaged": sum(row["trials"] for row in sabotage),
        "sabotaged_refused": sum(row["refused"] for row in sabotage),
        "good": good["trials"],
        "good_accepted": good["trials"] - good["refused"],
        **noticed,
    }
    report("Updates before the gate, and in use", [*rows, *used], summary, options.json)


if __name__ == "__main__":
    main()
