"""Model files: safetensors (no code is executed on loading), written completely or not at all."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mbrl_node.models.dynamics import ModelConfig
from mbrl_node.models.inverse import InverseConfig
from mbrl_node.models.policy import PolicyConfig
from mbrl_node.models.world import WorldModel
from mbrl_node.spec.plugins import PluginError
from mbrl_node.spec.system import System

FORMAT = "mbrl-world-1"
log = logging.getLogger(__name__)


class CheckpointError(Exception):
    """A model file cannot be used; the message names the file and says why."""


def save_checkpoint(model: WorldModel, path: Path, info: dict[str, object]) -> None:
    """Writes what was learned, and what is known of it, to `path`, atomically.

    Args:
        info: JSON-serialisable facts (version, metrics), given back by `load_checkpoint`.
    """
    header = {
        "format": FORMAT,
        "spec_hash": str(model.dynamics.spec_hash),
        "inputs": json.dumps(model.dynamics.inputs),
        "config": model.dynamics.config.model_dump_json(),
        "learns_reward": json.dumps(model.reward is not None),
        "learns_termination": json.dumps(model.termination is not None),
        "info": json.dumps(info),
    }
    if model.policy is not None:
        header["policy"] = model.policy.config.model_dump_json()
    if model.inverse is not None:
        header["inverse"] = model.inverse.config.model_dump_json()
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    _write(path, save(tensors, header))


def copy_checkpoint(source: Path, target: Path, info: dict[str, object]) -> None:
    """Writes the same model to another file, atomically, with some facts changed.

    Raises:
        CheckpointError: the source is missing, damaged or not finite.
    """
    header, tensors = _read(source)
    if not all_finite(tensors):
        raise CheckpointError(f"{source}: has weights that are not finite")
    header["info"] = json.dumps(_info(source, header) | info)
    _write(target, save(tensors, header))


def checkpoint_info(path: Path) -> dict[str, object]:
    """The facts saved with a model.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    return _info(path, _read(path)[0])


def _info(path: Path, header: dict[str, str]) -> dict[str, object]:
    try:
        return dict(json.loads(header["info"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: is damaged: {error}") from error


def all_finite(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether no value of any tensor is infinite or no number."""
    return all(bool(torch.isfinite(t).all()) for t in tensors.values())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with open(part, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def _read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            return header, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as a model: {error}") from error


def load_checkpoint(path: Path, system: System) -> tuple[WorldModel, dict[str, object]]:
    """Reads a model for this robot, and the facts saved with it.

    Raises:
        CheckpointError: the file is missing, damaged, of another robot or format, or not finite.
    """
    header, tensors = _read(path)
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format {header.get('format')!r} is not '{FORMAT}'")
    if header.get("spec_hash") != str(system.hash):
        raise CheckpointError(f"{path}: was learned for another robot than '{system.name}'")
    if header.get("inputs") != json.dumps(system.model_inputs):
        expected = json.dumps(system.model_inputs)
        raise CheckpointError(f"{path}: was learned from {header.get('inputs')}, not {expected}")
    if not all_finite(tensors):
        raise CheckpointError(f"{path}: has weights that are not finite")
    try:
        policy, inverse = header.get("policy"), header.get("inverse")
        model = WorldModel(
            system,
            ModelConfig.model_validate_json(header["config"]),
            json.loads(header["learns_reward"]),
            json.loads(header["learns_termination"]),
            None if policy is None else PolicyConfig.model_validate_json(policy),
            None if inverse is None else InverseConfig.model_validate_json(inverse),
        )
        model.load_state_dict(tensors)
        info = json.loads(header["info"])
    except PluginError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: is damaged: {error}") from error
    return model.eval().requires_grad_(False), info


def newest_checkpoint(
    folder: Path, system: System
) -> tuple[Path, WorldModel, dict[str, object]] | None:
    """The newest usable model in a folder; unusable files are passed over with a warning."""
    for path in checkpoints(folder)[::-1]:
        try:
            return path, *load_checkpoint(path, system)
        except CheckpointError as error:
            log.warning("passed over: %s", error)
    return None


def checkpoint_path(folder: Path, version: int) -> Path:
    """Where a version of the model is kept."""
    return folder / f"v{version:06d}.safetensors"


def checkpoints(folder: Path) -> list[Path]:
    """The model files in a folder, oldest version first."""
    return sorted(folder.glob("v*.safetensors"))
