"""The examples of docs/without_ros.md in Python, run as they stand there, with fewer steps.

Those for the shell are run by tests/docs.
"""

import re
import sys
from pathlib import Path

import pytest

from mbrl_node.agent import RunInfo

PAGE = (Path(__file__).parents[1] / "docs" / "without_ros.md").read_text(encoding="utf-8")
SMALL = {
    "model": {"members": 2, "hidden": [16, 16]},
    "mppi": {"samples": 10, "horizon": 0.25},
    "learner": {"period": 1.0, "gradient_steps": 5},
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """Small defaults, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("mbrl_node.agent.training._defaults", lambda dt: SMALL)
    yield
    sys.modules.pop("pendulum_task", None)


def test_the_python_examples_run(quick, capsys):
    api, module, use = blocks("python")
    shorter = api.replace("steps=3000", "steps=230").replace("episodes=5", "episodes=1")
    names = {}
    exec(shorter, names)
    assert len(names["result"].returns) == 1
    assert names["action"].shape == (1,)
    assert Path("pendulum.mp4").exists()
    assert "200 False" in capsys.readouterr().out

    Path(re.match(r"# (\S+\.py)\n", module)[1]).write_text(module)
    exec(use.replace("steps=3000", "steps=30"), {})
    (run_dir,) = (path for path in Path("runs").iterdir() if path.name != "pendulum")
    info = RunInfo.read(run_dir)
    assert (info.reward, info.termination) == ("pendulum_task:reward", "pendulum_task:termination")
