"""A stranger's path: from the clone to a swinging pole on screen, with the README's own command.

What is typed, and what is seen when: the lines of the terminal (a pseudo-terminal of 120 columns,
so that the programs do as for a person), and the page of the live view in a headless Chromium. The
packages come from where pip finds them; so the time of the set-up is also that of the network.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.browser import open_browser
from benchmarks.domains import free_domain
from benchmarks.report import Row, progress, report

ROOT = Path(__file__).parents[1]
LIMIT = 1200.0  # s
MOMENTS = {  # what is seen, by the line of the terminal that it comes with
    "the set-up says what it does": r"setup: ",
    "the set-up is done": r"setup: ready",
    "the processes start": r"process started",
    "the page's address is told": r"http://127\.0\.0\.1:\d+",
    "the robot moves": r"t +\d+\.\d s \| episode",
    "it plans with what it has learned": r"\| model [1-9]",
    "the pole is up": r"goal held",
    "it was held up for 5 s": r"SOLVED",
}
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A shell command in a pseudo-terminal, its lines and when they came."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (40, 120))
        self.begin = time.monotonic()
        self._process = subprocess.Popen(
            ["bash", "--norc", "-c", command],
            cwd=folder,
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._left = ""

    def lines(self) -> Iterator[tuple[float, str]]:
        """Every line, with s since the begin; empty ones while nothing comes; up to the end."""
        while True:
            if not select.select([self._master], [], [], 0.2)[0]:
                yield time.monotonic() - self.begin, ""
                continue
            try:
                data = os.read(self._master, 65536)
            except OSError:  # all who wrote to it have ended
                return
            now = time.monotonic() - self.begin
            *whole, self._left = (self._left + data.decode(errors="replace")).split("\n")
            for line in whole:
                yield now, _COLOUR.sub("", line).strip()

    def close(self) -> int:
        """Ctrl-C, and its exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)
        for _ in self.lines():
            if self._process.poll() is not None:
                break
        os.close(self._master)
        return self._process.wait(60)


def environment(home: Path) -> dict[str, str]:
    """That of somebody who has just logged in, with a ROS domain of its own."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "USER") if name in os.environ}
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    venv = os.environ.get("VIRTUAL_ENV")
    path = [p for p in os.environ["PATH"].split(":") if not (venv and p.startswith(venv))]
    path = [p for p in path if not p.startswith(str(ROOT))]
    return {
        **kept,
        **pip,
        "PATH": ":".join(path),
        "TERM": "xterm-256color",
        "XDG_DATA_HOME": str(home),
        "ROS_DOMAIN_ID": str(free_domain()),
    }


def path(quick: bool, picture: Path | None) -> list[Row]:
    """What is seen, moment after moment."""
    rows: list[Row] = []

    def seen(at: float, what: str, text: str) -> None:
        rows.append({"at_s": at, "what": what, "seen": text})
        progress(f"{at:6.1f} s  {what}: {text}")

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        clone, begin = ROOT, time.monotonic()
        if not quick:
            clone = Path(folder) / "mbrl"
            subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
            seen(time.monotonic() - begin, "cloned", "git clone … && cd …")
        command = ". ./setup.bash && ros2 launch mbrl bringup.launch.py"
        terminal = Terminal(command, clone, environment(Path(folder)))
        terminal.begin = begin
        left, page = dict(MOMENTS), None
        for at, line in terminal.lines():
            for what in [what for what, pattern in left.items() if re.search(pattern, line)]:
                found = re.search(left.pop(what), line)
                seen(at, what, line)
                if found is not None and found[0].startswith("http"):
                    page = stack.enter_context(opened(found[0]))
                    seen(time.monotonic() - begin, "the page shows the robot", found[0])
            if "it was held up for 5 s" not in left or at > LIMIT:
                break
        if page is not None and picture is not None:
            page.screenshot(path=picture)
        code = terminal.close()
        seen(time.monotonic() - begin, "Ctrl-C", f"ended with {code}")
    return rows


@contextlib.contextmanager
def opened(url: str) -> Iterator[Any]:
    """A page with something drawn on it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = open_browser(driver)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.wait_for_selector("canvas")
        yield page
        browser.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--picture", type=Path, help="PNG of the page when the pole is up")
    parser.add_argument("--quick", action="store_true", help="this checkout, set up as it is")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = path(args.quick, args.picture)
    at = {row["what"]: row["at_s"] for row in rows}
    summary = {
        "commands_typed": 2 if args.quick else 3,
        "until_the_robot_moves_min": at.get("the robot moves", float("nan")) / 60,
        "until_the_pole_is_up_min": at.get("the pole is up", float("nan")) / 60,
    }
    report("a stranger's path", rows, summary, args.json)


if __name__ == "__main__":
    main()
