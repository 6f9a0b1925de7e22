"""Subscriptions whose messages the control thread takes by itself.

An executor hands each message over from another thread, which costs more than the tick that uses
it, and decides when. Here a message waits in the middleware until somebody asks for the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from rclpy.callback_groups import CallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile

Message = TypeVar("Message")


class NoExecutor(CallbackGroup):
    """What is in this group is never ready in the eyes of an executor."""

    def can_execute(self, entity: object) -> bool:
        return False

    def beginning_execution(self, entity: object) -> bool:
        return False


class Taken(Generic[Message]):
    """A subscription without a callback. Only one thread may use it."""

    def __init__(
        self,
        node: Node,
        kind: type[Message],
        topic: str,
        qos: QoSProfile | int = 1,
        events: SubscriptionEventCallbacks | None = None,
    ) -> None:
        self._node = node
        self.subscription: Any = node.create_subscription(
            kind, topic, _never_called, qos, callback_group=NoExecutor(), event_callbacks=events
        )

    @classmethod
    def of(cls, node: Node, subscription: Any) -> Taken[Message]:
        """One that is there already, in a group `NoExecutor`."""
        taken: Taken[Message] = cls.__new__(cls)
        taken._node, taken.subscription = node, subscription
        return taken

    def newest(self) -> Message | None:
        """The newest message that has not been given yet, or None; those before it are dropped."""
        newest: Message | None = None
        while (message := self.take()) is not None:
            newest = message
        return newest

    def take(self) -> Message | None:
        """The next message, or None."""
        taken = self._take_with_info()
        return None if taken is None else taken[0]

    def _take_with_info(self) -> tuple[Message, dict[str, Any]] | None:
        handle = self.subscription.handle
        with handle:
            taken: tuple[Message, dict[str, Any]] | None = handle.take_message(
                self.subscription.msg_type, False
            )
        return taken

    def close(self) -> None:
        """Ends the subscription."""
        self._node.destroy_subscription(self.subscription)


class Waiter:
    """Waits until a message is there. Only one thread may use it."""

    def __init__(self, node: Node, taken: Sequence[Taken[Any]]) -> None:
        self._handles = [t.subscription.handle for t in taken]
        self._set = _rclpy.WaitSet(len(taken), 0, 0, 0, 0, 0, node.context.handle)

    def wait(self, timeout: float) -> None:
        """Waits for a message on any of them, `timeout` s at most."""
        self._set.clear_entities()
        for handle in self._handles:
            self._set.add_subscription(handle)
        self._set.wait(round(timeout * 1e9))


class PolledService:
    """A service whose requests wait until somebody polls. Only one thread may use it.

    Args:
        answer: fills in the response, and gives it.
    """

    def __init__(self, node: Node, kind: Any, name: str, answer: Callable[[Any, Any], Any]) -> None:
        self._node, self._kind, self._answer = node, kind, answer
        self._service: Any = node.create_service(
            kind, name, _never_called, callback_group=NoExecutor()
        )

    def poll(self) -> bool:
        """Answers a request if one has come; tells whether there was one."""
        handle = self._service.handle
        with handle:
            request, header = handle.service_take_request(self._kind.Request)
        if header is None:
            return False
        response = self._respond(request, self._kind.Response())
        try:
            self._service.send_response(response, header)
        except Exception as error:  # the asker has gone; others may come
            self._node.get_logger().warning(
                f"{self._service.service_name}: no answer sent: {error}"
            )
        return True

    def _respond(self, request: Any, response: Any) -> Any:
        return self._answer(request, response)


def _never_called(*message: object) -> None:
    raise AssertionError("the control thread takes this, no executor")
