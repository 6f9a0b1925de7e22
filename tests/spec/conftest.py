"""The cart-pole's file as a parsed document, to be changed by a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

CARTPOLE = Path(__file__).parents[2] / "config" / "robots" / "cartpole.yaml"


@pytest.fixture
def cartpole_path() -> Path:
    return CARTPOLE


@pytest.fixture
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CARTPOLE.read_text(encoding="utf-8"))
    return loaded
