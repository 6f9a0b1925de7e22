"""What a process does not need, it does not load: torch takes 200 MB, and a second and a half."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")


@pytest.mark.parametrize(
    "module", ["sim.node", "sim.record_node", "mbrl_node.ros.view_node", "mbrl_node.ros.self_test"]
)
def test_only_who_learns_or_plans_loads_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
