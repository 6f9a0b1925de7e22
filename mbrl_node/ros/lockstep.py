"""Lock-step: the controller asks for every step of the simulator and for every lesson of the
learner, and nothing moves in between.

Requests and answers are taken by the thread that needs them. Handed over by an executor they would
wait for two more changes of threads, which cost as much as the rest of a step.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
from mbrl_msgs.msg import ModelUpdate
from mbrl_msgs.srv import Learn, Step
from numpy.typing import NDArray
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node

from mbrl_node.ros.stamps import from_time
from mbrl_node.ros.taken import NoExecutor, PolledService
from mbrl_node.spec import RobotSpec

Array = NDArray[np.float64]

SLICE = 0.1  # s of waiting after which it is looked whether to go on waiting


class StepError(Exception):
    """The other side did not do what it was asked to; the message is a sentence that says why."""


class LockStepService(PolledService):
    """A service that answers in the thread that calls `serve`; only one thread may.

    Args:
        kind: a service type whose response has `success` and `message`.
        answer: fills in the response. What it raises is the message of a response without success.
    """

    def __init__(
        self, node: Node, kind: Any, name: str, answer: Callable[[Any, Any], None]
    ) -> None:
        super().__init__(node, kind, name, answer)
        self._set = _rclpy.WaitSet(0, 0, 0, 0, 1, 0, node.context.handle)

    def serve(self, timeout: float) -> bool:
        """Waits up to `timeout` s for a request and answers it; tells whether there was one."""
        self._set.clear_entities()
        self._set.add_service(self._service.handle)
        self._set.wait(round(timeout * 1e9))
        return self.poll()

    def _respond(self, request: Any, response: Any) -> Any:
        try:
            self._answer(request, response)
        except Exception as error:  # the asker is told, and may ask for something better
            message = str(error) if isinstance(error, StepError | ValueError) else repr(error)
            return self._kind.Response(success=False, message=message)
        return response


class _Asking:
    """A client that waits for the answer in the thread that asks; only one thread may."""

    def __init__(
        self, node: Node, kind: Any, name: str, stop: threading.Event, timeout: float
    ) -> None:
        self._node, self._kind, self._stop, self._timeout = node, kind, stop, timeout
        self._client: Any = node.create_client(kind, name, callback_group=NoExecutor())
        self._set = _rclpy.WaitSet(0, 0, 0, 1, 0, 0, node.context.handle)

    @property
    def ready(self) -> bool:
        """Whether somebody is there to ask."""
        return bool(self._client.service_is_ready())

    def close(self) -> None:
        """Ends the client."""
        self._node.destroy_client(self._client)

    def _ask(self, request: Any) -> Any:
        deadline = time.monotonic() + self._timeout
        name = self._client.srv_name
        if not self.ready:
            raise StepError(f"nobody offers {name}; was the other node started with sync?")
        handle = self._client.handle
        with handle:
            sequence = handle.send_request(request)
        while True:
            self._set.clear_entities()
            self._set.add_client(handle)
            self._set.wait(round(SLICE * 1e9))
            with handle:
                header, response = handle.take_response(self._kind.Response)
            if header is not None and header.request_id.sequence_number == sequence:
                if not response.success:
                    raise StepError(f"{name}: {response.message}")
                return response
            if self._stop.is_set():
                raise StepError(f"told to stop while waiting for the answer of {name}")
            if header is None and not self.ready:
                raise StepError(f"the node that offers {name} has ended")
            if time.monotonic() > deadline:
                raise StepError(f"no answer of {name} in {self._timeout:g} s")


class SteppedRobot(_Asking):
    """The robot of a simulator that was started with `sync`.

    Args:
        stop: ends a wait for an answer.
        timeout: s to wait for an answer.

    Attributes:
        age: s since the state that came last was measured.
    """

    age = 0.0

    def __init__(
        self, node: Node, spec: RobotSpec, stop: threading.Event, timeout: float = 10.0
    ) -> None:
        super().__init__(node, Step, "mbrl_sim/step", stop, timeout)
        self._spec = spec

    def reset(self) -> tuple[int, Array]:
        """Puts the robot at an initial state, with its safe command.

        Returns:
            Simulated time in ns, which a reset does not change, and the state [n].

        Raises:
            StepError: see `step`.
        """
        return self._state(Step.Request(reset=True))

    def step(self, command: Array) -> tuple[int, Array]:
        """Holds a command [m] for one control period.

        Returns:
            Simulated time in ns and the state [n] at the end of the period.

        Raises:
            StepError: the simulator refuses, is not there or does not answer in time, it simulates
                another robot, or `stop` was set meanwhile.
        """
        return self._state(Step.Request(command=array("d", command), duration=self._spec.dt))

    def _state(self, request: Any) -> tuple[int, Array]:
        response = self._ask(request)
        self.age = response.age
        state = np.array(response.state)
        if state.shape != (self._spec.state_dim,):
            raise StepError(
                f"mbrl_sim simulates another robot: its state has {len(state)} values, that of "
                f"'{self._spec.name}' {self._spec.state_dim}"
            )
        return from_time(response.stamp), state


class SteppedLearner(_Asking):
    """A learner that was started with `sync`.

    Args:
        stop: ends a wait for an answer.
        timeout: s to wait for an answer: for the longest of all trainings.
    """

    def __init__(self, node: Node, stop: threading.Event, timeout: float = 600.0) -> None:
        super().__init__(node, Learn, "mbrl_learner/learn", stop, timeout)

    def learn(self, session: int, transitions: int) -> ModelUpdate | None:
        """Waits until the learner has a session's transitions, and has learned from them if an
        update is due.

        Args:
            transitions: how many of the session were published.

        Returns:
            The newest model, or None while there is none.

        Raises:
            StepError: the transitions did not reach the learner, it is not there or does not answer
                in time, or `stop` was set meanwhile.
        """
        response = self._ask(Learn.Request(session=session, transitions=transitions))
        return response.update if response.update.version else None
