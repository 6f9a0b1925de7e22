"""Where torch computes."""

from __future__ import annotations

import torch

from mbrl_node.ros.process import ConfigurationError


def torch_device(name: str) -> torch.device:
    """The device called `cpu` or `cuda`.

    Raises:
        ConfigurationError: another name, or no GPU that torch can use.
    """
    if name not in ("cpu", "cuda"):
        raise ConfigurationError(f"device: '{name}' is not cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("device: torch finds no CUDA GPU here; use device:=cpu")
    return torch.device(name)
