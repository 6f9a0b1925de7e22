"""A controller node whose control thread is a test's own, and a node that does all kinds of things
to it, through the middleware."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
import yaml
from builtin_interfaces.msg import Time
from lifecycle_msgs.srv import ChangeState
from mbrl_msgs.msg import ModelUpdate
from mbrl_msgs.srv import (
    ConfigureController,
    ListControllers,
    LoadController,
    SwitchController,
    UnloadController,
)
from rcl_interfaces.msg import Parameter
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.executors import (
    ExternalShutdownException,
    SingleThreadedExecutor,
    TimeoutException,
)
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger

from mbrl_node.control import Controller, Observation, PlanningController
from mbrl_node.models import InverseConfig, ModelConfig, PolicyConfig, WorldModel, save_checkpoint
from mbrl_node.ros import controller_node
from mbrl_node.ros.qos import LATEST
from mbrl_node.ros.stamps import to_time
from mbrl_node.ros.taken import Taken
from mbrl_node.spec import RobotSpec, load_spec

NODE = "/mbrl_controller"
JOINTS = ["slider_to_cart", "cart_to_pole"]
SECOND = 10**9
FAR = -(2**62)  # a deadline that has passed: nothing is waited for
# By the control thread, in its ticks.
TAKEN = ("/fuzz/joint_states", "/fuzz/deadman", "/clock", f"{NODE}/estop")
# What is logged as an error of what comes from outside; any other error is our own.
REFUSALS = ("model ", "the reset failed: ", "refused: transition ")


def robot_file(folder: Path) -> Path:
    """A cart-pole with two commands and every limit there is."""
    robot = yaml.safe_load(load_spec("cartpole").path.read_text())
    robot |= {"rate": 50.0, "episode": {"length": 3.0, "reset_service": "/fuzz_reset"}}
    robot["state"][0] |= {"topic": "/fuzz/joint_states", "timeout": 0.05}
    robot["goal"]["hold_time"] = 1.0
    force, turn = dict(robot["action"]["fields"][0]), dict(robot["action"]["fields"][0])
    force |= {"max_rate": 100.0, "max_jerk": 4000.0}
    turn |= {"name": "turn", "joint": "cart_to_pole", "unit": "N m", "max_rate": 20.0}
    turn |= {"min": -2.0, "max": 1.0, "safe": -0.5}
    robot["action"] |= {"topic": "/fuzz/commands", "fields": [force, turn], "delay": 0.04}
    robot["envelope"][0] |= {"soft_min": -4.0, "soft_max": 4.0}
    path = folder / "fuzzed_pole.yaml"
    path.write_text(yaml.safe_dump(robot))
    return path


def model_files(folder: Path, spec: RobotSpec) -> list[str]:
    """A model, and files that are none; the model first."""
    config = ModelConfig(members=2, hidden=(8,))
    learned = (False, False, PolicyConfig(hidden=(8,)), InverseConfig(members=2, hidden=(8,)))
    good, bad, other = (folder / f"{name}.safetensors" for name in ("good", "nan", "other"))
    save_checkpoint(WorldModel(spec, config, *learned), good, {"version": 1})
    save_checkpoint(WorldModel(load_spec("cartpole"), config), other, {"version": 1})
    broken = WorldModel(spec, config)
    broken.dynamics.delta_mean[:] = math.nan
    save_checkpoint(broken, bad, {"version": 1})
    cut, flipped = folder / "cut.safetensors", folder / "flipped.safetensors"
    content = bytearray(good.read_bytes())
    cut.write_bytes(content[: len(content) // 2])
    content[40] ^= 0xFF
    flipped.write_bytes(content)
    paths = [good, bad, other, cut, flipped, folder, folder / "none", Path("/dev/null"), Path("")]
    return [*map(str, paths), "x" * 5000, "\ufffd\u202e"]


class Wild(Controller):
    """Asks for whatever it is told to, and raises what is an exception."""

    wish: object = None

    def activate(self) -> None:
        if self.wish is SystemError:
            raise SystemError("cannot be activated")

    def update(self, observation: Observation, last_action: np.ndarray) -> Any:
        if isinstance(self.wish, Exception):
            raise self.wish
        return self.wish

    def commanded(self, observation: Observation, action: np.ndarray) -> None:
        if self.wish is KeyError:
            raise KeyError("after the command")


class Rig:
    """The node without its control thread, whose ticks the test makes, and the node that does
    things to it.

    Args:
        simulated: its time is that of /clock, and callbacks come where the test waits for them; in
            the same order each time. Otherwise as on a robot: in a thread of their own.
        errors: what is logged as an error.
    """

    def __init__(self, folder: Path, simulated: bool, errors: list[str]) -> None:
        robot = robot_file(folder)
        given = {
            "robot": str(robot),
            "use_sim_time": simulated,
            "controller": "mppi",
            "learn": True,
            "deadman": {"topic": "/fuzz/deadman", "timeout": 3600.0},
            "fallback": {"recovery": 0.1},
        }
        if not simulated:
            given["rate"] = 100.0
        for name, samples in (("mppi", 12), ("icem", 8), ("cem", 8), ("random_shooting", 8)):
            given[name] = {"samples": samples, "horizon": 0.2}
        parameters = folder / "parameters.yaml"
        parameters.write_text(yaml.safe_dump({"/**": {"ros__parameters": given}}))
        rclpy.init(
            args=["--ros-args", "--params-file", str(parameters)],
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self.simulated, self.errors = simulated, errors
        self._executor = SingleThreadedExecutor()
        self.node = controller_node.ControllerNode()
        self._executor.add_node(self.node)
        self.node.trigger_configure()
        assert self.node._system is not None, self.node._problem
        self.system: Any = self.node._system
        self.spec: RobotSpec = self.node._spec
        self.models = model_files(folder, self.spec)
        self.max_rate = self.spec.action_max_rate * self.spec.dt
        self.max_jerk = self.spec.action_max_jerk * self.spec.dt**2
        self.now, self.commands = 1000 * SECOND, 0
        self.last, self.change = self.spec.action_safe, np.zeros(2)
        self.resets, self.version = True, 0  # whether resets succeed; of the newest model offered

        self.other = rclpy.create_node("fuzzer", use_global_arguments=False)
        self._executor.add_node(self.other)
        self._sent = Taken(self.other, Float64MultiArray, "/fuzz/commands", QoSProfile(depth=100))
        self.publishers = {
            topic: self.other.create_publisher(kind, topic, qos)
            for topic, kind, qos in (
                ("/fuzz/joint_states", JointState, 10),
                ("/fuzz/deadman", Bool, 10),
                ("/clock", Clock, 10),
                (f"{NODE}/estop", Bool, 10),
                (f"{NODE}/teleop", Float64MultiArray, 10),
                (f"{NODE}/external", Float64MultiArray, 10),
                (f"{NODE}/reference", Float64MultiArray, 10),
                ("/mbrl_learner/model", ModelUpdate, LATEST),
            )
        }
        self._clients = {
            name: self.other.create_client(kind, f"{NODE}/{name}")
            for name, kind in (
                ("switch_controller", SwitchController),
                ("list_controllers", ListControllers),
                ("load_controller", LoadController),
                ("configure_controller", ConfigureController),
                ("unload_controller", UnloadController),
                ("estop", Trigger),
                ("release_estop", Trigger),
                ("set_parameters", SetParameters),
                ("set_parameters_atomically", SetParametersAtomically),
                ("change_state", ChangeState),
            )
        }
        self.other.create_service(Trigger, "/fuzz_reset", self._on_reset)
        names = self.node.list_parameters([], 0).names
        self.parameters = sorted({*names, "no.such", ""})
        self.defaults = {name: self._parameter(name) for name in names}
        self._changed: set[str] = set()
        if not simulated:
            threading.Thread(target=self._work, daemon=True).start()
        for topic, publisher in self.publishers.items():
            if simulated or topic != "/clock":
                self._until(publisher.get_subscription_count)
        for client in self._clients.values():
            assert client.wait_for_service(20.0)
        self.wild = Wild("wild")
        self.system._manager.load("wild", "wild", lambda: self.wild)
        self.system._manager.configure("wild")
        self._controllers = self._states()
        self.system.begin()
        self.offer_good_model()

    def _work(self) -> None:
        while True:
            try:
                self._executor.spin()
                return
            except ExternalShutdownException:
                return
            except Exception as error:  # the test looks at it
                self.errors.append(f"a callback failed: {type(error).__name__}: {error}")

    def _until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20.0
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in 20 s"
            time.sleep(0.001)

    def _on_reset(self, request: Any, response: Any) -> Any:
        response.success = self.resets
        return response

    def _parameter(self, name: str) -> Parameter:
        return Parameter(name=name, value=self.node.get_parameter(name).get_parameter_value())

    # What can be done to it.

    def publish(self, topic: str, message: Any) -> None:
        """A message, or bytes that are one or not."""
        self.publishers[topic].publish(message)
        if topic not in TAKEN:
            self.spin()

    def spin(self) -> None:
        """Runs the callbacks that there are, where no thread does."""
        while self.simulated:
            try:
                task, *_ = self._executor.wait_for_ready_callbacks(timeout_sec=0)
            except TimeoutException:
                return
            task()
            if task.exception() is not None:
                raise task.exception()

    def call(self, service: str, request: Any) -> Any:
        """The answer to a request; all are answered."""
        future = self._clients[service].call_async(request)
        deadline = time.monotonic() + 20.0
        while not future.done():
            assert time.monotonic() < deadline, f"{service} was not answered: {request}"
            self.system.poll_stops()  # as in the tick to come
            if self.simulated:
                self._executor.spin_once(timeout_sec=0.001)
            else:
                time.sleep(0.0005)
        return future.result()

    def set_clock(self, clock: Time) -> None:
        """Sends it on /clock, where there is one."""
        if self.simulated:
            self.publish("/clock", Clock(clock=clock))
            self.now = self.node._pace_clock.now()  # refused where it is below 0

    def advance(self, seconds: float) -> None:
        """Moves the clock, on by this much or back."""
        now = min(max(self.now + round(seconds * SECOND), 0), 2**30 * SECOND)
        self.set_clock(to_time(now))
        assert self.now == now or not self.simulated

    def time(self) -> int:
        """Robot time, ns."""
        return self.now if self.simulated else time.time_ns()

    def set_parameters(self, parameters: list[Parameter], at_once: bool) -> None:
        """By the service; what is refused is refused with a reason."""
        if at_once:
            request = SetParametersAtomically.Request(parameters=parameters)
            results = [self.call("set_parameters_atomically", request).result] * len(parameters)
        else:
            request = SetParameters.Request(parameters=parameters)
            results = self.call("set_parameters", request).results
        for parameter, result in zip(parameters, results, strict=True):
            assert result.successful or result.reason, f"refused without a reason: {parameter}"
            if result.successful and parameter.name in self.defaults:
                self._changed.add(parameter.name)

    def offer_good_model(self) -> None:
        """A newer one, and waits until it is in use."""
        self.version += 1
        self.offer_model(version=self.version, path=self.models[0], spec_hash=self.spec.hash)
        self._until(lambda: self.system.models.version == self.version)

    def offer_model(self, **fields: Any) -> None:
        """An update with these fields; in simulation it waits until that is looked at."""
        self.publish("/mbrl_learner/model", ModelUpdate(**fields))
        for thread in threading.enumerate():
            if self.simulated and thread.name == "model":
                thread.join(20.0)

    # What must hold.

    def tick(self) -> np.ndarray:
        """One tick of control, and the command that came of it."""
        self.system.tick(time.monotonic_ns(), FAR)
        sent: list[Any] = []

        def take() -> bool:
            while (message := self._sent.take()) is not None:
                sent.append(message)
            return bool(sent)

        self._until(take)
        (message,) = sent  # exactly one
        if isinstance(self.system._manager.acting, PlanningController):
            time.sleep(0.002)  # for a plan
        self._check(np.array(message.data))
        return self.last

    def _check(self, command: np.ndarray) -> None:
        assert command.shape == (2,) and np.isfinite(command).all(), command
        assert (command >= self.spec.action_min).all(), command
        assert (command <= self.spec.action_max).all(), command
        change = command - self.last
        assert (np.abs(change) <= self.max_rate + 1e-9).all(), (self.last, command)
        assert (np.abs(change - self.change) <= self.max_jerk + 1e-9).all(), (self.change, change)
        self.last, self.change, self.commands = command, change, self.commands + 1

    def good_state(self) -> None:
        """A state within all limits."""
        stamp = to_time(self.time())
        state = JointState(name=JOINTS, position=[1.0, 3.0], velocity=[0.0, 0.0])
        state.header.stamp = stamp
        self.publish("/fuzz/joint_states", state)

    def recover(self) -> None:
        """Puts all back, and sees that the node answers and the robot is driven."""
        if self.now > 2**29 * SECOND:
            self.set_clock(Time(sec=1000))
        self.resets = True
        self.set_parameters([self.defaults[n] for n in sorted(self._changed)], False)
        self._changed.clear()
        self.publish(f"{NODE}/estop", Bool(data=False))
        self.publish("/fuzz/deadman", Bool(data=True))
        zeros = Float64MultiArray(data=[0.0] * 4)
        self.publish(f"{NODE}/reference", zeros)
        self._put_controllers_back()
        self.switch_to("pd")
        manager, loop = self.system._manager, self.system.loop
        for k in range(2000):
            self.advance(self.spec.dt)
            self.good_state()
            self.tick()
            if loop.safe_reason and k % 20 == 1:
                self.call("release_estop", Trigger.Request())
            if self.system._reset_pending.is_set() or loop.resetting:
                self.spin()
            if not self.simulated:
                time.sleep(0.001)  # for the other threads
            assert abs(self.system.robot_time() - self.time()) < SECOND
            found = (manager.acting.name, manager.failure, loop.safe_reason)
            if k > 2 and found == ("pd", "", "") and self.last[0] < -0.1:  # towards x = 0
                break
        else:
            pytest.fail(f"the robot is not driven again: {found}, last sent {self.last}")
        own = [error for error in self.errors if not error.startswith(REFUSALS)]
        self.errors.clear()
        assert not own, own

    def _states(self) -> dict[str, str]:
        answer = self.call("list_controllers", ListControllers.Request())
        return {c.name: c.state for c in answer.controller}

    def set_active(self, name: str) -> None:
        """As `switch_to`, where it can act."""
        if name == "external":
            self.publish(f"{NODE}/external", Float64MultiArray(data=[1.0, 0.0]))
            self._until(lambda: not self.system._manager.controllers[name].not_ready)
        self.switch_to(name)

    def switch_to(self, name: str) -> None:
        """Makes it the active one."""
        request = SwitchController.Request(activate_controllers=[name], strictness=2)
        answer = self.call("switch_controller", request)
        assert answer.ok, answer.message

    def _put_controllers_back(self) -> None:
        states = self._states()
        if states.keys() == self._controllers.keys() and "unconfigured" not in states.values():
            return
        self.switch_to("hold")
        self.tick()
        for name in states.keys() - self._controllers.keys():
            assert self.call("unload_controller", UnloadController.Request(name=name)).ok
        for name in self._controllers:
            if name not in states:
                assert self.call("load_controller", LoadController.Request(name=name)).ok
            if states.get(name, "unconfigured") == "unconfigured":
                assert self.call("configure_controller", ConfigureController.Request(name=name)).ok
        assert self._states().keys() == self._controllers.keys()

    def close(self) -> None:
        """Ends both nodes."""
        self._executor.shutdown()
        self.node.close()
        self.node.destroy_node()
        # Else its lifecycle services are found by others until it is collected as garbage.
        self.node._state_machine.destroy_when_not_in_use()
        self.other.destroy_node()
        rclpy.shutdown()


@contextmanager
def rig(folder: Path, simulated: bool) -> Iterator[Rig]:
    """A rig, with nothing left of it in this process afterwards."""
    library = logging.getLogger("mbrl_node")
    before = list(library.handlers), library.level, library.propagate
    interval, errors = sys.getswitchinterval(), []
    with pytest.MonkeyPatch.context() as patch:
        for level in ("debug", "info", "warning"):
            patch.setattr(RcutilsLogger, level, lambda *_, **__: True)
        for level in ("error", "fatal"):
            patch.setattr(RcutilsLogger, level, lambda _, text, **__: errors.append(text))
        patch.setattr(threading, "excepthook", lambda args: errors.append(f"thread: {args}"))
        sys.setswitchinterval(0.0005)  # as the process does
        made = Rig(folder, simulated, errors)
        try:
            yield made
        finally:
            made.close()
            sys.setswitchinterval(interval)
    library.handlers[:], library.propagate = before[0], before[2]
    library.setLevel(before[1])
