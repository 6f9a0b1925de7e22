"""Planning in a process of its own: the same plans, and what happens when it ends."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mbrl_node.control import Observation, PlanningController
from mbrl_node.control.line import CallError, Line, LineError
from mbrl_node.control.loaded_models import LoadedModels
from mbrl_node.control.model_watch import Rollback, RollbackError
from mbrl_node.control.plan_maker import Maker, PlanMaker, PlanRequest
from mbrl_node.control.plan_server import make_planner
from mbrl_node.control.planning_process import PlanningProcess
from mbrl_node.models import ModelConfig, WorldModel, load_checkpoint, save_checkpoint
from mbrl_node.models.checkpoint import checkpoint_path
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
        np.zeros(1),
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
    for tick in range(4):
        asked = request(tick * 40_000_000, show=True)
        if tick == 2:
            asked = replace(asked, limits=np.array([[-0.5], [1.0]]))
        a, b = (maker.shown(maker.make(asked)) for maker in (remote, here))
        assert (a.time, a.asked, a.model_version, a.effort) == (b.time, b.asked, 7, b.effort)
        assert a.states is not None and b.states is not None and a.candidates is not None
        assert (a.actions == b.actions).all() and (a.states == b.states).all()
        assert b.candidates is not None and (a.candidates.states == b.candidates.states).all()
        assert a.predicted_return == b.predicted_return
        assert tick != 2 or (a.actions.min() >= -0.5 and a.actions.max() <= 1.0)


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
    kill(process, remote)
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


# The model in use and the good one.


class Life:
    """A robot that moves as a model says, told of in requests.

    Args:
        folder: of the models; version 1 is right.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.write(1, seed=1)
        self._model, _ = load_checkpoint(self.file(1), SPEC)
        self._states, self._tick = [np.array([0.0, 3.0, 0.0, 0.0])], 0
        self._rng = np.random.default_rng(0)

    def file(self, version: int) -> Path:
        return checkpoint_path(self._folder, version)

    def write(self, version: int, seed: int, blown_up: bool = False) -> Path:
        torch.manual_seed(seed)
        world = WorldModel(SPEC, ModelConfig(members=2, hidden=(16,)))
        world.dynamics.delta_std.fill_(0.1)
        if blown_up:  # finite weights, and predictions that are not
            with torch.no_grad():
                world.dynamics.net.biases[-1].fill_(1e38)
            world.dynamics.delta_std.fill_(100.0)
        facts: dict[str, object] = {"version": version, "held_out_error": 0.1, "transitions": 1000}
        save_checkpoint(world, self.file(version), facts)
        return self.file(version)

    @torch.no_grad()
    def request(self) -> PlanRequest:
        """The robot makes a step, and a plan is asked for."""
        action, before = self._rng.uniform(-5, 5, 1), self._states[-1]
        state, u = (torch.tensor(x, dtype=torch.float32) for x in (before, action))
        after = self._model.dynamics.predict(state.expand(2, 1, -1), u.expand(2, 1, -1))
        self._states.append(after.mean((0, 1)).double().numpy())
        self._tick += 1
        now = self._tick * PERIOD
        return PlanRequest(
            now + PERIOD,
            now,
            1,
            np.stack(self._states[-2:]),
            np.array([SPEC.dt, 0.0]),
            action[None],
            np.zeros((1, 1)),
            False,
        )

    def plans(self, maker: Maker, count: int = 26) -> list[int]:
        """The versions that plans were made with."""
        return [maker.make(self.request()).model_version for _ in range(count)]


PERIOD = round(SPEC.dt * 1e9)


@pytest.fixture
def life(tmp_path: Path) -> Life:
    return Life(tmp_path)


def test_a_bad_model_is_rolled_back_and_not_taken_again(
    process: PlanningProcess, life: Life
) -> None:
    heard: list[Rollback] = []
    process.on_rollback = heard.append
    remote = process.maker("mppi", "mppi", MPPI_CONFIG)
    process.load(life.file(1), 1)
    assert life.plans(remote, 30) == [1] * 30 and process.good_version == 1
    process.load(life.write(2, seed=2), 2)
    assert (process.version, process.good_version) == (2, 1)
    assert life.plans(remote, 1) == [1]  # what happened before is enough to know it
    (rollback,) = heard
    assert (rollback.bad, rollback.good) == (2, 1) and "times worse" in rollback.reason
    assert (process.version, process.refused) == (1, 2)
    assert process.prediction_error < 1e-3
    with pytest.raises(CallError, match="model 2 was rolled back"):
        process.load(life.file(2), 2)
    process.load(life.write(3, seed=1), 3)
    assert life.plans(remote, 30)[-1] == 3 == process.good_version
    assert len(heard) == 1


def test_plans_made_here_go_back_at_the_same_plan_as_those_of_the_process(
    process: PlanningProcess, tmp_path: Path
) -> None:
    went: list[list[tuple[int, int, bytes]]] = []
    for where in ("process", "here"):
        life = Life(tmp_path / where)
        heard: list[Rollback] = []
        maker: Maker
        if where == "process":
            process.on_rollback = heard.append
            maker, load = process.maker("mppi", "mppi", MPPI_CONFIG), process.load
        else:
            models = LoadedModels(SPEC, torch.device("cpu"), heard.append)
            models.set_rollout(FP32)
            load = models.load
            maker = PlanMaker(
                make_planner("mppi", MPPI_CONFIG, SPEC, "cpu", 3), SPEC.dt, models.watch
            )
        load(life.file(1), 1)
        found = []
        for tick in range(60):
            if tick == 40:
                load(life.write(2, seed=2), 2)
            plan = maker.make(life.request())
            found.append((plan.model_version, len(heard), plan.actions.tobytes()))
        went.append(found)
    assert went[0] == went[1] and went[0][-1][1] == 1


def test_a_model_that_gives_no_plan_is_rolled_back_within_that_plan(life: Life) -> None:
    heard: list[Rollback] = []
    models = LoadedModels(SPEC, torch.device("cpu"), heard.append)
    here = PlanMaker(make_planner("mppi", MPPI_CONFIG, SPEC, "cpu", 3), SPEC.dt, models.watch)
    models.load(life.file(1), 1, good=True)
    models.load(life.write(2, seed=2, blown_up=True), 2)
    assert here.make(request()).model_version == 1  # nothing has happened to judge it by
    (rollback,) = heard
    assert rollback.reason.startswith("there was no plan with it: ")
    models.load(life.write(3, seed=3, blown_up=True), 3)
    nowhere = replace(request(), states=np.full((1, 4), np.nan))
    with pytest.raises(PlanningError):
        here.make(nowhere)  # no model is to blame
    assert models.version == 3 and len(heard) == 1


def test_the_next_process_knows_the_good_model_too(process: PlanningProcess, life: Life) -> None:
    heard: list[Rollback] = []
    process.on_rollback = heard.append
    remote = process.maker("mppi", "mppi", MPPI_CONFIG)
    process.load(life.file(1), 1)
    life.plans(remote)
    process.load(life.write(2, seed=2), 2)
    kill(process, remote)
    versions = life.plans(remote)
    assert versions[0] == 2 and versions[-1] == 1  # it has nothing to judge by at first
    assert [(r.bad, r.good) for r in heard] == [(2, 1)]


def test_where_the_good_file_is_gone_the_next_process_goes_on_without_and_says_so(
    process: PlanningProcess, life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("mbrl_node").propagate = True
    remote = process.maker("mppi", "mppi", MPPI_CONFIG)
    process.load(life.file(1), 1)
    life.plans(remote)
    process.load(life.write(2, seed=1), 2)
    life.file(1).unlink()
    kill(process, remote)
    assert set(life.plans(remote, 5)) == {2} and process.good_version == 0
    assert "the good model 1 cannot be loaded again" in caplog.text


def test_where_the_file_in_use_is_gone_the_next_process_uses_the_newest_and_says_so(
    process: PlanningProcess, life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("mbrl_node").propagate = True
    remote = process.maker("mppi", "mppi", MPPI_CONFIG)
    process.load(life.file(1), 1)
    life.file(1).unlink()
    life.write(12, seed=1)
    life.write(13, seed=1).write_bytes(b"torn")
    kill(process, remote)
    assert life.plans(remote, 2) == [12, 12] and process.version == 12
    assert "model 12 is used instead of 1" in caplog.text


def test_an_operator_goes_back_to_the_good_model(process: PlanningProcess, life: Life) -> None:
    remote = process.maker("mppi", "mppi", MPPI_CONFIG)
    with pytest.raises(RollbackError, match="there is no model yet"):
        process.go_back("an operator wanted it")
    process.load(life.file(1), 1)
    life.plans(remote)
    with pytest.raises(RollbackError, match="there is no good version before model 1"):
        process.go_back("an operator wanted it")
    process.load(life.write(2, seed=1), 2)
    assert process.go_back("an operator wanted it") == Rollback(2, 1, "an operator wanted it")
    assert life.plans(remote, 2) == [1, 1] and process.version == 1


def test_a_newer_model_that_comes_during_a_rollback_stays(
    process: PlanningProcess, life: Life
) -> None:
    process.maker("mppi", "mppi", MPPI_CONFIG)
    process.load(life.file(1), 1)
    process.load(life.write(3, seed=1), 3)
    process.hear(
        {"good": 1, "error": 0.0, "rollbacks": [{"bad": 2, "good": 1, "reason": "it was late"}]}
    )
    assert (process.version, process.refused) == (3, 2)


def kill(process: PlanningProcess, remote: Maker) -> None:
    assert process._process is not None
    os.kill(process._process.pid, signal.SIGKILL)
    with pytest.raises(PlanningError, match="the planning process has died"):
        while True:  # what is on its way may still be answered
            remote.make(request())
