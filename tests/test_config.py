"""config/mbrl.yaml shows the defaults, all of them and but for one as they are."""

from pathlib import Path

import yaml

from mbrl_node.control import FallbackConfig, PDConfig, RandomConfig, RelayConfig
from mbrl_node.learning import GateConfig, LearnerConfig, TrainerConfig
from mbrl_node.models import InverseConfig, ModelConfig, PolicyConfig
from mbrl_node.planning import PLANNERS, RolloutConfig
from mbrl_node.ros.diagnostics import DiagnosticsConfig


def test_the_parameter_file_is_the_defaults():
    path = Path(__file__).parents[1] / "config" / "mbrl.yaml"
    shown = yaml.safe_load(path.read_text())["/**"]["ros__parameters"]
    kinds = {
        **{name: planner.Config for name, planner in PLANNERS.items()},
        "rollout": RolloutConfig,
        "diagnostics": DiagnosticsConfig,
        "fallback": FallbackConfig,
        "learner": LearnerConfig,
        "gate": GateConfig,
        "trainer": TrainerConfig,
        "model": ModelConfig,
        "policy": PolicyConfig,
        "inverse": InverseConfig,
        "random": RandomConfig,
        "pd": PDConfig,
        "teleop": RelayConfig,
        "external": RelayConfig,
    }
    assert shown["model"].pop("history") == 2
    defaults = {name: kind().model_dump(mode="json") for name, kind in kinds.items()}
    assert defaults["model"].pop("history") == 1
    assert shown == defaults
