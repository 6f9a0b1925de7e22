"""From files, `key=value` pairs and mappings to an `AgentConfig`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mbrl_node.agent.agent import AgentConfig
from mbrl_node.planning import PLANNERS, Planner
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.errors import from_pydantic, line, one_line, show
from mbrl_node.spec.plugins import PluginError, find

# Sections of config/mbrl.yaml that only the nodes have a use for.
NODE_SECTIONS = ("random", "pd", "teleop", "external", "fallback", "diagnostics")
Settings = Mapping[str, Any]  # sections of `AgentConfig`, as far as they are set


def settings_of(spec: RobotSpec) -> dict[str, Any]:
    """A robot's own settings, as far as an agent has a use for them."""
    result = {k: v for k, v in spec.settings.items() if k not in (*NODE_SECTIONS, "controller")}
    controller = spec.settings.get("controller")
    return {**result, "planner": controller} if controller in PLANNERS else result


class SettingsError(ValueError):
    """Settings cannot be used; one line for each thing that is wrong."""


def read_file(path: Path) -> dict[str, Any]:
    """The settings in a YAML file: the sections alone, or as nodes take them (config/mbrl.yaml).

    Raises:
        SettingsError: it cannot be read, or is not a mapping.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid YAML: {one_line(error)}") from error
    for wrapper in ("/**", "ros__parameters"):
        if isinstance(data, dict) and wrapper in data:
            data = data[wrapper]
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: {show(data)} is not a mapping of sections, such as model:")
    return {key: value for key, value in data.items() if key not in NODE_SECTIONS}


def from_pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """`["model.members=1"]` as `{"model": {"members": 1}}`; values are YAML.

    Raises:
        SettingsError: one of them is not `key=value`.
    """
    result: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not all(key.split(".")):
            raise SettingsError(f"{pair!r} is not KEY=VALUE, such as model.members=1")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SettingsError(f"{key}: {text!r} is not valid YAML") from error
        for part in reversed(key.split(".")):
            value = {part: value}
        result = merged(result, value)
    return result


def merged(below: Settings, above: Settings) -> dict[str, Any]:
    """`below` with what `above` sets in its place, section by section."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def config_from(settings: Settings) -> AgentConfig:
    """The configuration with these settings, the rest at its defaults.

    Raises:
        SettingsError: a key is not known, or a value cannot be used.
    """
    try:
        config = AgentConfig.model_validate(settings)
    except ValidationError as error:
        problems = [line("", problem) for problem in from_pydantic(error, AgentConfig)]
        raise SettingsError("\n".join(problems)) from error
    try:
        find("mbrl.planners", config.planner, PLANNERS, Planner)
    except PluginError as error:
        raise SettingsError(str(error)) from error
    return config


def differences(before: AgentConfig, after: AgentConfig) -> list[str]:
    """Of two configurations: for each key whose value differs, what it is and what not."""
    old, new = (dict(_leaves(config.model_dump())) for config in (before, after))
    keys = [key for key in old | new if old.get(key) != new.get(key)]
    return [f"{key} is {show(old.get(key))}, not {show(new.get(key))}" for key in keys]


def _leaves(tree: Settings, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
