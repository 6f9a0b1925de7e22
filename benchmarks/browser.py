"""Debian's Chromium, without a window and drawing 3D in software."""

from __future__ import annotations

import shutil
from typing import Any

ARGUMENTS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
MISSING = "no chromium here: install Debian's package chromium"


def open_browser(driver: Any) -> Any:
    """A browser of a playwright driver's; to be closed.

    Raises:
        SystemExit: there is none.
    """
    path = shutil.which("chromium")
    if path is None:
        raise SystemExit(MISSING)
    return driver.chromium.launch(executable_path=path, args=ARGUMENTS)
