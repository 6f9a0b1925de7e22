"""What files of a bag have in common: topics, messages, and how far they could be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mbrl_node.data.exchange import ExchangeError


class BagError(ExchangeError):
    """A bag cannot be read or written; the message names the file and says why."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of a bag, as the bag tells it."""

    name: str
    type: str  # package/msg/Name
    encoding: str = "cdr"  # of the messages
    definition: str = ""  # of the type; empty: the bag has none
    language: str = ""  # of the definition: ros2msg or ros2idl


Message = tuple[Topic, int, bytes]  # topic, ns at which it was recorded, the message


@dataclass(slots=True)
class Damage:
    """What of a file could not be read; it grows while the file is read."""

    at: str = ""  # where the file could not be read any further, and why; empty: nowhere
    passed_over: int = 0  # parts before that
    why: str = ""  # of the last of these

    def pass_over(self, why: str) -> None:
        """One more part is left out."""
        self.passed_over += 1
        self.why = why


class Storage(Protocol):
    """A file of a bag."""

    named: Path  # what it is called in messages
    damage: Damage

    def messages(self) -> Iterator[Message]:
        """All messages, in the order of the file, as far as it can be read; `damage` tells
        afterwards how far that is.

        Raises:
            BagError: nothing can be read at all.
        """
