from pathlib import Path

import pytest

from mbrl_node.agent import AgentConfig, SettingsError
from mbrl_node.agent.settings import config_from, differences, from_pairs, merged, read_file
from mbrl_node.models import ModelConfig

ROOT = Path(__file__).parents[2]


def test_pairs_become_sections_whose_values_are_yaml():
    pairs = ["model.hidden=[8, 8]", "model.members=1", "planner=icem", "rollout.aleatoric=true"]
    config = config_from(from_pairs([*pairs, "trainer.learning_rate=1e-3"]))
    assert config.model.hidden == (8, 8)
    assert (config.model.members, config.planner, config.rollout.aleatoric) == (1, "icem", True)
    assert config.trainer.learning_rate == 1e-3


def test_the_last_of_two_pairs_counts():
    assert from_pairs(["model.members=1", "model.members=2"]) == {"model": {"members": 2}}


@pytest.mark.parametrize("pair", ["model", "=1", "model.=1", ".members=1", "model.members=[1"])
def test_what_is_no_pair_is_shown(pair):
    with pytest.raises(SettingsError, match=r"KEY=VALUE|not valid YAML"):
        from_pairs([pair])


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("model.member=1", "model.member: is not a known key; did you mean 'members'?"),
        ("modl.members=1", "modl: is not a known key; did you mean 'model'?"),
        ("model.members=many", "model.members: 'many' is not a whole number"),
        ("model.members=0", "model.members: 0 must be at least 1"),
        ("rollout.tail=2", "rollout.tail: 2 must be at most 1"),
        ("rollout.aleatoric=perhaps", "rollout.aleatoric: 'perhaps' is not true or false"),
        ("model.activation=rellu", "did you mean 'relu'?"),
        ("model=5", "model: 5 is not a mapping"),
        ("planner=ice", "did you mean 'icem'?"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_what_would_be_right(pair, words):
    with pytest.raises(SettingsError) as error:
        config_from(from_pairs([pair]))
    assert words in str(error.value)


def test_every_wrong_setting_has_its_line():
    with pytest.raises(SettingsError) as error:
        config_from({"model": {"members": 0, "foo": 1}, "bar": 1})
    assert len(str(error.value).splitlines()) == 3


def test_a_file_may_have_the_sections_alone_or_be_one_of_the_nodes(tmp_path):
    alone = tmp_path / "alone.yaml"
    alone.write_text("model: {members: 3}\nplanner: cem\n")
    nodes = tmp_path / "nodes.yaml"
    nodes.write_text("/**:\n  ros__parameters:\n    model: {members: 3}\n    planner: cem\n")
    assert read_file(alone) == read_file(nodes)
    assert config_from(read_file(alone)).model.members == 3


def test_the_parameters_of_the_nodes_are_settings():
    defaults = AgentConfig(model=ModelConfig(history=2))
    assert config_from(read_file(ROOT / "config" / "mbrl.yaml")) == defaults


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "\x00"])
def test_a_file_that_cannot_be_used_is_named(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"x\.yaml: .*(mapping|YAML)"):
        read_file(path)


def test_settings_lie_over_others_section_by_section():
    below = {"model": {"members": 3, "history": 2}, "planner": "cem"}
    assert merged(below, {"model": {"members": 1}}) == {
        "model": {"members": 1, "history": 2},
        "planner": "cem",
    }


def test_differences_are_told_key_by_key():
    other = config_from({"model": {"members": 1}, "planner": "icem"})
    assert differences(AgentConfig(), other) == [
        "planner is 'mppi', not 'icem'",
        "model.members is 5, not 1",
    ]
