"""The controller's process with a robot around it, for the table of faults: what is sent to it,
what it commands, what it says.

Everything goes over real DDS, and the process is the one that users start. Whatever goes wrong,
each command that comes is looked at: see `Commands`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from ament_index_python.packages import get_package_prefix
from lifecycle_msgs.msg import Transition as LifecycleTransition
from lifecycle_msgs.srv import ChangeState
from mbrl_msgs.msg import ControllerStatus, ModelUpdate, Timing, Transition
from mbrl_msgs.srv import SwitchController
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger

from benchmarks import fault_plugins
from benchmarks.fault_robot import ScriptedRobot
from mbrl_node.ros.qos import LATEST, TRANSITIONS
from mbrl_node.spec import RobotSpec

LATE = 0.05  # s between two states, by which something else held this machine up
PATIENCE = 60.0  # s for anything awaited: how slow a machine may be, not how fast
NODE = "/mbrl_controller"


class NotHeldError(AssertionError):
    """Something that must hold with a fault did not."""


class Commands:
    """Every command that the robot got, and whether it kept to the robot's limits.

    Attributes:
        all: the time at which each came, s since the epoch, and its values.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self._spec = spec
        self._rate = spec.action_max_rate * spec.dt
        self._jerk = spec.action_max_jerk * spec.dt**2
        self.all: list[tuple[float, np.ndarray[Any, Any]]] = []
        self.nonfinite, self.unlimited, self.rate_violations = 0, 0, 0
        self._before: list[np.ndarray[Any, Any]] = []

    def add(self, values: list[float], at: float) -> None:
        """One came."""
        command = np.array(values)
        self.all.append((at, command))
        if command.shape != (self._spec.action_dim,) or not np.isfinite(command).all():
            self.nonfinite += 1
            return
        low, high = self._spec.action_min, self._spec.action_max
        self.unlimited += bool(((command < low) | (command > high)).any())
        recent = np.array([*self._before, command])
        change, bend = np.abs(np.diff(recent, axis=0)), np.abs(np.diff(recent, 2, axis=0))
        slack = 1e-9
        too_fast = (change > self._rate + slack).any() or (bend > self._jerk + slack).any()
        self.rate_violations += bool(too_fast)
        self._before = [*self._before[-1:], command]

    def restart(self) -> None:
        """The next comes from another process, which cannot know the last."""
        self._before = []

    def safe_since(self, begin: float) -> float | None:
        """When the command became the safe one that it still is, if that was after `begin`."""
        since = None
        for at, values in reversed(self.all):
            if at < begin or not np.array_equal(values, self._spec.action_safe):
                break
            since = at
        return since

    def after(self, begin: float) -> list[tuple[float, np.ndarray[Any, Any]]]:
        """Those that came after a time."""
        return [c for c in list(self.all) if c[0] > begin]


class Process:
    """A process in a session of its own, whose output is kept line by line."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._popen = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | environment,
        )
        self.pid = self._popen.pid
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        self.lines.extend(line.rstrip() for line in self._popen.stdout)

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def signal(self, number: int) -> None:
        """As `kill` does."""
        self._popen.send_signal(number)

    def end(self, patience: float = PATIENCE) -> int:
        """Waits for its end, or kills it; its exit code."""
        try:
            code = self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            code = self._popen.wait()
        self._reader.join(5)
        return code


class Rig:
    """A node that watches a process and calls its services.

    Args:
        command: of the process.
        environment: added to this process's own.
    """

    def __init__(
        self, spec: RobotSpec, command: list[str], environment: dict[str, str] | None = None
    ) -> None:
        self.spec = spec
        self.commands = Commands(spec)
        self.transitions: list[tuple[float, Transition]] = []
        self.status: list[tuple[float, ControllerStatus]] = []
        self.timing: list[Timing] = []
        self.models: list[ModelUpdate] = []
        self.context = rclpy.Context()
        rclpy.init(args=[], context=self.context)
        self.node = rclpy.create_node("faults", context=self.context)
        self._clients: dict[str, Any] = {}
        self._publishers: dict[tuple[str, bool], Any] = {}
        for kind, topic, take, qos in (
            (Float64MultiArray, spec.action.topic, self._on_command, 100),
            (Transition, f"{NODE}/transitions", self._into(self.transitions), TRANSITIONS),
            (ControllerStatus, f"{NODE}/status", self._into(self.status), 10),
            (Timing, f"{NODE}/timing", self.timing.append, 10),
            (ModelUpdate, "/mbrl_learner/model", self.models.append, LATEST),
        ):
            self.node.create_subscription(kind, topic, take, qos)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._spin = threading.Thread(target=self._executor.spin, daemon=True)
        self._prepare()
        self._spin.start()
        self.process = Process(command, environment or {})

    def _prepare(self) -> None:
        """What is to be there before the process."""

    @property
    def disturbed(self) -> bool:
        """Whether what was to be seen since `restore` may be the machine's doing."""
        return False

    def restore(self) -> None:
        """Makes all well again."""

    def _on_command(self, msg: Float64MultiArray, info: dict[str, Any]) -> None:
        self.commands.add(list(msg.data), info["received_timestamp"] * 1e-9)

    def _into(self, messages: list[Any]) -> Callable[[Any, dict[str, Any]], None]:
        def take(msg: Any, info: dict[str, Any]) -> None:
            messages.append((info["received_timestamp"] * 1e-9, msg))

        return take

    @property
    def lines(self) -> list[str]:
        """What the process has said."""
        return self.process.lines

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Waits until it holds.

        Raises:
            NotHeldError: it does not, and will not.
        """
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if not self.process.alive or time.monotonic() > deadline:
                output = "\n".join(self.lines[-25:])
                raise NotHeldError(f"{what} did not happen; output:\n{output}")
            time.sleep(0.01)

    def call(self, name: str, kind: type, **request: Any) -> Any:
        """The answer of a service."""
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        client = self._clients[name]
        if not client.wait_for_service(PATIENCE):
            raise NotHeldError(f"there is no service {name}")
        future, answered = client.call_async(kind.Request(**request)), threading.Event()
        future.add_done_callback(lambda _: answered.set())
        self.wait(lambda: answered.wait(0.5), f"an answer of {name}")
        return future.result()

    def send(self, topic: str, message: Any, best_effort: bool = False) -> None:
        """Publishes a message, once somebody hears it."""
        key = (topic, best_effort)
        if key not in self._publishers:
            usual = {ModelUpdate: LATEST, Transition: TRANSITIONS}.get(type(message), 10)
            qos = qos_profile_sensor_data if best_effort else usual
            self._publishers[key] = self.node.create_publisher(type(message), topic, qos)
        publisher = self._publishers[key]
        self.wait(publisher.get_subscription_count, f"a subscription to {topic}")
        publisher.publish(message)

    def switch(self, name: str, timeout: float = 0.0, deactivate: tuple[str, ...] = ()) -> Any:
        """Calls ~/switch_controller."""
        request = SwitchController.Request()
        request.timeout.sec, request.timeout.nanosec = int(timeout), round(timeout % 1 * 1e9)
        return self.call(
            f"{NODE}/switch_controller",
            SwitchController,
            activate_controllers=[name],
            deactivate_controllers=deactivate,
            strictness=SwitchController.Request.STRICT,
            timeout=request.timeout,
        )

    def trigger(self, name: str) -> Any:
        """Calls one of the node's std_srvs/Trigger services."""
        return self.call(f"{NODE}/{name}", Trigger)

    def change_state(self, transition: str) -> bool:
        """A lifecycle transition such as `deactivate`; whether it was done."""
        number = getattr(LifecycleTransition, f"TRANSITION_{transition.upper()}")
        answer = self.call(
            f"{NODE}/change_state", ChangeState, transition=LifecycleTransition(id=number)
        )
        return bool(answer.success)

    def set_parameter(self, name: str, value: object) -> str:
        """Sets a parameter; the reason why it was refused, or ''."""
        parameter = Parameter(name, value=value).to_parameter_msg()
        answer = self.call(f"{NODE}/set_parameters", SetParameters, parameters=[parameter])
        result = answer.results[0]
        return "" if result.successful else result.reason or "refused"

    def close(self) -> None:
        """Ends the process, and all that is here."""
        if self.process.alive:
            self.process.signal(signal.SIGINT)
        self.process.end(20.0)
        self._executor.shutdown()
        self._spin.join(5)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


class ControllerRig(Rig):
    """The controller's process, a scripted robot, and an operator who holds the deadman switch.

    Args:
        folder: of the rig.
        simulated: it goes by the robot's /clock.
        parameters: of the node.
    """

    DEADMAN = "/deadman"

    def __init__(
        self,
        spec: RobotSpec,
        folder: Path,
        run_dir: Path,
        simulated: bool = False,
        **parameters: object,
    ) -> None:
        self.run_dir, self._simulated = run_dir, simulated
        self._fault = folder / "fault"
        self.cause("")
        self.deadman: bool | None = True  # what is said ten times a second; None: nothing
        settings = {
            "robot": spec.path,
            "run_dir": run_dir,
            "learn": False,
            "controller": "mppi",
            "use_sim_time": simulated,
            "deadman.topic": self.DEADMAN,
            "fallback.chain": "[pd, hold]",
            "mppi.samples": 60,
            **parameters,
        }
        command = [f"{get_package_prefix('mbrl')}/lib/mbrl/controller", "--ros-args"]
        for name, value in settings.items():
            value = str(value).lower() if isinstance(value, bool) else value
            command += ["-p", f"{name}:={value}"]
        super().__init__(spec, command, self._environment(folder))

    def _environment(self, folder: Path) -> dict[str, str]:
        """With our plugins installed."""
        info = folder / "site" / "mbrl_faults-1.0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mbrl-faults\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[mbrl.controllers]\nfaulty = benchmarks.fault_plugins:FaultyController\n"
            "[mbrl.planners]\nfaulty_planner = benchmarks.fault_plugins:FaultyPlanner\n"
        )
        root = Path(__file__).parents[1]
        path = [str(info.parent), str(root), os.environ.get("PYTHONPATH", "")]
        return {
            "PYTHONPATH": os.pathsep.join(path),
            fault_plugins.FILE: str(self._fault),
            "RCUTILS_CONSOLE_OUTPUT_FORMAT": "{message}",
        }

    def _prepare(self) -> None:
        self.robot = ScriptedRobot(self.node, self.spec, self._simulated)
        publisher = self.node.create_publisher(Bool, self.DEADMAN, qos_profile_sensor_data)

        def hold_deadman() -> None:
            if self.deadman is not None:
                publisher.publish(Bool(data=self.deadman))

        self.node.create_timer(0.1, hold_deadman)

    @property
    def disturbed(self) -> bool:
        return self.robot.longest_gap > LATE

    def cause(self, what: str) -> None:
        """From now on the plugins fail like this; '': no more."""
        fault_plugins.cause(self._fault, what)

    def restore(self, controller: str = "mppi") -> None:
        """All is well again, and this controller acts."""
        self.cause("")
        self.robot.spoil = lambda reading: [reading]
        self.robot.paused, self.deadman = False, True
        self.robot.place()
        self.wait(lambda: self.trigger("release_estop").success, "the release of stops")
        begin = time.time()
        self.wait(lambda: self.switch(controller).ok, f"the switch to {controller}")
        self.wait(
            lambda: any(a > begin and t.controller == controller for a, t in self.transitions[-5:]),
            f"an action of {controller}",
        )
        self.robot.longest_gap = 0.0

    def close(self) -> None:
        self.robot.close()
        super().close()
