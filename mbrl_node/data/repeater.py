"""When transitions are sent again, and which."""

from __future__ import annotations

from mbrl_node.data.outbox import Outbox
from mbrl_node.data.records import Records

PATIENCE = 1.0  # s without an acknowledgement after which they are sent again
LONGEST_PATIENCE = 4.0  # s; it doubles while none comes
WINDOW = 400  # transitions that may be ahead of what is acknowledged


class Repeater:
    """Goes through an outbox again where a learner misses something, from the first that is not
    acknowledged on, and no faster than that one moves on."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self._acknowledged, self._since, self._patience = -1, 0.0, PATIENCE
        self._next, self._end = 0, 0  # what is to be sent

    def due(self, now: float, most: int) -> Records:
        """What is to be sent now to a learner that is there, [N].

        Args:
            now: s of a clock that is never set.
            most: transitions.
        """
        box = self.outbox
        if not len(box) or box.acknowledged > self._acknowledged:
            self._acknowledged, self._since, self._patience = box.acknowledged, now, PATIENCE
        elif now - self._since >= self._patience:
            self._next, self._end = 0, box.written
            self._since, self._patience = now, min(2 * self._patience, LONGEST_PATIENCE)
        first = max(self._next, box.oldest)
        end = min(first + most, self._end, box.oldest + WINDOW)
        self._next = max(first, end)
        return box.read(first, max(0, end - first))
