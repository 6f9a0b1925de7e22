"""A bad model in use: the controller goes back by itself, and because it is told to.

The tests of the real process share one and run in order.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from mbrl_msgs.msg import ControllerStatus, Event, ModelUpdate
from std_srvs.srv import Trigger

from mbrl_node.control import Observation, PolicyController
from mbrl_node.control.model_watch import Happened
from mbrl_node.control.return_watch import Fall
from mbrl_node.models import ModelConfig, PolicyConfig, WorldModel, save_checkpoint
from mbrl_node.models.checkpoint import checkpoint_path
from mbrl_node.ros.model_intake import ModelIntake
from mbrl_node.ros.qos import EVENTS, LATEST
from mbrl_node.spec import load_spec

from .driven import NODE, Driven, write_robot


class Told:
    """What the node says, and who offers it models."""

    def __init__(self, driven: Driven, folder: Path) -> None:
        self.driven, self.folder = driven, folder
        self.status: list[ControllerStatus] = []
        self.events: list[Event] = []
        self.model: list[DiagnosticStatus] = []
        node = driven.node
        node.create_subscription(ControllerStatus, f"{NODE}/status", self.status.append, 10)
        node.create_subscription(Event, f"{NODE}/events", self.events.append, EVENTS)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._offers = node.create_publisher(ModelUpdate, "/mbrl_learner/model", LATEST)
        driven.wait_for(self._offers.get_subscription_count, "listening to models")

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        self.model += [status for status in msg.status if status.name.endswith(": model")]

    def offer(self, version: int, change: float = 0.0) -> None:
        """Offers a model that says how the state changes in a period, as a learner would."""
        self.publish(version, write(self.folder, version, change))

    def publish(self, version: int, path: Path) -> None:
        robot = load_spec(str(self.folder / "slow_pole.yaml"))
        self._offers.publish(
            ModelUpdate(version=version, path=str(path), spec_hash=robot.hash, held_out_error=0.01)
        )

    def wait_for_status(self, **fields: object) -> None:
        begin = len(self.status)
        self.driven.wait_for(
            lambda: any(
                all(getattr(s, name) == value for name, value in fields.items())
                for s in self.status[begin:]
            ),
            f"a status with {fields}",
        )

    @property
    def rollbacks(self) -> list[Event]:
        return [event for event in self.events if event.kind == "rollback"]


def write(folder: Path, version: int, change: float, policy: PolicyConfig | None = None) -> Path:
    robot = load_spec(str(folder / "slow_pole.yaml"))
    world = WorldModel(robot, ModelConfig(members=2), policy=policy)
    weight, bias = world.dynamics.net.weights[-1], world.dynamics.net.biases[-1]
    weight.data.zero_()
    bias.data.fill_(0.0)
    bias.data[..., : world.dynamics.geometry.difference_dim] = change
    world.dynamics.delta_std.fill_(0.1)
    path = checkpoint_path(folder / "run" / "models", version)
    facts: dict[str, object] = {"version": version, "held_out_error": 0.01, "transitions": 1000}
    save_checkpoint(world, path, facts)
    return path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("rollback")
    robot = write_robot(folder)
    write(folder, 1, 0.0)  # as it is: the robot stands
    driven = Driven(robot, run_dir=str(folder / "run"), mppi__samples=20)
    yield Told(driven, folder)
    driven.close()


def test_the_first_model_becomes_the_good_one(told):
    told.wait_for_status(model_version=1, good_model_version=1, rollbacks=0)
    assert told.status[-1].prediction_error == pytest.approx(0.0, abs=1e-3)


def test_a_bad_model_is_rolled_back_and_said_so_in_every_way(told):
    told.offer(2, change=5.0)
    line = told.driven.wait_for_line("model 2 rolled back to 1: it would have predicted the last")
    assert "[WARN]" in line and line.rstrip().endswith("times worse")
    told.wait_for_status(model_version=1, good_model_version=1, rollbacks=1)
    told.driven.wait_for(lambda: told.rollbacks, "an event")
    (event,) = told.rollbacks
    assert event.subject == "2 1" and event.text in line
    told.driven.wait_for(
        lambda: any(
            s.level == DiagnosticStatus.WARN and s.message.startswith("rolled back to version 1")
            for s in told.model
        ),
        "a warning on /diagnostics",
    )
    assert told.driven.wait_for_line("rollbacks 1")


def test_it_is_not_taken_again_and_a_newer_one_is(told):
    told.offer(2, change=0.0)
    told.offer(3)
    told.wait_for_status(model_version=3)
    told.wait_for_status(model_version=3, good_model_version=3)
    assert len(told.rollbacks) == 1 and 2 not in {s.model_version for s in told.status[-2:]}


def test_an_operator_goes_back_as_far_as_there_are_good_versions(told):
    answer = told.driven.call(Trigger, "rollback")
    assert (answer.success, answer.message) == (True, "model 3 rolled back to 1")
    told.wait_for_status(model_version=1, good_model_version=1, rollbacks=1)
    told.driven.wait_for(lambda: len(told.rollbacks) == 2, "an event")
    assert told.rollbacks[-1].subject == "3 1"
    assert told.rollbacks[-1].text == "an operator wanted it"
    answer = told.driven.call(Trigger, "rollback")
    assert (answer.success, answer.message) == (False, "there is no good version before model 1")
    assert len(told.rollbacks) == 2


def test_a_model_that_cannot_be_used_is_an_event(told):
    path = write(told.folder, 4, 0.0)
    path.write_bytes(b"torn")
    told.publish(4, path)
    told.driven.wait_for(lambda: [e for e in told.events if e.kind == "model"], "an event")
    (event,) = [e for e in told.events if e.kind == "model"]
    assert event.subject == "4" and "cannot be read as a model" in event.text


def test_control_went_on_all_the_time(told):
    told.driven.wait_for_commands(5)
    assert told.status[-1].fallbacks == 0 and "Traceback" not in told.driven.text


# Where plans are made in place, as in lock-step.


class Stands:
    """Models of a robot that stands, and a policy that acts by them."""

    def __init__(self, folder: Path) -> None:
        write_robot(folder)
        self._folder, self._ticks = folder, 0
        self.spec = load_spec(str(folder / "slow_pole.yaml"))
        self.policy = PolicyController("policy")
        controllers = {"policy": self.policy}
        self.intake = ModelIntake(self.spec, torch.device("cpu"), lambda: dict(controllers), None)
        self.events: list[tuple[str, str, str]] = []
        self.intake.say = lambda *event: self.events.append(event)

    def take(self, version: int, change: float = 0.0) -> None:
        torch.manual_seed(version)
        path = write(self._folder, version, change, PolicyConfig())
        msg = ModelUpdate(version=version, path=str(path), spec_hash=self.spec.hash)
        self.intake.take(msg)

    def stand(self, steps: int = 26, state: float = 0.0) -> None:
        for _ in range(steps):
            times = self.spec.dt * np.array([self._ticks, self._ticks + 1.0])
            states = np.array([[0.0] * 4, [state] * 4])
            self.intake.watch.judge(Happened(times, states, np.zeros((1, 1))))
            self._ticks += 1

    def acts_by(self) -> int:
        self.policy.update(Observation(0, 0, np.zeros(4)), np.zeros(1))
        return self.policy.model_version


@pytest.fixture
def stands(tmp_path: Path) -> Stands:
    return Stands(tmp_path)


def test_policies_go_back_too(stands):
    stands.take(1)
    stands.stand()
    stands.take(2, change=5.0)
    assert stands.acts_by() == 2 == stands.intake.version
    stands.stand(1)
    assert stands.acts_by() == 1 == stands.intake.version and stands.intake.rollbacks == 1
    late = PolicyController("late")
    stands.intake.equip(late)
    late.update(Observation(0, 0, np.zeros(4)), np.zeros(1))
    assert late.model_version == 1
    ((kind, subject, _),) = stands.events
    assert (kind, subject) == ("rollback", "2 1")


def test_a_fall_of_the_reward_is_put_down_to_the_version_that_acts(stands):
    for version in (1, 2, 3):
        stands.take(version)
        stands.stand()
    stands.intake.blame(Fall(0.98, 0.3, 2.9, version=3, good=1))
    assert stands.acts_by() == 1 == stands.intake.version == stands.intake.good_version
    text = "the reward of a step fell from 0.98 to 0.3 within 2.9 s"
    assert stands.events == [("rollback", "3 1", text)] and stands.intake.rollbacks == 1


def test_a_robot_that_has_changed_is_not_put_down_to_the_version_that_has_learned_it(
    stands, caplog
):
    logging.getLogger("mbrl_node").propagate = True
    stands.take(1)
    stands.stand()
    stands.take(2, change=1.0)  # in standard deviations, which are 0.1
    stands.intake.watch._steps = []
    stands.stand(5, state=0.1)
    stands.stand(10, state=0.1)
    assert stands.intake.version == 2
    stands.intake.blame(Fall(0.98, 0.3, 2.9, version=2, good=1))
    assert stands.intake.version == 2 and not stands.events
    assert "model 2 predicts the last" in caplog.text and "better than 1" in caplog.text


def test_without_a_good_version_a_fall_is_only_said(stands, caplog):
    logging.getLogger("mbrl_node").propagate = True
    stands.take(1)
    stands.intake.blame(Fall(0.98, 0.3, 2.9, version=1, good=0))
    assert stands.intake.version == 1 and not stands.events
    assert "there is no good version before model 1" in caplog.text
