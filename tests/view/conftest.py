"""Debian's Chromium, without a window and drawing 3D in software."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from benchmarks.browser import MISSING, open_browser

playwright = pytest.importorskip("playwright.sync_api")

INSTALL = (
    ["apt-get", "update"],
    ["apt-get", "install", "-y", "--no-install-recommends", "chromium"],
)


@pytest.fixture(scope="session")
def browser() -> Iterator[playwright.Browser]:
    """A browser; the tests are skipped where there is none and none can be installed."""
    if shutil.which("chromium") is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            pytest.skip(MISSING)
        for command in INSTALL:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(
                    f"no chromium here, and {' '.join(command)} fails: {done.stderr[-300:]}"
                )
    with playwright.sync_playwright() as driver:
        opened = open_browser(driver)
        yield opened
        opened.close()
