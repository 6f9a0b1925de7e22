"""The library's log messages in the node's log, by a thread of their own: a terminal that is
stopped (Ctrl-S) or a full pipe must not hold up control."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from logging.handlers import QueueHandler, QueueListener

from rclpy.node import Node


class RosLogHandler(logging.Handler):
    """Sends log messages to the node's logger."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Logs one message at its level."""
        if record.levelno >= logging.ERROR:
            self._logger.error(record.getMessage())
        elif record.levelno >= logging.WARNING:
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())


def forward_logs(node: Node) -> Callable[[], None]:
    """From now on the library logs through this node, until what this gives is called; that waits
    until all is logged."""
    messages: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler, listener = QueueHandler(messages), QueueListener(messages, RosLogHandler(node))
    logger = logging.getLogger("mbrl_node")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    listener.start()

    def end() -> None:
        logger.removeHandler(handler)
        listener.stop()

    return end
