"""What the buttons of the live view do: calls of services, whose answers come later or not at all,
and goals."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from mbrl_msgs.srv import SwitchController
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from mbrl_node.ros.extract import message_class
from mbrl_node.ros.fill import Fill, filler
from mbrl_node.ros.graph import LEARNER, OURS, resolved
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.extract import TopicError
from mbrl_node.view.goals import Goal

PATIENCE = 3.0  # s for an answer

Say = Callable[[str, bool], None]  # a sentence, whether it went well


class Calls:
    """An `Operator` of the page, see `mbrl_node.view.page`. Any thread may call.

    Args:
        say: called with what came of each call.
    """

    def __init__(self, node: Node, spec: RobotSpec, say: Say) -> None:
        self._spec, self._say = spec, say
        self._pending: list[tuple[float, Any, Future, str]] = []
        self._switch = node.create_client(SwitchController, f"{OURS}/switch_controller")
        self._stop = node.create_client(Trigger, f"{OURS}/estop")
        self._release = node.create_client(Trigger, f"{OURS}/release_estop")
        self._go = node.create_client(Trigger, f"{OURS}/go")
        self._pause = node.create_client(SetBool, f"{LEARNER}/pause")
        self._goals: list[tuple[Any, Fill, Any] | str] = []
        for topic in spec.targets:
            try:
                kind, fill = message_class(topic.type), filler(topic)
            except TopicError as error:  # as of an angle that can only be read
                self._goals.append(f"{topic.topic} cannot be told from here: {error.text}")
                continue
            name = resolved(node, topic.topic)
            self._goals.append((kind, fill, node.create_publisher(kind, name, 1)))

    def swap(self, controller: str) -> None:
        """Gives a controller the command."""
        request = SwitchController.Request(
            activate_controllers=[controller], strictness=SwitchController.Request.STRICT
        )
        self._call(self._switch, request, OURS)

    def stop(self) -> None:
        """Stops the robot until it is released."""
        self._call(self._stop, Trigger.Request(), OURS)

    def release(self) -> None:
        """Lets a robot go on that was stopped."""
        self._call(self._release, Trigger.Request(), OURS)

    def go(self) -> None:
        """Lets the next episode begin."""
        self._call(self._go, Trigger.Request(), OURS)

    def pause(self, paused: bool) -> None:
        """Lets the learner only store, or learn again."""
        self._call(self._pause, SetBool.Request(data=paused), LEARNER)

    def set_goal(self, goal: Goal, values: Sequence[float]) -> None:
        """Publishes what the task is to aim at from now on."""
        topic, made = self._spec.targets[goal.index], self._goals[goal.index]
        if isinstance(made, str):
            self._say(made, False)
            return
        for field, value in zip(goal.fields, values, strict=True):
            if not field.min <= value <= field.max or not math.isfinite(value):
                self._say(
                    f"{field.name}: {value:g} is not in {field.min:g} to {field.max:g}", False
                )
                return
        kind, fill, publisher = made
        message = kind()
        if topic.frame:
            message.header.frame_id = topic.frame
        fill(message, list(values))
        listeners = publisher.get_subscription_count()
        publisher.publish(message)
        told = ", ".join(f"{f.name} {v:g}" for f, v in zip(goal.fields, values, strict=True))
        self._say(told if listeners else f"nobody listens to {topic.topic}", listeners > 0)

    def _call(self, client: Any, request: Any, who: str) -> None:
        if not client.service_is_ready():
            self._say(f"{who} does not answer: nothing was done", False)
            return
        future = client.call_async(request)
        self._pending.append((time.monotonic() + PATIENCE, client, future, who))
        future.add_done_callback(self._answered)

    def _answered(self, future: Future) -> None:
        if (answer := future.result()) is not None:
            ok = answer.ok if hasattr(answer, "ok") else answer.success
            self._say(answer.message, ok)

    def look(self) -> None:
        """Tells of those who do not answer; now and then, in one thread."""
        now = time.monotonic()
        for call in [call for call in self._pending if call[2].done() or call[0] < now]:
            self._pending.remove(call)
            _, client, future, who = call
            if not future.done():
                client.remove_pending_request(future)
                self._say(f"{who} has not answered in {PATIENCE:g} s", False)
