"""Which of the ways to roll a model out is taken: by what was built, what the model is, and what is
faster here."""

from __future__ import annotations

import copy
import functools
import logging
import math
import time
from typing import Any, Literal

import torch
from torch import Tensor

from mbrl_node.models import DynamicsModel, ModelConfig
from mbrl_node.planning.native import NativePropagation, best_library
from mbrl_node.planning.propagation import Propagation, TorchPropagation, draw
from mbrl_node.spec.system import BoxSystem

log = logging.getLogger(__name__)

Precision = Literal["auto", "fp32", "bf16"]
EngineName = Literal["auto", "torch"]

FASTER = 1.2  # bf16 is taken from this factor on
TOLERANCE = 0.02  # RMS difference of a predicted change, in its standard deviations


def choose(
    model: DynamicsModel,
    propagation: Propagation,
    precision: Precision = "auto",
    engine: EngineName = "auto",
) -> tuple[NativePropagation | TorchPropagation, str]:
    """What carries particles through a model, and a line that says why. A line that was not said
    before is logged."""
    made, why = _choose(model, propagation, precision, engine)
    _say(f"rollouts use {why}")
    return made, why


def _choose(
    model: DynamicsModel, propagation: Propagation, precision: Precision, engine: EngineName
) -> tuple[NativePropagation | TorchPropagation, str]:
    plain = TorchPropagation(model, propagation)
    if engine == "torch":
        return plain, "torch, as configured"
    if model.device.type != "cpu":
        return _on_gpu(model, propagation, precision)
    if not NativePropagation.fits(model):
        return plain, f"torch: {type(model).__name__} may predict in a way of its own"
    single, half = best_library("fp32"), best_library("bf16")
    if single is None:
        return plain, "torch: no compiled library for this processor (see setup.bash)"
    fp32 = functools.partial(NativePropagation, model, single, propagation)
    if precision == "fp32":
        return fp32(), f"{single}, fp32, as configured"
    if half is None:
        return fp32(), f"{single}, fp32: this processor has no fast bf16"
    bf16 = functools.partial(NativePropagation, model, half, propagation)
    if precision == "bf16":
        return bf16(), f"{half}, bf16, as configured"
    shape = model.state_dim, model.action_dim, model.config, model.members
    faster = speed(half, *shape) / speed(single, *shape)
    if faster < FASTER:
        return fp32(), f"{single}, fp32: bf16 is not faster for so small a network"
    made = bf16()
    if not difference(model, made) <= TOLERANCE:
        return fp32(), f"{single}, fp32: in bf16 this model would predict something else"
    return made, f"{half}, bf16: {faster:.1f} times as fast as fp32 here"


def _on_gpu(
    model: DynamicsModel, propagation: Propagation, precision: Precision
) -> tuple[TorchPropagation, str]:
    plain = TorchPropagation(model, propagation)
    where = f"torch on {model.device}"
    fast = type(model) is DynamicsModel and torch.cuda.is_bf16_supported(False)
    if precision == "fp32" or not fast:
        return plain, f"{where}, fp32"
    rounded = copy.deepcopy(model).requires_grad_(False)
    rounded.net.round_hidden()
    half = TorchPropagation(rounded, propagation)
    if precision == "auto" and not difference(model, half) <= TOLERANCE:
        return plain, f"{where}, fp32: in bf16 this model would predict something else"
    return half, f"{where}, bf16"


@functools.cache
def _say(text: str) -> None:
    log.info(text)


@functools.cache
def speed(
    library: str, state_dim: int, action_dim: int, config: ModelConfig, members: int
) -> float:
    """Steps of a sample that a library makes in a second with a model of this shape, one thread."""
    names = [f"s{i}" for i in range(state_dim)], [f"a{i}" for i in range(action_dim)]
    one = torch.ones(action_dim).double().numpy()
    system = BoxSystem("speed", 1.0, tuple(names[0]), tuple(names[1]), -one, one)
    with torch.random.fork_rng(devices=[]):
        model = DynamicsModel(system, config.model_copy(update={"members": members, "elites": 0}))
    native = NativePropagation(model.requires_grad_(False), library, "tsinf")
    samples, horizon, best = 128, 4, math.inf
    draws = draw(model, "tsinf", horizon, members, False, torch.Generator())
    actions = torch.zeros(horizon, action_dim, samples).permute(2, 0, 1)
    state = torch.zeros(model.model_state_dim)
    for _ in range(5):
        begin = time.perf_counter()
        native.states(state, actions, draws)
        best = min(best, time.perf_counter() - begin)
    return samples * horizon * members / best


@torch.no_grad()
def difference(model: DynamicsModel, other: NativePropagation | TorchPropagation) -> float:
    """RMS difference of the change that a propagation in bf16 and the model predict, in standard
    deviations of the change, over states and actions such as the model was trained on."""
    starts, samples, total = 8, 16, 0.0
    generator = torch.Generator(model.device).manual_seed(0)
    draws = draw(model, "tsinf", 1, model.members, False, generator)
    for _ in range(starts):
        state = typical_state(model, generator)
        shape = (samples, 1, model.action_dim)
        noise = torch.randn(shape, generator=generator, device=model.device)
        columns = slice(-model.action_dim, None)
        actions = model.input_mean[columns] + model.input_std[columns] * noise
        found = other.states(state, actions, draws)[1]  # [E or 1, N, n]
        batch = state.expand(model.members, samples, -1)
        right = model.predict(batch, actions[:, 0].expand(model.members, -1, -1))
        right = right.mean(0, keepdim=True) if len(found) == 1 else right
        error = model.difference(right[..., : model.state_dim], found) / model.delta_std
        total += float(error.square().mean()) / starts
    return math.sqrt(total)


def typical_state(model: DynamicsModel, generator: torch.Generator) -> Tensor:
    """A model state [x] from the range that the model was trained on, the past like the present."""
    linear, angles, quaternions = model.geometry.columns
    here: dict[str, Any] = {"generator": generator, "device": model.device}
    state = torch.zeros(model.state_dim, device=model.device)
    width = len(linear)
    noise = torch.randn(width, **here)
    state[linear] = model.input_mean[:width] + model.input_std[:width] * noise
    state[angles] = math.pi * (2 * torch.rand(len(angles), **here) - 1)
    for columns in quaternions:
        state[columns] = torch.nn.functional.normalize(torch.randn(4, **here), dim=0)
    return model.model_state(state[None], state.new_zeros(0, model.action_dim))
