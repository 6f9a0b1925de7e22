"""Model files: safetensors (no code is executed on loading), written completely or not at all."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mbrl_node.models.dynamics import DynamicsModel, ModelConfig
from mbrl_node.spec import RobotSpec

log = logging.getLogger(__name__)


class CheckpointError(Exception):
    """A model file cannot be used; the message names the file and says why."""


def save_checkpoint(model: DynamicsModel, path: Path, info: dict[str, object]) -> None:
    """Writes the model and what is known of it to `path`, atomically.

    Args:
        info: JSON-serialisable facts (version, metrics), given back by `load_checkpoint`.
    """
    header = {
        "format": "mbrl-dynamics-1",
        "spec_hash": str(model.spec_hash),
        "inputs": json.dumps(model.inputs),
        "config": model.config.model_dump_json(),
        "info": json.dumps(info),
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with open(part, "wb") as file:
        file.write(save(tensors, header))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def load_checkpoint(path: Path, spec: RobotSpec) -> tuple[DynamicsModel, dict[str, object]]:
    """Reads a model for this robot, and the facts saved with it.

    Raises:
        CheckpointError: the file is missing, damaged, of another robot or format, or not finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as a model: {error}") from error
    if header.get("format") != "mbrl-dynamics-1":
        raise CheckpointError(f"{path}: format {header.get('format')!r} is not 'mbrl-dynamics-1'")
    if header.get("spec_hash") != str(spec.hash):
        raise CheckpointError(f"{path}: was learned for another robot than '{spec.name}'")
    if header.get("inputs") != json.dumps(spec.model_inputs):
        raise CheckpointError(
            f"{path}: was learned from {header.get('inputs')}, not {json.dumps(spec.model_inputs)}"
        )
    if not all(torch.isfinite(t).all() for t in tensors.values()):
        raise CheckpointError(f"{path}: has weights that are not finite")
    try:
        model = DynamicsModel(spec, ModelConfig.model_validate_json(header["config"]))
        model.load_state_dict(tensors)
        info = json.loads(header["info"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: is damaged: {error}") from error
    return model.eval().requires_grad_(False), info


def newest_checkpoint(
    folder: Path, spec: RobotSpec
) -> tuple[Path, DynamicsModel, dict[str, object]] | None:
    """The newest usable model in a folder; unusable files are passed over with a warning."""
    for path in checkpoints(folder)[::-1]:
        try:
            return path, *load_checkpoint(path, spec)
        except CheckpointError as error:
            log.warning("passed over: %s", error)
    return None


def checkpoint_path(folder: Path, version: int) -> Path:
    """Where a version of the model is kept."""
    return folder / f"v{version:06d}.safetensors"


def checkpoints(folder: Path) -> list[Path]:
    """The model files in a folder, oldest version first."""
    return sorted(folder.glob("v*.safetensors"))
