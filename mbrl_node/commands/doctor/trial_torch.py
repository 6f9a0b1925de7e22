"""What torch, the GPU and the compiled rollouts do here; a trial of `mbrl doctor`.

Each stage is told as soon as it is done: of one that crashes, those before are known.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mbrl_node.ros.told import tell

_SIZE = 512  # of the matrices


def main() -> None:
    """Tells it, stage by stage."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ones = torch.ones(_SIZE, _SIZE)
    if not bool((ones @ ones == _SIZE).all()):
        raise SystemExit("a product of two matrices of ones is wrong")
    flops = 2 * _SIZE**3 / _best(lambda: ones @ ones)
    tell("torch", {"version": torch.__version__, "threads": threads, "gflops": flops / 1e9})
    tell("gpu", _gpu())
    logging.disable()
    tell("rollouts", _libraries())
    tell("speed", _speed())


def _gpu() -> dict[str, Any]:
    if torch.version.cuda is None or not torch.cuda.is_available():
        return {}
    try:
        ones = torch.ones(_SIZE, _SIZE, device="cuda")
        total = float((ones @ ones).sum())
    except RuntimeError as error:
        return {"error": str(error).partition("\n")[0]}
    if total != _SIZE**3:
        return {"error": "a product of two matrices of ones is wrong"}
    properties = torch.cuda.get_device_properties(0)
    bf16 = torch.cuda.is_bf16_supported(False)
    return {"name": properties.name, "memory": properties.total_memory, "bf16": bf16}


def _libraries() -> dict[str, str]:
    """By name: here, not built, not for this processor, or damaged and how."""
    from mbrl_node.planning import native

    result = {}
    folder = Path(native.__file__).parent
    for name in (name for group in native.LIBRARIES.values() for name in group):
        try:
            loaded = native.load(name) is not None
        except (OSError, AttributeError) as error:
            result[name] = f"damaged: {str(error).removeprefix(f'{folder}/')}"
            continue
        built = any(folder.glob(f"_{name}.*so"))
        result[name] = "here" if loaded else "not for this processor" if built else "not built"
    return result


def _speed() -> dict[str, Any]:
    """The best library of each precision, and how many times as fast as torch it is, for the
    default model on a robot of four fields; one thread."""
    import numpy as np

    from mbrl_node.models import DynamicsModel, ModelConfig
    from mbrl_node.planning.native import NativePropagation, best_library
    from mbrl_node.planning.propagation import TorchPropagation, draw
    from mbrl_node.spec.system import BoxSystem

    best = {p: name for p in ("fp32", "bf16") if (name := best_library(p))}
    system = BoxSystem("trial", 0.04, tuple("wxyz"), ("u",), -np.ones(1), np.ones(1))
    model = DynamicsModel(system, ModelConfig()).requires_grad_(False)
    members = model.members
    state, actions = torch.zeros(model.model_state_dim), torch.zeros(120, 10, 1)
    draws = draw(model, "tsinf", 10, members, False, torch.Generator())

    def seconds(propagation: NativePropagation | TorchPropagation) -> float:
        return _best(lambda: propagation.states(state, actions, draws))

    plain = seconds(TorchPropagation(model, "tsinf"))
    times = {p: plain / seconds(NativePropagation(model, best[p], "tsinf")) for p in best}
    return {"best": best, **times}


def _best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls."""
    best = math.inf
    for _ in range(7):
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return best


if __name__ == "__main__":
    main()
