"""The launched system, watched over real DDS by a node of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")

from mbrl_msgs.msg import ControllerStatus, ModelUpdate, Plan, Transition  # noqa: E402
from mbrl_msgs.srv import ListControllers, SwitchController  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402

from mbrl_node.ros.qos import LATEST, TRANSITIONS  # noqa: E402

PATIENCE = 90.0  # s of wall time for anything awaited: how slow a machine may be, not how fast


def launch(*arguments: str, **kwargs) -> subprocess.Popen:
    """`ros2 launch mbrl bringup.launch.py` in a process group of its own."""
    return subprocess.Popen(
        ["ros2", "launch", "mbrl", "bringup.launch.py", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **kwargs,
    )


class System:
    """A launch and what it publishes."""

    def __init__(self, run_dir: Path, *arguments: str) -> None:
        self.run_dir = run_dir
        self.commands: list[list[float]] = []
        self.transitions: list[Transition] = []
        self.models: list[ModelUpdate] = []
        self.plans: list[Plan] = []
        self.status: list[ControllerStatus] = []
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("watcher", context=self.context)
        for kind, topic, into, qos in (
            (Float64MultiArray, "/effort_controller/commands", None, 100),
            (Transition, "/mbrl_controller/transitions", self.transitions, TRANSITIONS),
            (ModelUpdate, "/mbrl_learner/model", self.models, LATEST),
            (Plan, "/mbrl_controller/plan", self.plans, 10),
            (ControllerStatus, "/mbrl_controller/status", self.status, 10),
        ):
            store = (
                into.append if into is not None else lambda m: self.commands.append(list(m.data))
            )
            self.node.create_subscription(kind, topic, store, qos)
        self._switch = self.node.create_client(
            SwitchController, "/mbrl_controller/switch_controller"
        )
        self._list = self.node.create_client(ListControllers, "/mbrl_controller/list_controllers")
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._spin = threading.Thread(target=self._executor.spin, daemon=True)
        self._spin.start()
        self.process = launch(f"run_dir:={run_dir}", *arguments)
        self.session = os.getsid(self.process.pid)
        self.output: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Waits until it holds; fails with the launch's output when it does not."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{what} did not happen; output:\n{''.join(self.output[-40:])}")
            time.sleep(0.02)

    def wait_for_more(self, items: list, count: int, what: str) -> list:
        """Waits for `count` more of what is being collected, and gives them."""
        begin = len(items)
        self.wait_for(lambda: len(items) >= begin + count, f"{count} more {what}")
        return items[begin:]

    def call(self, client, request):
        """A service call's response."""
        assert client.wait_for_service(PATIENCE)
        future = client.call_async(request)
        self.wait_for(future.done, "the answer of a service")
        return future.result()

    def switch(self, *activate: str, deactivate: tuple[str, ...] = (), strict: bool = True):
        """Calls switch_controller."""
        return self.call(
            self._switch,
            SwitchController.Request(
                activate_controllers=list(activate),
                deactivate_controllers=list(deactivate),
                strictness=2 if strict else 1,
            ),
        )

    def controllers(self) -> dict:
        """The answer of list_controllers, by name."""
        response = self.call(self._list, ListControllers.Request())
        return {c.name: c for c in response.controller}

    def processes(self) -> dict[int, str]:
        """The command lines of the launch's processes that are alive, by process id."""
        result = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if os.getsid(int(folder.name)) == self.session and command:
                    result[int(folder.name)] = command
            except OSError:
                continue  # it has just ended
        return result

    def kill(self, executable: str, signal_: int = signal.SIGKILL) -> None:
        """kill -9, or another signal."""
        pids = [pid for pid, c in self.processes().items() if f"lib/mbrl/{executable} " in c]
        assert pids, f"no process {executable}"
        for pid in pids:
            os.kill(pid, signal_)

    def stop(self, signal_: int = signal.SIGINT) -> int:
        """Ends the launch and gives its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal_)
        code = self.process.wait(PATIENCE)
        self._reader.join(5)
        return code

    def close(self) -> None:
        """Leaves nothing behind."""
        if self.process.poll() is None:
            self.stop()
        self._executor.shutdown()
        self._spin.join(5)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The cart-pole, at half of real time so that a slow machine keeps up."""
    it = System(tmp_path_factory.mktemp("run"), "speed:=0.5", "seed:=1")
    yield it
    it.close()
