"""Where runs are kept by default."""

from __future__ import annotations

import os
from pathlib import Path


def folders() -> list[Path]:
    """Where runs are made by default: by the launch file, and by `mbrl train` in this folder."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return [Path(data) / "mbrl" / "runs", Path("runs")]
