"""viser's server, on this machine only: a robot's buttons are no business of anybody else's.

A browser lets every page it has open talk to a server on the same machine. So only pages that came
from this server may, whatever port a tunnel gave it; and nobody can ask for the page to be shared
over the internet.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import viser
import websockets.asyncio.server

HOST = "127.0.0.1"
OURS = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")


def serve(port: int) -> viser.ViserServer:
    """A server on the next port that is free, from this one on; 0: any."""
    with (
        _only_from_here(),
        contextlib.redirect_stdout(io.StringIO()),
    ):  # its address is told in ours
        server = viser.ViserServer(host=HOST, port=port, verbose=False)
    server.request_share_url = _not_shared  # type: ignore[method-assign]
    server.gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
    return server


@contextlib.contextmanager
def _only_from_here() -> Iterator[None]:
    """What is served meanwhile refuses pages of others. None: a program that is no browser."""
    usual = websockets.asyncio.server.serve
    careful: Any = partial(usual, origins=[OURS, None])
    websockets.asyncio.server.serve = careful  # type: ignore[misc]
    try:
        yield
    finally:
        websockets.asyncio.server.serve = usual  # type: ignore[misc]


def _not_shared(verbose: bool = True) -> None:
    return None
