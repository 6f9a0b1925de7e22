"""Faults of what comes in: the robot's state, operators' messages, model files."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path

from mbrl_msgs.msg import ModelUpdate
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray

from benchmarks.fault_rig import NODE, ControllerRig
from benchmarks.fault_robot import JOINTS, Spoil, changed, fill_model, spoil_models
from benchmarks.fault_trial import SAFE, Fault, Trial
from mbrl_node.ros.stamps import from_time, to_time

FAULTS: list[Fault] = []
add = Fault.adder(FAULTS, "robot")

NAN = math.nan


@add("the newest four model files are bad at the start")
def bad_models_at_the_start(trial: Trial, rig: ControllerRig) -> None:
    passed_over = [line for line in rig.lines if "passed over" in line]
    trial.check(len(passed_over) == 4, f"four files are passed over: {passed_over}")
    rig.wait(lambda: rig.status, "a status")
    trial.check(rig.status[-1][1].model_version == 2, "the newest good model is used")
    trial.reason(passed_over[0])
    trial.unharmed("mppi with the newest good model")


# The state.


@contextlib.contextmanager
def spoilt(trial: Trial, rig: ControllerRig, spoil: Spoil) -> Iterator[None]:
    """Meanwhile the robot publishes this instead of its readings."""

    def cause() -> None:
        rig.robot.spoil = spoil

    def cure() -> None:
        rig.robot.spoil = lambda reading: [reading]

    with trial.fault(cause, cure):
        yield


def stops_it(name: str, spoil: Spoil, reason: str, quick: bool = False) -> None:
    """Adds a fault of the state that makes it unusable."""

    @add(name, quick)
    def stopped(trial: Trial, rig: ControllerRig) -> None:
        with spoilt(trial, rig, spoil):
            trial.safe(reason)
        trial.recovers()


def stamped(reading: JointState, by: float) -> JointState:
    """The same, with a stamp that is off by so many s."""
    result = changed(reading)
    result.header.stamp = to_time(from_time(reading.header.stamp) + round(by * 1e9))
    return result


stops_it("the state is NaN", lambda r: [changed(r, position=[NAN, 0.0])], "is nan", True)
stops_it("a velocity is infinite", lambda r: [changed(r, velocity=[0.0, math.inf])], "is inf")
stops_it("messages of the wrong size", lambda r: [changed(r, position=[0.0])], "position")
stops_it("messages of unknown joints", lambda r: [changed(r, name=["a", "b"])], JOINTS[0])
stops_it("stamps 10 s behind", lambda r: [stamped(r, -10.0)], "older than one before")
stops_it("stamps 10 s ahead", lambda r: [stamped(r, 10.0)], "ahead of this clock")
stops_it("a flood of bad messages", lambda r: [r, *[changed(r, name=[])] * 20], "joint")
stops_it("the state topic stops", lambda r: [], "is older than 0.25 s", True)


@add("the same message again and again")
def frozen(trial: Trial, rig: ControllerRig) -> None:
    seen: list[JointState] = []

    def first(reading: JointState) -> list[JointState]:
        seen.append(reading)
        return seen[:1]

    with spoilt(trial, rig, first):
        trial.safe("is older than 0.25 s")
    trial.recovers()


@add("every second message is NaN")
def some_nan(trial: Trial, rig: ControllerRig) -> None:
    with spoilt(trial, rig, lambda r: [r, stamped(changed(r, position=[NAN, NAN]), 1e-6)]):
        trial.refused(trial.unharmed)


@add("each message comes three times")
def duplicated(trial: Trial, rig: ControllerRig) -> None:
    with spoilt(trial, rig, lambda r: [r, r, r]):
        trial.unharmed()


@add("messages change places")
def reordered(trial: Trial, rig: ControllerRig) -> None:
    kept: list[JointState] = []

    def swapped(reading: JointState) -> list[JointState]:
        kept.append(reading)
        if len(kept) < 2:
            return []
        both, kept[:] = kept[::-1], []
        return both

    with spoilt(trial, rig, swapped):
        trial.refused(trial.unharmed)


@add("joints in another order, with others among them")
def more_joints(trial: Trial, rig: ControllerRig) -> None:
    def mixed(r: JointState) -> list[JointState]:
        fields = {
            key: [getattr(r, key)[1], 7.0, getattr(r, key)[0]] for key in ("position", "velocity")
        }
        return [changed(r, name=[JOINTS[1], "gripper", JOINTS[0]], effort=[], **fields)]

    with spoilt(trial, rig, mixed):
        trial.unharmed()


# Operators and other nodes.


def wrong_numbers(size: int) -> list[Float64MultiArray]:
    return [
        Float64MultiArray(data=values)
        for values in ([NAN] * size, [math.inf] * size, [0.0] * (size + 1), [])
    ]


@add("a reference that is NaN, infinite or of the wrong size")
def bad_reference(trial: Trial, rig: ControllerRig) -> None:
    rig.restore("pd")
    trial.begin()

    def send() -> None:
        for message in wrong_numbers(rig.spec.state_dim):
            rig.send(f"{NODE}/reference", message)
            time.sleep(0.1)  # the topic keeps one

    trial.refused(send, 3)
    trial.unharmed("pd, by the reference before", name="pd")


@add("teleop and external send NaN, infinity and the wrong size")
def bad_commands(trial: Trial, rig: ControllerRig) -> None:
    for topic in ("teleop", "external"):
        rig.set_parameter(f"{topic}.timeout", 30.0)
        push(rig, topic)
        rig.restore(topic)
        trial.begin()

        def send(topic: str = topic) -> None:
            for message in wrong_numbers(1):
                rig.send(f"{NODE}/{topic}", message)
                time.sleep(0.1)  # the topic keeps one

        trial.refused(send, 4)
        trial.unharmed("the good command before", name=topic)
        trial.check(rig.commands.all[-1][1][0] == 1.0, "the command before still counts")
        rig.set_parameter(f"{topic}.timeout", 0.5)


def push(rig: ControllerRig, topic: str) -> None:
    """As an operator or another node does."""
    rig.send(f"{NODE}/{topic}", Float64MultiArray(data=[1.0]))


@add("teleop falls silent")
def silent_teleop(trial: Trial, rig: ControllerRig) -> None:
    rig.restore("teleop")
    push(rig, "teleop")
    trial.begin()
    rig.wait(lambda: any(c[0] == 1.0 for _, c in rig.commands.after(trial.began)), "the command")
    trial.safe()
    trial.over()
    push(rig, "teleop")
    rig.wait(lambda: rig.commands.all[-1][1][0] == 1.0, "the new command")
    trial.recovers("teleop")


@add("external falls silent")
def silent_external(trial: Trial, rig: ControllerRig) -> None:
    push(rig, "external")
    timer = rig.node.create_timer(0.05, lambda: push(rig, "external"))
    rig.restore("external")
    with trial.fault(timer.cancel, timer.reset):
        trial.fallback("no command for", "external")
    trial.recovers("external")
    rig.node.destroy_timer(timer)


@add("parameters are set to NaN and nonsense")
def bad_parameters(trial: Trial, rig: ControllerRig) -> None:
    trial.begin()
    for name, value in (
        ("mppi.noise", NAN),
        ("mppi.samples", -1),
        ("pd.kp", [NAN]),
        ("fallback.recovery", -1.0),
        ("teleop.timeout", math.inf),
        ("controller", "nobody"),
        ("rate", 1000.0),
        ("mppi.samples", "many"),
    ):
        said = rig.set_parameter(name, value)
        trial.check(said, f"{name} = {value} is refused")
        trial.reason(said)
    trial.unharmed()


# Models.


@add("models that are corrupted, truncated, of another robot, NaN or missing are offered")
def bad_models(trial: Trial, rig: ControllerRig) -> None:
    files = spoil_models(rig.run_dir, rig.spec, rig.run_dir / "bad", 11)
    good = rig.run_dir / "models" / "v000001.safetensors"
    offered = [*((path, rig.spec.hash) for path in (*files, rig.run_dir / "nothing")), (good, 1)]
    trial.begin()
    lines = len(rig.lines)
    for i, (path, spec_hash) in enumerate(offered):
        offer(rig, 11 + i, path, spec_hash)
        rig.wait(lambda i=i: len(refusals(rig, lines)) > i, f"the refusal of {path}")
    trial.reason(refusals(rig, lines)[0])
    trial.unharmed("mppi with the model before")


def refusals(rig: ControllerRig, first: int) -> list[str]:
    """What was said of refused models from a line on."""
    return [line for line in rig.lines[first:] if "model" in line and "refused:" in line]


def offer(rig: ControllerRig, version: int, path: Path, spec_hash: int) -> None:
    """As the learner does."""
    rig.send(
        "/mbrl_learner/model",
        ModelUpdate(version=version, path=str(path), spec_hash=spec_hash, held_out_error=0.1),
    )


@add("a model whose weights are finite and whose predictions are not")
def overflowing_model(trial: Trial, rig: ControllerRig) -> None:
    overflowing = rig.run_dir / "overflowing.safetensors"
    fill_model(overflowing, rig.spec, 1e30)
    rig.wait(lambda: rig.status and rig.status[-1][1].good_model_version, "a good model")
    trial.begin()
    offer(rig, 101, overflowing, rig.spec.hash)
    trial.says("model 101 rolled back to ", "finite")
    trial.unharmed("mppi with the good model")


# Stops.


@add("emergency stop by its service", True)
def estop_service(trial: Trial, rig: ControllerRig) -> None:
    with trial.fault(lambda: rig.trigger("estop"), lambda: rig.trigger("release_estop")):
        trial.safe("emergency stop by its service")
        begin = len(rig.status)
        rig.wait(lambda: any(s.stopped for _, s in rig.status[begin:]), "a status that says so")
    trial.recovers()


def estop_topic(name: str, best_effort: bool) -> None:
    """Adds a stop by a button whose node publishes like this."""

    @add(f"emergency stop by {name}; release while it is demanded")
    def stop(trial: Trial, rig: ControllerRig) -> None:
        trial.begin()
        rig.send(f"{NODE}/estop", Bool(data=True), best_effort)
        trial.safe("emergency stop on its topic")
        trial.check(not rig.trigger("release_estop").success, "the release is refused")
        rig.send(f"{NODE}/estop", Bool(data=False), best_effort)
        rig.wait(lambda: rig.trigger("release_estop").success, "the release")
        trial.over()
        trial.recovers()


estop_topic("its topic", False)
estop_topic("its topic, best effort", True)


@add("emergency stop while there is no state")
def estop_without_state(trial: Trial, rig: ControllerRig) -> None:
    with spoilt(trial, rig, lambda r: []):
        trial.safe("is older than")
        rig.trigger("estop")
    trial.says(SAFE, "emergency stop by its service")
    trial.check(rig.commands.safe_since(trial.began), "the state's return starts nothing")
    rig.trigger("release_estop")
    trial.over()
    trial.recovers()


@add("the deadman switch is let go")
def deadman_released(trial: Trial, rig: ControllerRig) -> None:
    with trial.fault(lambda: setattr(rig, "deadman", False), lambda: setattr(rig, "deadman", True)):
        trial.safe("the deadman switch is not pressed")
    trial.recovers()


@add("the deadman switch falls silent")
def deadman_silent(trial: Trial, rig: ControllerRig) -> None:
    with trial.fault(lambda: setattr(rig, "deadman", None), lambda: setattr(rig, "deadman", True)):
        trial.safe("the deadman switch has said nothing for 0.5 s")
    trial.recovers()


@add("the cart is beyond a soft limit")
def soft_limit(trial: Trial, rig: ControllerRig) -> None:
    trial.begin()
    rig.robot.place(x=3.3)
    trial.fallback("beyond its soft limit")
    rig.wait(lambda: rig.robot.position < 3.0, "the cart is back")
    trial.over()
    trial.recovers()


@add("the cart is beyond a hard limit; release while it is")
def hard_limit(trial: Trial, rig: ControllerRig) -> None:
    trial.begin()
    rig.robot.place(x=4.5)
    trial.safe("beyond its hard limit")
    trial.check(not rig.trigger("release_estop").success, "the release is refused")
    rig.robot.place()
    rig.wait(lambda: rig.trigger("release_estop").success, "the release")
    trial.over()
    trial.recovers()
