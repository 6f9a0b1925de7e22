"""Planning in a process of its own: the same plans, and what happens when it ends."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from mbrl_node.control import Observation, PlanningController
from mbrl_node.control.line import CallError, Line, LineError
from mbrl_node.control.plan_maker import PlanMaker, PlanRequest
from mbrl_node.control.plan_server import make_planner
from mbrl_node.control.planning_process import PlanningProcess
from mbrl_node.models import ModelConfig, WorldModel, load_checkpoint, save_checkpoint
from mbrl_node.planning import PlanningError, Rollout, RolloutConfig
from mbrl_node.planning.mppi import MPPI
from mbrl_node.spec import load_spec
from mbrl_node.spec.task import Task

SPEC = load_spec("cartpole")
MPPI_CONFIG = MPPI.Config(horizon=0.4, samples=20)
FP32 = RolloutConfig(precision="fp32")
PATIENCE = 60.0  # s of wall time for anything awaited


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def request(time: int = 0, show: bool = False) -> PlanRequest:
    return PlanRequest(
        time + 40_000_000,
        time,
        1,
        np.array([[0.1, 3.0, 0.2, -0.3]]),
        np.empty((0, 1)),
        np.array([[1.0]]),
        show,
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "v000001.safetensors"
    model = WorldModel(SPEC, ModelConfig(members=2, hidden=(16,)))
    save_checkpoint(model, path, {"version": 1, "held_out_error": 0.1})
    return path


@pytest.fixture
def process() -> Iterator[PlanningProcess]:
    process = PlanningProcess(SPEC, "cpu", seed=3)
    process.set_rollout(FP32)
    yield process
    process.close()


def test_its_plans_and_what_is_shown_of_them_are_those_made_here(
    process: PlanningProcess, checkpoint: Path
) -> None:
    remote = process.maker("fast", "mppi", MPPI_CONFIG)
    assert remote.history == 0 and remote.horizon == 10
    assert process.load(checkpoint, 7) is False and remote.history == 1
    here = PlanMaker(make_planner("mppi", MPPI_CONFIG, SPEC, "cpu", 3), SPEC.dt)
    model, _ = load_checkpoint(checkpoint, SPEC)
    here.set_model(Rollout(model, Task.of(SPEC), FP32), 7)
    for tick in range(3):
        asked = request(tick * 40_000_000, show=True)
        a, b = (maker.shown(maker.make(asked)) for maker in (remote, here))
        assert (a.time, a.asked, a.model_version, a.effort) == (b.time, b.asked, 7, b.effort)
        assert a.states is not None and b.states is not None and a.candidates is not None
        assert (a.actions == b.actions).all() and (a.states == b.states).all()
        assert b.candidates is not None and (a.candidates.states == b.candidates.states).all()
        assert a.predicted_return == b.predicted_return


def test_settings_count_for_the_next_plan_and_wrong_ones_are_refused(
    process: PlanningProcess, checkpoint: Path
) -> None:
    remote = process.maker("mppi", "mppi", MPPI_CONFIG)
    process.load(checkpoint, 1)
    process.set_planner("mppi", MPPI_CONFIG.model_copy(update={"samples": 7}))
    effort = remote.make(request()).effort
    assert effort is not None and effort.samples == 7
    with pytest.raises(CallError, match="covariance"):
        process.set_planner("mppi", MPPI_CONFIG.model_copy(update={"covariance": (1.0, 2.0)}))


def test_a_model_that_cannot_be_used_is_refused_by_name_and_the_one_before_stays(
    process: PlanningProcess, checkpoint: Path, tmp_path: Path
) -> None:
    remote = process.maker("mppi", "mppi", MPPI_CONFIG)
    process.load(checkpoint, 1)
    broken = tmp_path / "v000002.safetensors"
    broken.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(CallError, match=r"v000002\.safetensors: cannot be read as a model"):
        process.load(broken, 2)
    assert remote.make(request()).model_version == 1


def test_without_a_model_there_is_no_plan(process: PlanningProcess) -> None:
    with pytest.raises(PlanningError, match="there is no model yet"):
        process.maker("mppi", "mppi", MPPI_CONFIG).make(request())


def test_one_that_dies_costs_a_plan_and_the_next_one_knows_what_it_knew(
    process: PlanningProcess, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("mbrl_node").propagate = True
    remote = process.maker("mppi", "mppi", MPPI_CONFIG)
    process.load(checkpoint, 5)
    before = remote.make(request())
    assert process._process is not None
    os.kill(process._process.pid, signal.SIGKILL)
    with pytest.raises(PlanningError, match="the planning process has died"):
        while True:  # what is on its way may still be answered
            remote.make(request())
    after = remote.make(request())
    assert (after.actions == before.actions).all() and after.model_version == 5
    assert "another is started" in caplog.text


def test_a_controller_whose_planning_process_hangs_fails_and_is_closed_in_spite_of_it(
    process: PlanningProcess, checkpoint: Path
) -> None:
    plans: list[object] = []
    controller = PlanningController(
        "mppi", process.maker("mppi", "mppi", MPPI_CONFIG), SPEC.dt, on_plan=plans.append
    )
    process.load(checkpoint, 1)
    controller.activate()

    def tick(k: int) -> None:
        observation = Observation(k * 40_000_000, 0, np.array([0.0, 3.0, 0.0, 0.0]))
        controller.commanded(observation, controller.update(observation, np.zeros(1)))

    tick(0)
    eventually(lambda: plans)
    assert process._process is not None
    os.kill(process._process.pid, signal.SIGSTOP)
    with pytest.raises(PlanningError, match="no plan in time for 5 ticks"):
        for k in range(1, 10):
            tick(k)
    closing = threading.Thread(target=process.close)
    closing.start()
    controller.close()
    closing.join(PATIENCE)
    assert not closing.is_alive()


def test_it_ends_with_the_process_that_started_it(checkpoint: Path) -> None:
    process = PlanningProcess(SPEC, "cpu", seed=0)
    process.load(checkpoint, 1)
    child = process._process
    assert child is not None
    for line in (process._plans, process._settings):
        assert line is not None
        line._socket.close()  # as the end of this process would
    assert child.wait(PATIENCE) == 0
    process.close()


def test_a_line_whose_other_end_is_gone_says_so() -> None:
    import socket

    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises(LineError):
        Line(ours).call("anything", {})
