"""Names that other distributions register."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from mbrl_node.models import ModelConfig, WorldModel
from mbrl_node.spec import PluginError, RobotSpec, SpecError, load_spec
from mbrl_node.spec.plugins import find, plugins
from mbrl_node.spec.terms import TermReward

TERMS = "[mbrl.reward_terms]\ncube = extra_terms:cube\n"
MODULE = {"extra_terms.py": "def cube(value, limit):\n    return value**3\n"}


def error_of(group: str, name: str, **arguments: Any) -> str:
    with pytest.raises(PluginError) as error:
        find(group, name, {"known": print}, **arguments)
    return str(error.value)


def test_names_are_listed_without_an_import(distribution) -> None:
    distribution("extra", TERMS, {})  # there is nothing to import
    assert list(plugins("mbrl.reward_terms")) == ["cube"]


def test_what_is_built_in_is_found_as_well(distribution) -> None:
    distribution("extra", TERMS, MODULE)
    assert find("mbrl.reward_terms", "known", {"known": print}) is print
    assert find("mbrl.reward_terms", "cube", {"known": print})(2.0, 0.0) == 8.0


def test_an_unknown_name_is_answered_with_the_known_ones(distribution) -> None:
    distribution("extra", TERMS, MODULE)
    assert error_of("mbrl.reward_terms", "cub") == (
        "reward term 'cub' is not one of known, cube; did you mean 'cube'?"
    )


def test_a_plugin_that_cannot_be_imported_is_named_with_its_distribution_and_the_cause(
    distribution,
) -> None:
    distribution("extra", TERMS, {"extra_terms.py": "import no_such_module\n"})
    assert error_of("mbrl.reward_terms", "cube") == (
        "reward term 'cube' (extra_terms:cube) of extra 0.1: cannot be imported:"
        " ModuleNotFoundError: No module named 'no_such_module'"
    )


def test_a_plugin_of_the_wrong_kind_is_refused(distribution) -> None:
    distribution("extra", TERMS.replace("reward_terms", "models"), MODULE)
    assert error_of("mbrl.models", "cube", base=dict) == (
        "model 'cube' (extra_terms:cube) of extra 0.1: is not a subclass of dict"
    )
    distribution("more", "[mbrl.models]\nnumber = math:pi\n", {})
    assert error_of("mbrl.models", "number") == (
        "model 'number' (math:pi) of more 0.1: is not callable"
    )


def test_a_name_that_is_built_in_or_given_twice_is_refused(distribution) -> None:
    distribution("extra", TERMS, MODULE)
    with pytest.raises(PluginError) as error:
        plugins("mbrl.reward_terms", ["cube"])
    assert str(error.value) == (
        "reward term 'cube' (extra_terms:cube) of extra 0.1: the name is built in; choose another"
    )
    distribution("more", TERMS, {})
    with pytest.raises(PluginError, match=r"extra 0.1: .* of more 0.1 has the same name"):
        plugins("mbrl.reward_terms")


# In a robot's file and in a model's configuration.


def test_a_file_may_name_a_term_that_needs_torch_without_importing_it(distribution) -> None:
    folder = distribution("extra", TERMS, {"extra_terms.py": "import torch\n"})
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "from mbrl_node.spec import load_spec\n"
        "spec = load_spec('cartpole').with_overrides("
        "reward=[{'term': 'cube', 'of': 'x', 'weight': 1.0, 'limit': 2.0}])\n"
        "print(spec.reward_terms[0].term, {'torch', 'extra_terms'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "cube set()\n", result.stderr


def test_an_unknown_term_is_answered_with_those_of_plugins_too(
    distribution, document: dict[str, Any]
) -> None:
    distribution("extra", TERMS, MODULE)
    document["reward"][0]["term"] = "cub"
    with pytest.raises(SpecError) as error:
        RobotSpec.from_dict(document, "robot.yaml")
    assert str(error.value) == (
        "robot.yaml: reward[0].term: 'cub' is not one of"
        " cos, sin, linear, abs, square, beyond, distance, cube; did you mean 'cube'?"
    )


def test_a_plugin_called_like_a_built_in_term_makes_the_file_invalid(
    distribution, document: dict[str, Any]
) -> None:
    distribution("extra", "[mbrl.reward_terms]\ncos = extra_terms:cube\n", MODULE)
    with pytest.raises(SpecError, match=r"reward term 'cos' \(.*: the name is built in"):
        RobotSpec.from_dict(document, "robot.yaml")


def test_a_term_that_cannot_be_imported_is_an_error_when_the_reward_is_made(distribution) -> None:
    distribution("extra", TERMS, {})
    terms = [{"term": "cube", "of": "x", "weight": 1.0}]
    spec = load_spec("cartpole").with_overrides(reward=terms)
    with pytest.raises(PluginError, match="No module named 'extra_terms'"):
        TermReward(spec)


def test_an_unknown_kind_of_model_is_answered_with_the_known_ones() -> None:
    with pytest.raises(PluginError, match="model 'ensembel' is not one of ensemble; did you mean"):
        WorldModel(load_spec("cartpole"), ModelConfig(kind="ensembel"))
