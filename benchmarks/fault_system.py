"""Faults of the clock, of a dry run, and of whole processes of the launched system."""

from __future__ import annotations

import itertools
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_prefix
from mbrl_msgs.msg import Transition
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from benchmarks.fault_rig import LATE, NODE, ControllerRig, Rig
from benchmarks.fault_trial import Fault, Trial
from benchmarks.launching import processes
from mbrl_node.spec import RobotSpec

FAULTS: list[Fault] = []
DRIVER_TIMEOUT = 2.0  # s without a command after which the simulator gives up, alone


class SilentRig(ControllerRig):
    """A controller that commands nothing."""

    def restore(self, controller: str = "") -> None:
        """Nothing is to be restored."""


class EffortRig(Rig):
    """One that also sees the effort that the simulator applies.

    Attributes:
        efforts: the time at which each state came, s since the epoch, and the effort of the cart.
    """

    efforts: list[tuple[float, float]]

    def _prepare(self) -> None:
        self.efforts = []

        def on_state(msg: JointState, info: dict[str, Any]) -> None:
            self.efforts.append((info["received_timestamp"] * 1e-9, msg.effort[0]))

        self.node.create_subscription(JointState, self.spec.state[0].topic, on_state, 100)


class SimulatorRig(EffortRig):
    """The simulator's process, commanded by this one."""

    def __init__(self, spec: RobotSpec) -> None:
        command = [f"{get_package_prefix('mbrl')}/lib/mbrl/sim", "--ros-args"]
        for setting in (
            f"robot:={spec.path}",
            "clock:=false",
            f"command_timeout:={DRIVER_TIMEOUT}",
        ):
            command += ["-p", setting]
        super().__init__(spec, command, {"RCUTILS_CONSOLE_OUTPUT_FORMAT": "{message}"})

    def _on_command(self, msg: Float64MultiArray, info: dict[str, Any]) -> None:
        """They are this process's own."""


class LaunchedRig(EffortRig):
    """Simulator, controller and learner, as launched."""

    def __init__(self, spec: RobotSpec, run_dir: Path) -> None:
        self._seen = 0
        command = ["ros2", "launch", "mbrl", "bringup.launch.py", f"robot:={spec.path}"]
        super().__init__(spec, [*command, f"run_dir:={run_dir}"])

    @property
    def disturbed(self) -> bool:
        times = [at for at, _ in self.efforts[self._seen :]]
        return max((b - a for a, b in itertools.pairwise(times)), default=0.0) > LATE

    def restore(self) -> None:
        """It plans with a model, and the robot does as it is commanded.

        A process that was just started is not found by all others at the same moment.
        """
        self._seen, begin = len(self.efforts), time.time()
        self.wait(
            lambda: any(a > begin and t.controller == "mppi" for a, t in self.transitions[-5:]),
            "planning",
        )
        self.wait(
            lambda: any(at > begin and effort for at, effort in self.efforts[-5:]),
            "a state of the robot with a planned effort",
        )

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Sends a signal to one of the processes, that has to be there."""
        os.kill(int(processes(self.process.pid)[name].name), number)


# The clock that paces control in simulation.

clock = Fault.adder(FAULTS, "clock")


@clock("the clock jumps 20 s ahead")
def clock_ahead(trial: Trial, rig: ControllerRig) -> None:
    trial.begin()
    rig.robot.shift_clock(20.0)
    trial.over()
    trial.recovers()
    trial.unharmed("mppi, planning afresh")


@clock("the clock is set back by 10 s")
def clock_back(trial: Trial, rig: ControllerRig) -> None:
    trial.begin()
    rig.robot.shift_clock(-10.0)
    trial.over()
    trial.recovers()
    trial.unharmed("mppi, planning afresh")


@clock("the clock is set back to 0")
def clock_to_zero(trial: Trial, rig: ControllerRig) -> None:
    trial.begin()
    rig.robot.shift_clock(-math.inf)
    trial.over()
    trial.recovers()
    trial.unharmed("mppi, planning afresh")


@clock("the clock stands still")
def clock_pauses(trial: Trial, rig: ControllerRig) -> None:
    with trial.fault(
        lambda: setattr(rig.robot, "paused", True), lambda: setattr(rig.robot, "paused", False)
    ):
        trial.safe("the clock stands still")
    trial.recovers()


# A dry run, and a run that cannot begin.


@Fault.adder(FAULTS, "dry run")("dry run")
def dry_run(trial: Trial, rig: SilentRig) -> None:
    rig.wait(lambda: len(rig.status) >= 3, "the status")
    status = rig.status[-1][1]
    trial.check(status.dry_run and status.ticks > 25, "it ticks")
    trial.check(status.plan_time > 0, "it plans")
    trial.check(not rig.commands.all, "nothing is commanded")
    trial.check(not rig.transitions, "nothing is learned from it")
    trial.commanded("nothing")
    trial.reason(next(line for line in rig.lines if "dry run" in line).split(" | ")[-1])


@Fault.adder(FAULTS, "no model")("no model file is usable and learn is false")
def no_model(trial: Trial, rig: SilentRig) -> None:
    code = rig.process.end()
    trial.check(code == 2, f"the exit code is 2, not {code}")
    errors = [line for line in rig.lines if line.startswith("error: ")]
    trial.check(len(errors) == 1, f"one line says why: {rig.lines}")
    trial.check(not rig.commands.all, "nothing is commanded")
    trial.commanded("nothing")
    trial.reason(errors[0])


# The simulator, as any driver.


@Fault.adder(FAULTS, "simulator")("a driver gets NaN, infinity and wrong sizes, then nothing")
def bad_commands(trial: Trial, rig: SimulatorRig) -> None:
    def command(*values: float) -> None:
        rig.send(rig.spec.action.topic, Float64MultiArray(data=values))

    def effort() -> float:
        return rig.efforts[-1][1] if rig.efforts else math.nan

    def command_until_it_has(value: float, effect: float) -> None:
        def has() -> bool:
            command(value)
            return effort() == effect

        rig.wait(has, f"an effort of {effect} N")

    command_until_it_has(1e9, 5.0)
    command_until_it_has(1.0, 1.0)
    for values in ((math.nan,), (math.inf,), (2.0, 2.0), ()):
        before = len(rig.efforts)
        command(*values)
        rig.wait(lambda before=before: len(rig.efforts) > before + 10, "states")
        trial.check({e for _, e in rig.efforts[before:]} == {1.0}, f"{values} changes nothing")
        command(1.0)
    trial.check(any("command refused" in line for line in rig.lines), "it is said")
    trial.commanded("the good command before")
    trial.begin()
    rig.wait(lambda: effort() == 0.0, "the safe command")
    trial.outcome.safe_after_s = rig.efforts[-1][0] - trial.began
    trial.commanded("safe command")
    trial.says("", "no command for")


# Processes of the launched system.

launched = Fault.adder(FAULTS, "launched")


@launched("the learner gets NaN")
def bad_transition(trial: Trial, rig: LaunchedRig) -> None:
    last = rig.transitions[-1][1]
    trial.begin()
    bad = Transition(session=1, spec_hash=last.spec_hash, reward=math.nan)
    bad.state = bad.next_state = [math.nan] * rig.spec.state_dim
    bad.action = bad.action_requested = [math.nan] * rig.spec.action_dim
    rig.send(f"{NODE}/transitions", bad)
    trial.says("transition 0 refused: ", "")
    trial.unharmed()


@launched("the learner hangs")
def learner_hangs(trial: Trial, rig: LaunchedRig) -> None:
    with trial.fault(
        lambda: rig.kill("learner", signal.SIGSTOP), lambda: rig.kill("learner", signal.SIGCONT)
    ):
        trial.unharmed()
    new_model(trial, rig)


@launched("the learner is killed")
def learner_killed(trial: Trial, rig: LaunchedRig) -> None:
    trial.begin()
    rig.kill("learner")
    trial.over()
    trial.unharmed("mppi with the model before")
    new_model(trial, rig)


def new_model(trial: Trial, rig: LaunchedRig) -> None:
    """The learner is well again."""
    count = len(rig.models)
    rig.wait(lambda: len(rig.models) > count, "a new model")
    trial.outcome.recovered_after_s = time.time() - trial.ended


@launched("the simulator is killed and started again")
def simulator_killed(trial: Trial, rig: LaunchedRig) -> None:
    trial.begin()
    rig.kill("sim")
    trial.over()
    trial.safe("the clock stands still")
    trial.recovers()


@launched("the controller is killed and started again")
def controller_killed(trial: Trial, rig: LaunchedRig) -> None:
    session = rig.transitions[-1][1].session
    trial.begin()
    rig.kill("controller")
    trial.over()
    time.sleep(0.5)  # its last has come; the next process is started after a second
    rig.commands.restart()
    trial.says("", "no command for")
    trial.commanded("nothing (the driver's timeout acts)")

    def safe() -> list[float]:
        return [at for at, effort in list(rig.efforts) if at > trial.began and effort == 0.0]

    rig.wait(safe, "the safe effort")
    trial.outcome.safe_after_s = safe()[0] - trial.began
    rig.wait(
        lambda: any(t.session != session and t.controller == "mppi" for _, t in rig.transitions),
        "planning in a new session",
    )
    trial.outcome.recovered_after_s = time.time() - trial.ended
    trial.commanded("on from the safe command")


@launched("SIGINT to the launch while it runs")
def interrupted(trial: Trial, rig: LaunchedRig) -> None:
    trial.begin()
    rig.process.signal(signal.SIGINT)
    code = rig.process.end()
    trial.check(code == 0, f"the exit code is 0, not {code}")
    trial.left_safe()
    trial.commanded("nothing any more")
