"""Calls between two processes of ours over a pair of sockets: names, numbers and arrays."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float64]]
Answer = tuple[dict[str, Any], Arrays]

_SIZE = struct.Struct("<QI")  # of all, and of the part in JSON


class LineError(Exception):
    """The other end is gone."""


class CallError(Exception):
    """The other end could not do what it was asked to; the message says why."""


class Line:
    """One end of a connection. Calls are answered one after the other."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._turn = threading.Lock()

    def call(self, what: str, values: Mapping[str, Any], arrays: Arrays | None = None) -> Answer:
        """What the other end answers.

        Raises:
            LineError: it is gone.
            CallError: it says that it could not.
        """
        with self._turn:
            self._send({"call": what, **values}, arrays or {})
            answer, found = self._receive()
        if "error" in answer:
            raise CallError(answer["error"])
        return answer, found

    def serve(self, answer: Callable[[dict[str, Any], Arrays], Answer]) -> None:
        """Answers calls until the other end is gone."""
        with contextlib.suppress(LineError):
            while True:
                values, arrays = self._receive()
                try:
                    reply = answer(values, arrays)
                except Exception as error:  # the caller is told
                    kind = "" if isinstance(error, CallError) else f"{type(error).__name__}: "
                    reply = ({"error": f"{kind}{error}"}, {})
                self._send(*reply)

    def close(self) -> None:
        """Whoever waits for an answer gets a LineError."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _send(self, values: Mapping[str, Any], arrays: Arrays) -> None:
        shapes = {name: array.shape for name, array in arrays.items()}
        head = json.dumps({"values": values, "shapes": shapes}).encode()
        body = [np.ascontiguousarray(a, np.float64).tobytes() for a in arrays.values()]
        size = len(head) + sum(map(len, body))
        try:
            self._socket.sendall(b"".join((_SIZE.pack(size, len(head)), head, *body)))
        except OSError as error:
            raise LineError(str(error)) from error

    def _receive(self) -> Answer:
        size, head_size = _SIZE.unpack(self._exactly(_SIZE.size))
        data = self._exactly(size)
        head = json.loads(bytes(data[:head_size]))
        arrays, at = {}, head_size
        for name, shape in head["shapes"].items():
            count = math.prod(shape)
            values = np.frombuffer(data, np.float64, count, at)
            arrays[name], at = values.reshape(shape).copy(), at + 8 * count
        return head["values"], arrays

    def _exactly(self, size: int) -> bytearray:
        data = bytearray(size)
        view, done = memoryview(data), 0
        while done < size:
            try:
                count = self._socket.recv_into(view[done:])
            except OSError as error:
                raise LineError(str(error)) from error
            if count == 0:
                raise LineError("it has ended")
            done += count
        return data
