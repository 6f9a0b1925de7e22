"""Times as messages have them."""

from __future__ import annotations

from typing import Protocol

from builtin_interfaces.msg import Time


class Stamp(Protocol):
    """What Time and Duration have."""

    sec: int
    nanosec: int


def to_time(ns: int) -> Time:
    """A message's stamp from ns."""
    return Time(sec=ns // 10**9, nanosec=ns % 10**9)


def from_time(stamp: Stamp) -> int:
    """ns from a message's stamp, or duration."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def seconds(stamp: Stamp) -> float:
    """s from a message's stamp, or duration."""
    return 1e-9 * from_time(stamp)
