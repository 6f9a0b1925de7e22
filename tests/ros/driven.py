"""A controller process as `ros2 run` starts it, with something that stands in for its robot."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from ament_index_python.packages import get_package_prefix
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter, parameter_value_to_python
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from mbrl_node.models import ModelConfig, WorldModel, save_checkpoint
from mbrl_node.models.checkpoint import checkpoint_path
from mbrl_node.spec import load_spec

PATIENCE = 60.0  # s of wall time for anything awaited: how slow a machine may be, not how fast
NODE = "/mbrl_controller"
MAX_STEP = 0.5  # N from one command to the next
TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}


def write_robot(folder: Path) -> Path:
    """The file of a cart-pole whose commands are rate-limited and which is never reset."""
    robot = yaml.safe_load(load_spec("cartpole").path.read_text())
    robot["state"][0]["timeout"] = 5.0
    robot["action"]["fields"][0]["max_rate"] = MAX_STEP * robot["rate"]
    robot["episode"] = {"length": 1e6}
    path = folder / "slow_pole.yaml"
    path.write_text(yaml.safe_dump(robot))
    return path


def write_model(run_dir: Path, robot: Path) -> Path:
    """A run with one small model, which has learned nothing; gives the folder of its models."""
    folder = run_dir / "models"
    folder.mkdir(parents=True)
    model = WorldModel(load_spec(str(robot)), ModelConfig(members=2, hidden=(8,)))
    save_checkpoint(model, checkpoint_path(folder, 1), {"version": 1, "held_out_error": 0.5})
    return folder


def ros2(*words: object) -> tuple[int, str]:
    """Exit code and output of a `ros2` command."""
    done = subprocess.run(
        ["ros2", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout


class Driven:
    """A controller process, its robot, which stands upright whatever it is commanded, and a node
    that talks to it.

    Args:
        parameters: of the controller.
        environment: what is different in the process from here.

    Attributes:
        commands: what the robot was sent.
        measured: how many states the robot has published.
        output: the lines that the process has printed.
    """

    def __init__(
        self,
        robot: Path,
        environment: Mapping[str, str] | None = None,
        **parameters: object,
    ) -> None:
        self.commands: list[float] = []
        self.measured = 0
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context)
        self.node = rclpy.create_node("robot", context=self._context)
        self._state = self.node.create_publisher(JointState, "/joint_states", 1)
        self.node.create_subscription(
            Float64MultiArray,
            "/effort_controller/commands",
            lambda msg: self.commands.append(msg.data[0]),
            1000,
        )
        self.node.create_timer(0.01, self._measure)
        self._clients: dict[tuple[Any, str], Any] = {}
        self._publishers: dict[str, Any] = {}
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._spin = threading.Thread(target=self._executor.spin, daemon=True)
        self._spin.start()

        given = {
            "robot": str(robot),
            "learn": False,
            "thread_priority": 0,
            **{k.replace("__", "."): v for k, v in parameters.items()},
        }
        words = [f"{name}:={yaml.safe_dump(value).split()[0]}" for name, value in given.items()]
        self.process = subprocess.Popen(
            [
                Path(get_package_prefix("mbrl")) / "lib" / "mbrl" / "controller",
                "--ros-args",
                *(part for word in words for part in ("-p", word)),
            ],
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _measure(self) -> None:
        msg = JointState(name=["slider_to_cart", "cart_to_pole"])
        msg.position, msg.velocity = [0.0, 0.0], [0.0, 0.0]
        msg.header.stamp = self.node.get_clock().now().to_msg()
        self._state.publish(msg)
        self.measured += 1

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.output.extend(iter(self.process.stdout.readline, ""))

    @property
    def text(self) -> str:
        """What the process has printed."""
        return "".join(self.output)

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """Waits until it holds and gives it; fails with what the process printed if it does not."""
        deadline = time.monotonic() + PATIENCE
        while not (result := condition()):
            if time.monotonic() > deadline:
                pytest.fail(f"{what} did not happen; output:\n{self.text}")
            time.sleep(0.01)
        return result

    def wait_for_line(self, words: str, begin: int = 0) -> str:
        """Waits until a line with these words is printed, after the first `begin`; gives it."""
        line: str = self.wait_for(
            lambda: next((line for line in self.output[begin:] if words in line), ""), words
        )
        return line

    def wait_for_commands(self, count: int) -> list[float]:
        """Waits for so many more commands and gives them."""
        begin = len(self.commands)
        self.wait_for(lambda: len(self.commands) >= begin + count, f"{count} commands")
        return self.commands[begin:]

    def commands_during(self, states: int) -> list[float]:
        """What is commanded while the robot publishes so many states."""
        begin, until = len(self.commands), self.measured + states
        self.wait_for(lambda: self.measured >= until, f"{states} states")
        return self.commands[begin:]

    def call(self, kind: Any, name: str, /, **fields: object) -> Any:
        """The response of one of the node's services."""
        if (kind, name) not in self._clients:
            self._clients[kind, name] = self.node.create_client(kind, f"{NODE}/{name}")
        client = self._clients[kind, name]
        self.wait_for(client.service_is_ready, f"service {name}")
        future = client.call_async(kind.Request(**fields))
        self.wait_for(future.done, f"an answer of {name}")
        return future.result()

    def publish(self, topic: str, value: float) -> None:
        """Publishes a number on one of the node's topics; waits until the node listens."""
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(
                Float64MultiArray, f"{NODE}/{topic}", 1
            )
        publisher = self._publishers[topic]
        self.wait_for(lambda: publisher.get_subscription_count() > 0, f"listening to {topic}")
        publisher.publish(Float64MultiArray(data=[value]))

    def offered(self) -> list[str]:
        """Names of the node's topics and services."""
        names = [*self.node.get_topic_names_and_types(), *self.node.get_service_names_and_types()]
        return sorted(name for name, _ in names if name.startswith(NODE))

    def state(self) -> str:
        """Of the node's life."""
        label: str = self.call(GetState, "get_state").current_state.label
        return label

    def change(self, transition: str) -> bool:
        """Asks for a transition, by its number; tells whether it was made."""
        wanted = Transition(id=TRANSITIONS[transition])
        success: bool = self.call(ChangeState, "change_state", transition=wanted).success
        return success

    def get(self, name: str) -> Any:
        """The value of a parameter."""
        response = self.call(GetParameters, "get_parameters", names=[name])
        return parameter_value_to_python(response.values[0])

    def set(self, **values: object) -> str:
        """Sets parameters, all or none (`__` in a name is a dot); gives why not, or ''."""
        parameters = [
            Parameter(name.replace("__", "."), value=value).to_parameter_msg()
            for name, value in values.items()
        ]
        result = self.call(
            SetParametersAtomically, "set_parameters_atomically", parameters=parameters
        ).result
        assert result.successful == (result.reason == "")
        reason: str = result.reason
        return reason

    def exit_code(self) -> int:
        """Waits for the end of the process."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def stop(self, signal_: int = signal.SIGINT) -> int:
        """Ends the process and gives its exit code."""
        self.process.send_signal(signal_)
        return self.exit_code()

    def close(self) -> None:
        """Leaves nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._executor.shutdown()
        self._spin.join(5)
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)


class Conversation:
    """A program that answers each line of words with lines, the last of which is `rc NUMBER`."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str) -> tuple[int, str]:
        """What it answers."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{shlex.join(words)}\n")
        self._process.stdin.flush()
        lines = []
        for line in self._process.stdout:
            if line.startswith("rc "):
                return int(line[3:]), "".join(lines)
            lines.append(line)
        pytest.fail(f"{shlex.join(words)}: the program ended; output:\n{''.join(lines)}")

    def close(self) -> None:
        """Ends the program."""
        self._process.kill()
        self._process.wait()
