"""Other planners on the problems of `benchmarks.plan`, each beside ours with the same search.

All have the same weights, activation, cost, samples, horizon, iterations and elites, and all are
given the mean over the members. Where a peer leaves a choice to its user, the fastest that was
found on an Intel Xeon with AMX is taken:

- The model that pytorch_mppi and pytorch_icem call has the normalisation folded into the first and
  the last layer, no gradients, and one (batched) product a layer. The states of all members are one
  long state of the library. pytorch_mppi's own way to several rollouts a sequence,
  `rollout_samples`, took 1 to 20 % longer, and its `compile()` made plans longer, too.
- As that model is the user's, it is also timed with its layers in bfloat16.
- mbrl-lib runs its own network and normaliser. The network is deterministic, so that no variance is
  computed and no noise drawn.

What differs: the noise (pytorch_mppi's is white, ours autoregressive; pytorch_icem draws its with
numpy in double precision) and the bounds (pytorch_icem has none). pytorch_icem keeps the number of
sequences the same in all iterations, kept elites included: so does ours here (`decay` 1), but for
the mean, which ours adds to the last. pytorch_mppi adds the cost of the noise to that of states and
actions.
"""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor
from torch.nn import functional as F

from benchmarks import mbrl_lib
from benchmarks.plan_problem import DT, DTYPES, Problem
from mbrl_node.planning import (
    CEM,
    ICEM,
    MPPI,
    ActionSpace,
    CEMConfig,
    ICEMConfig,
    MPPIConfig,
    Planner,
)

ITERATIONS = 3  # of CEM and iCEM; MPPI has one
ELITES, KEPT = 0.1, 0.3  # part of the samples, part of the elites
NOISE = 0.6  # standard deviation, in half ranges

_MISSING = (
    "{} cannot be imported ({}); install it:\n"
    '  python -m pip install -c constraints.txt -e ".[bench]"'
)


class Peer(Protocol):
    """Another planner. One that is not installed raises an ImportError that says what to do."""

    precisions: ClassVar[tuple[str, ...]]

    def __init__(self, problem: Problem, precision: str = "fp32") -> None: ...

    def plan(self) -> None:
        """One plan from the problem's state, after the last plan was shifted by one period."""

    def costs(self, actions: Tensor) -> Tensor:
        """Of action sequences [N, H, m], [N], by the code that plans."""

    @staticmethod
    def ours(problem: Problem) -> Planner:
        """Our planner with the same search."""


class Network:
    """The model and the cost as a user of pytorch_mppi or pytorch_icem writes them."""

    def __init__(self, problem: Problem, precision: str) -> None:
        setting = problem.setting
        self._members, self._fields = setting.members, setting.state_dim
        dtype = DTYPES[precision]
        weights, biases = folded(problem, inputs=True)
        if self._members == 1:  # addmm is faster than baddbmm of one
            weights, biases = [w[0] for w in weights], [b[0, 0] for b in biases]
        self._product = torch.addmm if self._members == 1 else torch.baddbmm
        self._layers = [
            (w.to(dtype).contiguous(), b.to(dtype)) for w, b in zip(weights, biases, strict=True)
        ]
        self._dtype = dtype
        self._state_cost = problem.state_cost.repeat(self._members) / self._members
        self._action_cost = problem.action_cost

    def dynamics(self, states: Tensor, actions: Tensor) -> Tensor:
        """The next states of all members, [N, E n], for [N, E n] and actions [N, m]."""
        if self._members == 1:
            return states + self._change(torch.cat((states, actions), -1))
        by_member = states.view(-1, self._members, self._fields).transpose(0, 1)
        inputs = torch.cat((by_member, actions.expand(self._members, -1, -1)), -1)
        return states + self._change(inputs).transpose(0, 1).reshape(states.shape)

    def _change(self, x: Tensor) -> Tensor:
        x = x.to(self._dtype)
        *hidden, (weight, bias) = self._layers
        for w, b in hidden:
            x = F.silu(self._product(b, x, w), inplace=True)
        return self._product(bias, x, weight).float()

    def cost(self, states: Tensor, actions: Tensor) -> Tensor:
        """Of states [..., E n] reached with actions [..., m], [...]."""
        return states.square() @ self._state_cost + actions.square() @ self._action_cost


def folded(problem: Problem, inputs: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Weights [E, in, out] and biases [E, 1, out] of the layers up to the mean, with the scale of
    the outputs in them, and that of the inputs if wanted."""
    model, n = problem.world.dynamics, problem.setting.state_dim
    weights, biases = list(model.net.weights), list(model.net.biases)
    weights[-1] = weights[-1][..., :n] * model.delta_std
    biases[-1] = biases[-1][..., :n] * model.delta_std + model.delta_mean
    if inputs:
        weights[0] = weights[0] / model.input_std[:, None]
        biases[0] = biases[0] - model.input_mean @ weights[0][:, None]
    return weights, biases


class PytorchMPPI:
    """pytorch_mppi, beside our MPPI."""

    precisions: ClassVar[tuple[str, ...]] = ("fp32", "bf16")

    def __init__(self, problem: Problem, precision: str = "fp32") -> None:
        try:
            from pytorch_mppi import MPPI as Theirs
        except ImportError as error:
            raise ImportError(_MISSING.format("pytorch_mppi", error)) from error
        setting, network = problem.setting, Network(problem, precision)
        self._state = problem.state.repeat(setting.members)
        ones = torch.ones(setting.action_dim)
        self._mppi = Theirs(
            network.dynamics,
            network.cost,
            nx=len(self._state),
            noise_sigma=NOISE**2 * torch.eye(setting.action_dim),
            num_samples=setting.sequences,
            horizon=setting.horizon,
            u_min=-ones,
            u_max=ones,
            U_init=torch.zeros(setting.horizon, setting.action_dim),
        )

    @torch.no_grad()
    def plan(self) -> None:
        self._mppi.command(self._state)

    @torch.no_grad()
    def costs(self, actions: Tensor) -> Tensor:
        self._mppi.state = self._state
        costs: Tensor = self._mppi._compute_rollout_costs(actions)[0]
        return costs

    @staticmethod
    def ours(problem: Problem) -> Planner:
        setting = problem.setting
        config = MPPIConfig(samples=setting.sequences, horizon=setting.horizon * DT, noise=NOISE)
        return MPPI(config, ActionSpace.of(problem.spec).to(problem.state.device), DT)


class PytorchICEM:
    """pytorch_icem, beside our iCEM."""

    precisions: ClassVar[tuple[str, ...]] = ("fp32", "bf16")

    def __init__(self, problem: Problem, precision: str = "fp32") -> None:
        try:
            from pytorch_icem import iCEM as Theirs
        except ImportError as error:
            raise ImportError(_MISSING.format("pytorch_icem", error)) from error
        setting, network = problem.setting, Network(problem, precision)
        self._state = problem.state.repeat(setting.members)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it copies tensors in a way that torch warns of
            # It compares the number of sigma's axes with that of actions, and so refuses all but
            # one action. Told of one, and then of all, it does what it should.
            self._icem = Theirs(
                network.dynamics,
                lambda states, actions: network.cost(states, actions).sum(1),
                nx=len(self._state),
                nu=1,
                sigma=torch.full((setting.action_dim,), NOISE),
                num_samples=setting.sequences,
                num_elites=_elites(setting.sequences),
                elites_keep_fraction=KEPT,
                horizon=setting.horizon,
                alpha=0.1,
                noise_beta=2.0,
                warmup_iters=ITERATIONS,
                online_iters=ITERATIONS,
            )
        self._icem.nu = setting.action_dim
        self._icem.reset()

    @torch.no_grad()
    def plan(self) -> None:
        self._icem.command(self._state)

    @torch.no_grad()
    def costs(self, actions: Tensor) -> Tensor:
        states = self._icem._rollout_dynamics(self._state, actions)
        costs: Tensor = self._icem._cost(states, actions)
        return costs

    @staticmethod
    def ours(problem: Problem) -> Planner:
        setting = problem.setting
        elites = _elites(setting.sequences)
        kept = int(KEPT * elites)
        drawn = setting.sequences - kept
        config = ICEMConfig(
            samples=drawn,
            horizon=setting.horizon * DT,
            iterations=ITERATIONS,
            decay=1.0,
            elite_ratio=elites / drawn,
            keep_elites=kept / elites,
            noise=NOISE,
        )
        return ICEM(config, ActionSpace.of(problem.spec), DT)


def _elites(sequences: int) -> int:
    return round(ELITES * sequences)


class MbrlLib:
    """mbrl-lib's CEM on its ModelEnv, beside our CEM that draws each action anew."""

    precisions: ClassVar[tuple[str, ...]] = ("fp32",)

    def __init__(self, problem: Problem, precision: str = "fp32") -> None:
        mbrl_lib.CartPole(0)  # finds mbrl-lib, or says how it is installed
        from mbrl.env.termination_fns import no_termination
        from mbrl.models import ModelEnv
        from mbrl.planning import TrajectoryOptimizer
        from omegaconf import OmegaConf

        setting = problem.setting
        self._state, self._particles = problem.state.numpy(), setting.members
        low, high = (
            -np.ones(setting.action_dim, np.float32),
            np.ones(setting.action_dim, np.float32),
        )
        spaces = SimpleNamespace(
            observation_space=Box(-np.inf, np.inf, self._state.shape), action_space=Box(low, high)
        )

        def reward(actions: Tensor, states: Tensor) -> Tensor:
            cost = states.square() @ problem.state_cost + actions.square() @ problem.action_cost
            return -cost[:, None]

        self._env = ModelEnv(
            spaces, _mbrl_model(problem), no_termination, reward, torch.Generator().manual_seed(0)
        )
        optimizer = {
            "_target_": "mbrl.planning.CEMOptimizer",
            "num_iterations": ITERATIONS,
            "elite_ratio": ELITES,
            "population_size": setting.sequences,
            "alpha": 0.1,
            "device": "cpu",
            "lower_bound": "???",
            "upper_bound": "???",
            "return_mean_elites": True,
        }
        self._optimizer = TrajectoryOptimizer(
            OmegaConf.create(optimizer), low, high, setting.horizon
        )

    def plan(self) -> None:
        self._optimizer.optimize(lambda actions: -self.costs(actions))

    def costs(self, actions: Tensor) -> Tensor:
        returns: Tensor = self._env.evaluate_action_sequences(actions, self._state, self._particles)
        return -returns

    @staticmethod
    def ours(problem: Problem) -> Planner:
        setting = problem.setting
        config = CEMConfig(
            samples=setting.sequences,
            horizon=setting.horizon * DT,
            iterations=ITERATIONS,
            elite_ratio=ELITES,
            action_hold=1,
        )
        return CEM(config, ActionSpace.of(problem.spec), DT)


def _mbrl_model(problem: Problem) -> Any:
    """mbrl-lib's ensemble with our weights."""
    from mbrl.models import GaussianMLP, OneDTransitionRewardModel

    class OneParticleAMember(GaussianMLP):
        """Deals each sequence's particles out to the members one each, as ours, where mbrl-lib
        deals all particles out at random."""

        def sample_propagation_indices(self, batch_size: int, _rng: torch.Generator) -> Tensor:
            return torch.arange(batch_size).view(-1, len(self)).T.flatten()

    setting, ours = problem.setting, problem.world.dynamics
    network = OneParticleAMember(
        in_size=setting.state_dim + setting.action_dim,
        out_size=setting.state_dim,
        device="cpu",
        num_layers=len(setting.hidden),
        ensemble_size=setting.members,
        hid_size=setting.hidden[0],
        deterministic=True,
        propagation_method="fixed_model",
        activation_fn_cfg={"_target_": "torch.nn.SiLU"},
    )
    layers = [*(layer[0] for layer in network.hidden_layers), network.mean_and_logvar]
    for layer, weight, bias in zip(layers, *folded(problem, inputs=False), strict=True):
        layer.weight.data.copy_(weight)
        layer.bias.data.copy_(bias)
    model = OneDTransitionRewardModel(network, normalize=True, learned_rewards=False)
    model.input_normalizer.mean = ours.input_mean[None]
    model.input_normalizer.std = ours.input_std[None]
    return model


PEERS: dict[str, type[Peer]] = {
    "pytorch_mppi": PytorchMPPI,
    "pytorch_icem": PytorchICEM,
    "mbrl_lib": MbrlLib,
}
