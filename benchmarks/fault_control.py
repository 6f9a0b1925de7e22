"""Faults of controllers and planners, of switches, and of the process itself."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
from std_msgs.msg import Float64MultiArray

from benchmarks.fault_rig import NODE, ControllerRig
from benchmarks.fault_trial import Fault, Trial

FAULTS: list[Fault] = []
add = Fault.adder(FAULTS, "robot")


# Controllers and planners.


def falls_back(name: str, controller: str, what: str, reason: str, quick: bool = False) -> None:
    """Adds a fault of a plugin for which another controller acts."""

    @add(name, quick)
    def fails(trial: Trial, rig: ControllerRig) -> None:
        rig.restore(controller)
        with trial.fault(lambda: rig.cause(what), lambda: rig.cause("")):
            trial.fallback(reason, controller)
        trial.recovers(controller)


def controller_gives(what: str, reason: str, quick: bool = False) -> None:
    falls_back(f"a controller gives {what}", "faulty", what, reason, quick)


controller_gives("NaN", "is not finite", True)
controller_gives("inf", "is not finite")
controller_gives("two values", "an action of 1 values was expected")
controller_gives("nothing", "an action of 1 values was expected")
controller_gives("text", "ValueError")
falls_back("a controller raises", "faulty", "raises", "RuntimeError: index 7 is out of range")
falls_back("a controller is too slow", "faulty", "slow", "deadlines in a row")
falls_back("a controller hangs for 15 periods", "faulty", "hangs", "deadlines in a row")
falls_back("a planner raises", "faulty_planner", "plan raises", "the cost matrix is singular", True)
falls_back("a planner gives NaN", "faulty_planner", "plan NaN", "is not finite")
falls_back("a planner gives an empty plan", "faulty_planner", "plan short", "")


@add("a planner takes 10 periods")
def slow_planner(trial: Trial, rig: ControllerRig) -> None:
    rig.restore("faulty_planner")
    with trial.fault(lambda: rig.cause("plan slow"), lambda: rig.cause("")):
        trial.acts("faulty_planner")
        trial.commanded("the next actions of the last plan")
        trial.fallback("no plan in time for 5 ticks", "faulty_planner")
    trial.recovers("faulty_planner")


@add("a controller gives 1e308 N")
def huge(trial: Trial, rig: ControllerRig) -> None:
    rig.restore("faulty")
    with trial.fault(lambda: rig.cause("huge"), lambda: rig.cause("")):
        trial.unharmed("its limit of 5 N, by the rate and jerk limits", name="faulty")
        trial.check(rig.commands.all[-1][1][0] == 5.0, "the command is at its limit")
    trial.recovers("faulty")


# Switches.


def switch_refused(name: str, controller: str, what: str, reason: str) -> None:
    """Adds a switch that does not happen."""

    @add(name)
    def refused(trial: Trial, rig: ControllerRig) -> None:
        rig.cause(what)
        trial.begin()
        answer = rig.switch(controller, timeout=0.3)
        trial.check(not answer.ok and reason in answer.message, answer.message)
        trial.reason(answer.message)
        trial.unharmed()


switch_refused("switch to an unknown controller", "nobody", "", "no controller 'nobody'")
switch_refused("switch to one without a model", "policy", "", "waits for a model")
switch_refused("switch to one that fails to activate", "faulty", "activate raises", "gripper")
switch_refused("switch to one that hangs as it is activated", "faulty", "activate hangs", "longer")


@add("switch to itself")
def switch_to_itself(trial: Trial, rig: ControllerRig) -> None:
    trial.begin()
    answer = rig.switch("mppi")
    trial.check(answer.ok, answer.message)
    trial.reason(answer.message)
    trial.unharmed()


@add("switch while a plan is being made")
def switch_during_planning(trial: Trial, rig: ControllerRig) -> None:
    rig.restore("faulty_planner")
    rig.cause("plan slow")
    trial.begin()
    time.sleep(0.1)  # it is planning now
    answer = rig.switch("pd")
    trial.check(answer.ok, answer.message)
    trial.reason(answer.message)
    trial.outcome.safe_after_s = trial.acts("pd") - trial.began
    trial.unharmed("pd from the next tick on", name="pd")
    rig.cause("")
    trial.over()
    rig.switch("faulty_planner")
    trial.recovers("faulty_planner")


@add("1,000 random switches in a row")
def many_switches(trial: Trial, rig: ControllerRig) -> None:
    chance, count = random.Random(0), 1000
    able, unable = ["mppi", "cem", "pd", "random", "hold", "teleop", "faulty"], ["policy", "nobody"]
    done = 0
    trial.begin()
    for _ in range(count):
        name = chance.choice(able + unable)
        answer = rig.switch(name)
        trial.check(answer.ok == (name in able), answer.message)
        done += answer.ok
    trial.commanded("the active one's action at each tick")
    trial.reason(f"{done} done, {count - done} refused")
    trial.over()
    rig.switch("mppi")
    trial.recovers()


@add("emergency stop while a switch hangs")
def estop_while_a_switch_hangs(trial: Trial, rig: ControllerRig) -> None:
    rig.cause("activate hangs")
    switch = threading.Thread(target=rig.switch, args=("faulty",))
    switch.start()
    time.sleep(0.3)
    trial.begin()
    rig.trigger("estop")
    trial.check(switch.is_alive(), "the stop need not wait for the switch")
    trial.safe("emergency stop by its service")
    switch.join()
    rig.cause("")
    rig.trigger("release_estop")
    rig.switch("mppi")
    trial.over()
    trial.recovers()


# The process.


@add("emergency stop while inactive; then configured anew and activated")
def estop_while_inactive(trial: Trial, rig: ControllerRig) -> None:
    rig.change_state("deactivate")
    trial.begin()
    rig.trigger("estop")
    for transition in ("cleanup", "configure", "activate"):
        trial.check(rig.change_state(transition), f"{transition} is done")
    trial.safe("emergency stop by its service")
    rig.trigger("release_estop")
    trial.over()
    trial.recovers()


@add("deactivated and activated again")
def lifecycle(trial: Trial, rig: ControllerRig) -> None:
    rig.set_parameter("teleop.timeout", 60.0)
    rig.restore("teleop")
    rig.send(f"{NODE}/teleop", Float64MultiArray(data=[4.0]))
    rig.wait(lambda: rig.commands.all[-1][1][0] == 4.0, "the command")
    trial.begin()
    trial.check(rig.change_state("deactivate"), "it is deactivated")
    trial.left_safe()
    last = len(rig.commands.all)
    time.sleep(0.5)
    trial.check(len(rig.commands.all) == last, "an inactive node commands nothing")
    trial.check(rig.change_state("activate"), "it is activated")
    trial.over()
    rig.wait(lambda: len(rig.commands.all) >= last + 15, "commands")
    again = np.array([c for _, c in rig.commands.all[last:]])
    trial.check((again == rig.spec.action_safe).all(), f"no old command comes: {again[:5].T}")
    trial.commanded("nothing")
    trial.commanded("safe command until a new one")
    rig.set_parameter("teleop.timeout", 0.5)
    rig.switch("mppi")
    trial.recovers()


def planning_process(rig: ControllerRig) -> int:
    """The number of the controller's only child."""
    tasks = Path(f"/proc/{rig.process.pid}/task")
    (child,) = " ".join(f.read_text() for f in tasks.glob("*/children")).split()
    return int(child)


@add("the planning process is killed")
def planning_killed(trial: Trial, rig: ControllerRig) -> None:
    rig.restore()
    with trial.fault(lambda: os.kill(planning_process(rig), signal.SIGKILL), lambda: None):
        trial.fallback("the planning process has died", "mppi")
    trial.recovers()


@add("the planning process hangs")
def planning_hangs(trial: Trial, rig: ControllerRig) -> None:
    rig.restore()
    hung = planning_process(rig)
    with trial.fault(lambda: os.kill(hung, signal.SIGSTOP), lambda: os.kill(hung, signal.SIGCONT)):
        trial.fallback("no plan", "mppi")
    trial.recovers()


@add("SIGSTOP for 2 s, then SIGCONT")
def stopped_process(trial: Trial, rig: ControllerRig) -> None:
    with trial.fault(
        lambda: rig.process.signal(signal.SIGSTOP), lambda: rig.process.signal(signal.SIGCONT)
    ):
        time.sleep(2.0)
    before = len(rig.timing)
    trial.recovers()
    trial.commanded("nothing (the driver's timeout acts)")
    trial.commanded("on from the last command within its limits")
    rig.wait(lambda: len(rig.timing) >= before + 2, "timing")
    slots = np.concatenate([t.slot for t in rig.timing[-3:]])
    shortest = np.diff(slots).min() / rig.spec.dt
    trial.check(shortest > 0.98, f"missed slots are not made up for: {shortest} periods")


@add("SIGINT twice", True)
def double_interrupt(trial: Trial, rig: ControllerRig) -> None:
    trial.begin()
    rig.process.signal(signal.SIGINT)
    rig.process.signal(signal.SIGINT)
    code = rig.process.end()
    trial.check(code == 0, f"the exit code is 0, not {code}")
    trial.left_safe()
    trial.commanded("nothing any more")
    trial.reason(rig.lines[-1])
