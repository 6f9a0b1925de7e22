"""Who gets the live view without asking for it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import termios

import pytest

pytest.importorskip("launch")
SHOW = ["ros2", "launch", "mbrl", "bringup.launch.py", "--show-args"]


@pytest.mark.parametrize(("ci", "default"), [("", "true"), ("true", "false")])
def test_at_a_terminal_it_is_served_but_not_under_ci(ci, default):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (200, 200))
    with subprocess.Popen(SHOW, env={**os.environ, "CI": ci}, stdout=theirs, stderr=theirs):
        os.close(theirs)
        said = b""
        while part := _read(ours):
            said += part
    os.close(ours)
    found = re.search(r"'view':.*?default: '(\w+)'", said.decode(), re.DOTALL)
    assert found and found[1] == default


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side has closed it
        return b""


def test_it_is_not_served_where_nobody_reads_what_is_printed():
    said = subprocess.run(SHOW, env={**os.environ, "CI": ""}, capture_output=True, text=True)
    assert re.search(r"'view':.*?default: 'false'", said.stdout, re.DOTALL)
