"""What the live view costs: the CPU time of its process while nobody looks, and with one page open.

`ros2 launch mbrl bringup.launch.py view:=true`, the cart-pole at 25 Hz on the machine's clock,
learning; the page is shown by a headless Chromium that draws in software, whose own time does not
count. The view runs at nice 10; the share is of one core, over the whole time.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.browser import MISSING, open_browser
from benchmarks.domains import free_domain
from benchmarks.launching import cpu_times, launched
from benchmarks.report import Row, progress, report

PATIENCE = 120.0  # s until the page is there, and the robot plans
ADDRESS = re.compile(r"the live view is at (http://127\.0\.0\.1:\d+)")
PLANS = re.compile(r"\| model [1-9]")


def share(launch: int, seconds: float) -> float:
    """The part of a core that a launch's view uses meanwhile, %.

    Raises:
        KeyError: there is none.
    """
    begin, before = time.monotonic(), cpu_times(launch)["view"]
    time.sleep(seconds)
    return 100 * (cpu_times(launch)["view"] - before) / (time.monotonic() - begin)


def wait_for(log: Path, what: re.Pattern[str]) -> re.Match[str]:
    """Waits until it is printed.

    Raises:
        SystemExit: it never was.
    """
    deadline = time.monotonic() + PATIENCE
    while not (found := what.search(log.read_text(errors="replace"))):
        if time.monotonic() > deadline:
            raise SystemExit(f"'{what.pattern}' was not printed:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)
    return found


def run(seconds: float, folder: Path) -> list[Row]:
    """A row without a page, one with a page, and one without again."""
    log, rows = folder / "launch.log", []
    domain = free_domain()
    arguments = {"run_dir": folder / "run", "use_sim_time": "false", "view": "true"}
    with launched(log, domain, **arguments) as launch, sync_playwright() as driver:
        address = wait_for(log, ADDRESS)[1]
        wait_for(log, PLANS)
        browser = open_browser(driver)
        for pages in (0, 1, 0):
            page = browser.new_page(viewport={"width": 1280, "height": 800}) if pages else None
            if page is not None:
                page.goto(address)
                page.get_by_role("button", name="E-STOP").wait_for()
            time.sleep(3.0)  # what is done once is over
            rows.append({"pages": pages, "cpu_percent_of_a_core": share(launch.pid, seconds)})
            progress(" ".join(f"{k}={v:.3g}" for k, v in rows[-1].items()))
            if page is not None:
                page.close()
        browser.close()
    return rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.view",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="each time (default 30)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="5 s each: does it run?")
    options = parser.parse_args()
    if shutil.which("chromium") is None:
        raise SystemExit(MISSING)
    with tempfile.TemporaryDirectory() as folder:
        rows = run(5.0 if options.quick else options.seconds, Path(folder))
    alone = max(row["cpu_percent_of_a_core"] for row in rows if not row["pages"])
    looked_at = max(row["cpu_percent_of_a_core"] for row in rows if row["pages"])
    summary = {"nobody_looks_percent": alone, "one_page_percent": looked_at}
    report("What the live view costs", rows, summary, options.json)


if __name__ == "__main__":
    main()
