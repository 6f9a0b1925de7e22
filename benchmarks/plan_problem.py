"""The planning problems of `benchmarks.plan`, and how a call is timed."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mbrl_node.models import ModelConfig, WorldModel
from mbrl_node.planning import Planner, Rollout, RolloutConfig, native
from mbrl_node.spec.robot import RobotSpec
from mbrl_node.spec.task import Task

Array = npt.NDArray[np.float64]

DT = 0.04  # s, the control period
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WARM_UP, BLOCK = 5, 20  # calls


@dataclass(frozen=True)
class Setting:
    """The size of a planning problem: each sequence runs through every member."""

    name: str
    sequences: int
    horizon: int
    members: int
    hidden: tuple[int, ...]
    state_dim: int
    action_dim: int

    @property
    def rollouts(self) -> int:
        return self.sequences * self.members

    @property
    def flops(self) -> int:
        """Of the networks' products in one evaluation of all sequences; means only."""
        sizes = (self.state_dim + self.action_dim, *self.hidden, self.state_dim)
        return self.rollouts * self.horizon * 2 * sum(a * b for a, b in pairwise(sizes))


SETTINGS = (
    Setting("A", 500, 15, 1, (200,) * 3, 4, 1),
    Setting("B", 1000, 30, 1, (200,) * 3, 17, 6),
    Setting("C", 500, 20, 5, (200,) * 3, 17, 6),
    Setting("D", 400, 20, 5, (128,) * 3, 24, 12),
)
SMALL = (
    Setting("64", 64, 15, 1, (64,) * 2, 4, 1),
    Setting("256", 256, 15, 1, (64,) * 2, 4, 1),
)


class Problem:
    """A robot without angles that is to come to rest at 0, and a random model of it that is nowhere
    trivial: who forgets a bias, a mean or a scale, or has 1 % in a layer wrong, finds another cost.

    Attributes:
        state: to plan from, [n].
        state_cost, action_cost: weight of the square of each field of the state reached and of the
            action, [n] and [m].
    """

    def __init__(self, setting: Setting, device: str = "cpu", seed: int = 0) -> None:
        self.setting, self._device = setting, torch.device(device)
        n, m = setting.state_dim, setting.action_dim
        self.state_cost = torch.linspace(1.0, 0.5, n)
        self.action_cost = torch.linspace(0.2, 0.1, m)
        self.spec = RobotSpec.from_dict(self._document())
        self.task = Task.of(self.spec)
        self.world = self.new_world(seed)
        generator = torch.Generator().manual_seed(seed)
        self.state = 0.1 * torch.randn(n, generator=generator).to(self._device)

    def _document(self) -> dict[str, object]:
        states = [f"s{i}" for i in range(len(self.state_cost))]
        actions = [f"a{i}" for i in range(len(self.action_cost))]
        costs = [*zip(states, self.state_cost, strict=True)]
        costs += zip(actions, self.action_cost, strict=True)
        return {
            "name": "benchmark",
            "rate": 1 / DT,
            "state": [
                {
                    "topic": "/joint_states",
                    "type": "sensor_msgs/msg/JointState",
                    "timeout": 0.25,
                    "fields": [
                        {"name": name, "joint": name, "value": "position", "unit": "m"}
                        for name in states
                    ],
                }
            ],
            "action": {
                "topic": "/commands",
                "type": "std_msgs/msg/Float64MultiArray",
                "fields": [
                    {"name": name, "joint": name, "min": -1, "max": 1, "safe": 0, "unit": "N"}
                    for name in actions
                ],
            },
            "reward": [
                {"term": "square", "of": name, "weight": -float(weight)} for name, weight in costs
            ],
            "episode": {"length": 30.0},
        }

    def new_world(self, seed: int) -> WorldModel:
        """Another model of the same size."""
        config = ModelConfig(members=self.setting.members, hidden=self.setting.hidden)
        world = random_world(self.spec, config, seed)
        return world.to(self._device)

    def rollout(self, precision: str = "fp32") -> Rollout:
        """Ours; the return is the mean over the members."""
        return Rollout(self.world, self.task, RolloutConfig(deviation=0.0, precision=precision))

    def actions(self) -> Tensor:
        """A batch of sequences, [N, H, m]."""
        setting = self.setting
        return torch.rand(setting.sequences, setting.horizon, setting.action_dim) * 2.0 - 1.0


def random_world(spec: RobotSpec, config: ModelConfig, seed: int) -> WorldModel:
    """A model whose states change by a quarter or so at each step, so that rollouts stay finite."""
    torch.manual_seed(seed)
    world = WorldModel(spec, config)
    model = world.dynamics
    with torch.no_grad():
        for bias in model.net.biases:
            bias.normal_(std=0.1)
        model.input_mean.normal_(std=0.1)
        model.input_std.uniform_(0.8, 1.2)
        model.delta_mean.normal_(std=0.02)
        model.delta_std.uniform_(0.2, 0.3)
    return world.requires_grad_(False)


def in_turns(calls: Mapping[str, Callable[[], object]], count: int) -> dict[str, Array]:
    """Times each call `count` times, in ms. They take turns in blocks, so that other load on the
    machine hits all. The first call of a block is not counted: it brings code and weights back into
    the caches, as in a controller, that does nothing else."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(WARM_UP):
            call()
    for begin in range(0, count, BLOCK):
        for name, call in calls.items():
            call()
            for _ in range(min(BLOCK, count - begin)):
                start = time.perf_counter()
                call()
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: np.array(values) for name, values in times.items()}


def our_plan(planner: Planner, rollout: Rollout, state: Tensor) -> None:
    """One plan, after the last was shifted by one period."""
    planner.shift(1)
    planner.plan(rollout, state)


def precisions() -> tuple[str, ...]:
    """Those in which it makes sense to plan on this machine."""
    return ("fp32", "bf16") if native.fast_bf16() else ("fp32",)


class OtherLoad:
    """How busy others keep the machine meanwhile: where they take a core that two threads count
    on, times of two threads say little."""

    def __init__(self) -> None:
        self._start = self._used()

    @staticmethod
    def _used() -> tuple[float, float]:
        """Core seconds that others have used, and the time, s."""
        names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
        line = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        ticks = dict(zip(names, map(int, line), strict=False))
        busy = sum(ticks[name] for name in names if name not in ("idle", "iowait"))
        own = os.times()
        return busy / os.sysconf("SC_CLK_TCK") - own.user - own.system, time.monotonic()

    def cores(self) -> float:
        """Cores that others used on average since this was made."""
        (before, begin), (after, end) = self._start, self._used()
        return max(0.0, (after - before) / (end - begin))


def median(times: Array | None) -> float:
    """In ms; NaN where nothing was timed."""
    return math.nan if times is None else float(np.median(times))


def p99(times: Array | None) -> float:
    """The time that 1 of 100 exceeds, ms; NaN where nothing was timed."""
    return math.nan if times is None else float(np.percentile(times, 99))


def gemm_peak(precision: str, quick: bool) -> float:
    """The most GFLOP/s of torch's product of two square matrices, of several sizes."""
    dtype, best = DTYPES[precision], 0.0
    for size in (512, 1024) if quick else (512, 768, 1024, 1536, 2048):
        a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        times = in_turns({"": lambda a=a, b=b, out=out: torch.mm(a, b, out=out)}, 10)[""]
        best = max(best, 2e-6 * size**3 / float(times.min()))
    return best
