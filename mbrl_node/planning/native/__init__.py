"""The rollout in C++: one library for each instruction set, built at set-up, called through ctypes.

A call releases Python's lock, so that the control loop goes on beside a plan. `rollout.h` says how
it works; here a model is laid out for it, once a model.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mbrl_node.models import DynamicsModel
from mbrl_node.models.ensemble import Ensemble
from mbrl_node.planning.propagation import Draws
from mbrl_node.spec.parts import MOST_FIELDS
from mbrl_node.spec.task import Task
from mbrl_node.spec.terms import BarrierConstraint, RangeTermination, TermReward

log = logging.getLogger(__name__)

# As in layer.h and rollout.h.
GROUP = 12
ACTIVATIONS = ("identity", "silu", "relu", "tanh", "gelu", "leaky_relu", "elu")
TERMS = ("cos", "sin", "linear", "abs", "square", "beyond", "distance")
NONE, MEAN, REDRAWN = range(3)  # what becomes of the particles after a step
PHASES = ("inputs", "hidden layers", "output layer", "update", "reward")

# Libraries of each precision, the fastest first, and the processor's flags that they need.
_AVX2 = ("avx2", "fma", "bmi1", "bmi2", "f16c", "movbe")
_AVX512 = (*_AVX2, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
LIBRARIES: dict[str, dict[str, tuple[str, ...]]] = {
    "fp32": {"avx512": _AVX512, "avx2": _AVX2},
    "bf16": {
        "amx": (*_AVX512, "avx512_bf16", "amx_tile", "amx_bf16"),
        "avx512_bf16": (*_AVX512, "avx512_bf16"),
    },
}


class _Layer(ctypes.Structure):
    _fields_: ClassVar = [
        ("weights", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("member_weights", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("cells", "neurons", "padded", "reserved")),
    ]


class _Part(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_int32) for name in ("column", "is_angle")),
        ("target", ctypes.c_float),
    ]


class _Term(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_int32) for name in ("kind", "of_action", "count")),
        *((name, ctypes.c_float) for name in ("weight", "limit")),
        ("parts", _Part * MOST_FIELDS),
    ]


class _Range(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_int32) for name in ("column", "is_angle")),
        *((name, ctypes.c_float) for name in ("low", "high")),
    ]


class _Barrier(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_int32) for name in ("column", "is_angle")),
        *((name, ctypes.c_float) for name in ("limit", "scale", "weight", "reserved")),
    ]


class _Model(ctypes.Structure):
    _fields_: ClassVar = [
        ("layers", ctypes.POINTER(_Layer)),
        *(
            (name, ctypes.c_void_p)
            for name in (
                *("input_mean", "input_scale", "linear", "angles", "quaternions", "plain"),
                *("upper", "lower", "delta_std"),
            )
        ),
        *(
            (name, ctypes.c_int32)
            for name in (
                *("layer_count", "activation", "state_dim", "action_dim", "history"),
                *("linear_count", "angle_count", "quaternion_count", "plain_count", "delta_dim"),
                *("widest", "reserved"),
            )
        ),
    ]


class _Task(ctypes.Structure):
    _fields_: ClassVar = [
        ("terms", ctypes.POINTER(_Term)),
        ("ranges", ctypes.POINTER(_Range)),
        ("barriers", ctypes.POINTER(_Barrier)),
        *((n, ctypes.c_int32) for n in ("term_count", "range_count", "barrier_count", "ends")),
    ]


class _Plan(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_void_p) for name in ("start", "actions", "members", "noise", "redraw")),
        ("task", ctypes.POINTER(_Task)),
        *((name, ctypes.c_void_p) for name in ("returns", "states", "profile")),
        *(
            (name, ctypes.c_int32)
            for name in ("samples", "horizon", "particles", "coupling", "threads", "reserved")
        ),
    ]


@functools.cache
def load(name: str) -> ctypes.CDLL | None:
    """A library, or None where it was not built or this processor lacks what it needs.

    Raises:
        OSError, AttributeError: its file is damaged.
    """
    needs = next(group[name] for group in LIBRARIES.values() if name in group)
    built = list(Path(__file__).parent.glob(f"_{name}.*so"))
    if not built or not set(needs) <= _processor_flags():
        return None
    library = ctypes.CDLL(os.fspath(built[0]))
    library.mbrl_rollout.argtypes = (ctypes.POINTER(_Model), ctypes.POINTER(_Plan))
    library.mbrl_rollout.restype = None
    return None if library.mbrl_prepare() else library


@functools.cache
def best_library(precision: str) -> str | None:
    """The fastest library of a precision here; None: there is none."""
    return next((name for name in LIBRARIES[precision] if _works(name)), None)


def _works(name: str) -> bool:
    try:
        return load(name) is not None
    except (OSError, AttributeError) as error:
        log.warning("rollouts do without a library that is damaged: %s", error)
        return False


def fast_bf16() -> bool:
    """Whether this processor multiplies bf16 fast, and there is a library that does."""
    return best_library("bf16") is not None


@functools.cache
def _processor_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((x.split(":")[1] for x in lines if x.startswith("flags")), "").split())


class NativeTask:
    """Reward, end and constraint as tables that the libraries work through."""

    def __init__(
        self,
        reward: TermReward,
        end: RangeTermination | None,
        constraint: BarrierConstraint | None,
    ) -> None:
        terms = [
            _Term(
                TERMS.index(t.name),
                t.of_action,
                len(t.parts),
                t.weight,
                t.limit,
                (_Part * MOST_FIELDS)(*(_Part(p.column, p.wrapped, p.target) for p in t.parts)),
            )
            for t in reward.terms
        ]
        table = (_Term * len(terms))(*terms)
        self._targets = reward.targets
        self._aimed = [  # parts of the table whose target is one of the task's, and which
            (table[k].parts[i], part.target_column)
            for k, term in enumerate(reward.terms)
            for i, part in enumerate(term.parts)
            if part.target_column is not None
        ]
        ranges = [_Range(r.column, r.angle, r.low, r.high) for r in (end.ranges if end else ())]
        barriers = [
            _Barrier(b.column, b.angle, b.limit, b.scale, b.weight)
            for b in (constraint.barriers if constraint else ())
        ]
        self.struct = _Task(
            table,
            (_Range * len(ranges))(*ranges),
            (_Barrier * len(barriers))(*barriers),
            len(terms),
            len(ranges),
            len(barriers),
            end is not None,
        )

    def pointer(self) -> Any:
        """To the tables, with what the task aims at now."""
        values = self._targets.values.tolist() if self._aimed else ()
        for part, column in self._aimed:
            part.target = values[column]
        return ctypes.pointer(self.struct)

    @classmethod
    def of(cls, task: Task) -> NativeTask | None:
        """None where a part of the task is a function that is not made of a spec's own terms."""
        reward, end, constraint = task.reward, task.termination, task.constraint
        if not isinstance(reward, TermReward) or any(t.name not in TERMS for t in reward.terms):
            return None
        if not isinstance(end, RangeTermination | None):
            return None
        if not isinstance(constraint, BarrierConstraint | None):
            return None
        return cls(reward, end, constraint)


class NativePropagation:
    """A model laid out for a library. It holds no state between calls: any thread may use it.

    Args:
        library: see `best_library`.
        propagation: as in `RolloutConfig`.

    Raises:
        ValueError: this machine has no such library.
    """

    def __init__(self, model: DynamicsModel, library: str, propagation: str) -> None:
        loaded = load(library)
        if loaded is None:
            raise ValueError(f"there is no library {library} on this machine")
        self._call = loaded.mbrl_rollout
        self.model, self._propagation = model, propagation
        net, geometry = model.net, model.geometry
        bf16, tiles = library in LIBRARIES["bf16"], library == "amx"
        self._keep: list[object] = []  # what the structures point to

        def floats(values: Tensor) -> int:
            return self._pointer(values.detach().float().contiguous())

        def integers(values: Tensor) -> int:
            return self._pointer(values.int().contiguous())

        outputs = net.outputs
        layers, widest = [], 0
        for k, (weight, bias) in enumerate(_layers(model)):
            cells = _cells(weight, first=k == 0) if bf16 else weight.view(torch.int32)
            last = k == len(net.weights) - 1
            packed, bias = _tiles(cells, bias, last) if tiles else _groups(cells, bias)
            size, neurons, padded = cells.shape[1], weight.shape[2], bias.shape[1]
            layers.append(
                _Layer(
                    self._pointer(packed), floats(bias), packed[0].numel(), size, neurons, padded
                )
            )
            widest = max(widest, -(-size // 16) * 16, padded)
        linear, angles, quaternions = geometry.columns
        plain = geometry.plain
        upper = lower = torch.zeros(outputs)
        if net.probabilistic:
            upper, lower = net.max_log_variance, net.min_log_variance
        self._layers = (_Layer * len(layers))(*layers)
        self._struct = _Model(
            self._layers,
            floats(model.input_mean),
            floats(1.0 / model.input_std),
            integers(linear),
            integers(angles),
            integers(quaternions),
            integers(plain),
            floats(upper),
            floats(lower),
            floats(model.delta_std),
            len(layers),
            ACTIVATIONS.index(net.activation),
            model.state_dim,
            model.action_dim,
            model.config.history,
            len(linear),
            len(angles),
            len(quaternions),
            len(plain),
            outputs,
            widest,
        )

    @staticmethod
    def fits(model: torch.nn.Module) -> bool:
        """Whether it is a model of ours, on the CPU: a subclass may predict in another way."""
        own = type(model) is DynamicsModel and type(model.net) is Ensemble
        return own and next(model.parameters()).device.type == "cpu"

    def states(self, state: Tensor, actions: Tensor, draws: Draws) -> Tensor:
        """[H + 1, P, N, n]; see `TorchPropagation.states`."""
        (samples, horizon, _), particles = actions.shape, draws.particles
        rows = 1 if self._propagation == "expectation" else particles
        result = torch.empty(horizon + 1, self.model.state_dim, rows, samples)
        self._run(state, actions, draws, states=result)
        return result.permute(0, 2, 3, 1)

    def returns(self, state: Tensor, actions: Tensor, draws: Draws, task: NativeTask) -> Tensor:
        """The return of each particle of each action sequence, [P, N]."""
        rows = 1 if self._propagation == "expectation" else draws.particles
        result = torch.empty(rows, len(actions))
        self._run(state, actions, draws, task, result)
        return result

    def profile(
        self, state: Tensor, actions: Tensor, draws: Draws, task: NativeTask
    ) -> dict[str, float]:
        """The part of `returns` that is spent in each phase; they add up to 1. On one thread."""
        cycles, result = (
            torch.zeros(len(PHASES), dtype=torch.int64),
            torch.empty(draws.particles, len(actions)),
        )
        self._run(state, actions, draws, task, result, profile=cycles)
        return dict(zip(PHASES, (cycles / cycles.sum()).tolist(), strict=True))

    def _run(
        self,
        state: Tensor,
        actions: Tensor,
        draws: Draws,
        task: NativeTask | None = None,
        returns: Tensor | None = None,
        states: Tensor | None = None,
        profile: Tensor | None = None,
    ) -> None:
        state, actions = state.float().contiguous(), actions.float().permute(1, 2, 0).contiguous()
        horizon, size, samples = actions.shape
        sizes = (*state.shape, size, *draws.members.shape[:1])
        if sizes != (self.model.model_state_dim, self.model.action_dim, horizon):
            raise ValueError(
                f"state {tuple(state.shape)}, actions {(samples, horizon, size)} and draws of "
                f"{len(draws.members)} steps do not fit {self.model.model_state_dim} numbers of a "
                f"state and {self.model.action_dim} of an action"
            )
        coupling = NONE if draws.redraw is None else REDRAWN
        if self._propagation == "expectation":
            coupling = MEAN
        plan = _Plan(
            state.data_ptr(),
            actions.data_ptr(),
            draws.members.data_ptr(),
            _address(draws.noise),
            _address(draws.redraw),
            task.pointer() if task else None,
            _address(returns),
            _address(states),
            _address(profile),
            samples,
            horizon,
            draws.particles,
            coupling,
            torch.get_num_threads(),
        )
        self._call(self._struct, plan)

    def _pointer(self, values: Tensor) -> int:
        self._keep.append(values)
        return values.data_ptr()


def _address(values: Tensor | None) -> int | None:
    return None if values is None else values.data_ptr()


def _layers(model: DynamicsModel) -> Sequence[tuple[Tensor, Tensor]]:
    """Weights [E, in, out] and biases [E, out] of each layer, with what is constant worked in.

    The last layer gives the change in units of the state; the log-variance, where there is one, is
    as it was. Neurons of SiLU are in units of their own, see `activate` in vector.h. (The inputs
    are scaled as they are written: in the first layer's weights, a large mean of a small deviation
    would cost them their digits.)
    """
    net = model.net
    weights = [w.detach() for w in net.weights]
    biases = [b.detach()[:, 0] for b in net.biases]
    scale = torch.ones(weights[-1].shape[2])
    scale[: net.outputs] = model.delta_std
    biases[-1] = biases[-1] * scale
    biases[-1][:, : net.outputs] += model.delta_mean
    if net.activation == "silu" and len(weights) > 1:
        unit = -math.log2(math.e)
        weights[0], scale = weights[0] * unit, scale / unit
        biases = [*(b * unit for b in biases[:-1]), biases[-1]]
    weights[-1] = weights[-1] * scale
    return [(w.contiguous(), b) for w, b in zip(weights, biases, strict=True)]


def _cells(weight: Tensor, first: bool) -> Tensor:
    """fp32 weights [E, in, out] as pairs of bf16 in 32 bits, [E, cells, out]: of inputs 2 i and
    2 i + 1, or in the first layer of both halves of one input."""
    if first:
        pairs = torch.stack((weight, weight), 2)
    else:
        weight = torch.nn.functional.pad(weight, (0, 0, 0, weight.shape[1] % 2))
        pairs = weight.unflatten(1, (-1, 2))
    halves = pairs.to(torch.bfloat16).transpose(2, 3)
    cells: Tensor = halves.clone(memory_format=torch.contiguous_format).view(torch.int32)[..., 0]
    return cells


def _groups(cells: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """[E, cells, out] as [E, groups, cells, GROUP], and the biases [E, out] of whole groups."""
    missing = -cells.shape[2] % GROUP
    cells, bias = (torch.nn.functional.pad(x, (0, missing)) for x in (cells, bias))
    return cells.unflatten(2, (-1, GROUP)).transpose(1, 2).contiguous(), bias


def _tiles(cells: Tensor, bias: Tensor, last: bool) -> tuple[Tensor, Tensor]:
    """[E, cells, out] as [E, out / 16, cells / 16, 16 out, 16 cells], and the biases [E, out] of
    whole tiles, 16 times each, [E, out, 16]. But for the last layer, the neurons of a tile stand in
    the order 0, 2, ... 14, 1, 3, ... 15."""
    order = torch.arange(16) if last else torch.arange(16).view(8, 2).T.flatten()
    missing = -cells.shape[2] % 16
    cells = torch.nn.functional.pad(cells, (0, missing, 0, -cells.shape[1] % 16))
    split = cells.unflatten(2, (-1, 16)).unflatten(1, (-1, 16))  # [E, k, 16 cells, j, 16 out]
    bias = torch.nn.functional.pad(bias, (0, missing)).unflatten(1, (-1, 16))[..., order]
    return (
        split[..., order].permute(0, 3, 1, 4, 2).contiguous(),
        bias.flatten(1)[..., None].expand(-1, -1, 16),
    )
