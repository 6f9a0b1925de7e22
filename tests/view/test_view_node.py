"""The view's process by itself: what it says, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
from ament_index_python.packages import get_package_prefix

VIEW = Path(get_package_prefix("mbrl")) / "lib" / "mbrl" / "view"


def test_without_viser_it_is_one_sentence_that_says_what_to_do(tmp_path):
    (tmp_path / "viser").mkdir()
    (tmp_path / "viser" / "__init__.py").write_text("raise ImportError('no viser here')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, VIEW],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "error: the live view needs viser (no viser here): pip install 'mbrl-node[viz]', or launch "
        "with view:=false"
    )
