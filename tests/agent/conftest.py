from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def environments(monkeypatch):
    """Makes `line_env` a module that can be imported by name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def small():
    """Settings with which a step takes no time; they still learn."""
    return {
        "model": {"members": 2, "hidden": [16, 16]},
        "mppi": {"samples": 20, "horizon": 0.8},
        "learner": {"period": 1.0, "gradient_steps": 10, "min_transitions": 10},
    }
