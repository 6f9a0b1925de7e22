"""When commands take effect: measured, and made up for."""

import logging
import math

import numpy as np
import pytest
import torch

from mbrl_node.control import (
    ControllerManager,
    ControlLoop,
    Hold,
    Observation,
    PlanningController,
    RandomActions,
)
from mbrl_node.data import Batch, records_of
from mbrl_node.learning import Learner, LearnerConfig
from mbrl_node.learning.delay import measure_delay
from mbrl_node.models import ModelConfig
from mbrl_node.planning import MPPI, ActionSpace, MPPIConfig, Rollout
from mbrl_node.spec import load_spec
from mbrl_node.spec.system import BoxSystem
from mbrl_node.spec.task import Task
from sim.env import RobotEnv

SPEC = load_spec("cartpole")
PERIOD = round(SPEC.dt * 1e9)
LINE = BoxSystem("line", 0.02, ("p", "v"), ("u",), np.array([-1.0]), np.array([1.0]))


def late_by(periods, spec=SPEC):
    """The robot whose commands take that long."""
    return spec.with_overrides(action={"delay": periods * spec.dt})


def batch(states, actions, next_states):
    rows = [torch.tensor(np.array(x), dtype=torch.float32) for x in (states, actions, next_states)]
    return Batch(*rows, torch.zeros(len(rows[0])), torch.zeros(len(rows[0])))


def drive(late, seed, steps=150, law=None, paired=0, noise=0.0):
    """The cart-pole in lock-step; each state is paired with the command sent `paired` before.

    Args:
        law: (state) -> [m]; None: random actions, each held for six periods.
        noise: of the sensors, as a part of the usual change.
    """
    env, explorer = RobotEnv(late_by(late)), RandomActions("random", SPEC, seed=seed)
    state, _ = env.reset(seed=seed)
    states, sent = [state], [SPEC.action_safe] * paired
    for k in range(steps):
        now = Observation(k * PERIOD, k * PERIOD, state)
        asked = explorer.update(now, SPEC.action_safe) if law is None else law(state)
        sent.append(np.clip(asked, SPEC.action_min, SPEC.action_max))
        state = env.step(sent[-1])[0]
        states.append(state)
    env.close()
    states = np.array(states)
    states += (
        noise
        * np.diff(states, axis=0).std(0)
        * np.random.default_rng(seed).normal(size=states.shape)
    )
    return batch(states[:-1], sent[:steps], states[1:]), torch.zeros(steps, dtype=torch.long)


def pump(state):
    """Swings the pole up: a command that follows from the state."""
    push = 4 * np.sign(state[3] * math.cos(state[1]))
    return np.array([push - 0.5 * state[0] - 0.5 * state[2]])


def line(late, law, steps=200, noise=0.02, seed=0):
    """A mass on a line with friction."""
    rng, state = np.random.default_rng(seed), np.zeros(2)
    states, sent = [state], [np.zeros(1)] * late
    for k in range(steps):
        sent.append(law(k, state, rng))
        force = sent[k][0]
        state = state + np.array([0.02 * state[1], 0.2 * force - 0.05 * state[1]])
        state = state + noise * np.array([0.02, 0.2]) * rng.normal(size=2)
        states.append(state)
    return batch(states[:-1], sent[late:], states[1:]), torch.zeros(steps, dtype=torch.long)


def drawn(k, state, rng):
    return rng.uniform(-1, 1, 1)


@pytest.mark.parametrize("late", range(4))
def test_the_delay_of_a_cart_pole_is_found_from_150_random_steps(late):
    for seed in range(5):
        found = measure_delay(*drive(late, seed), SPEC)
        assert found.lag == late and found.seconds == pytest.approx(late * SPEC.dt)
        assert found.ratio > 1.5 if late else found.ratio == 1


@pytest.mark.parametrize("late", [0, 1, 3])
def test_sensor_noise_does_not_hide_the_delay(late):
    for seed in range(3):
        assert measure_delay(*drive(late, seed, noise=0.2), SPEC).lag == late


@pytest.mark.parametrize("late", range(4))
def test_the_delay_is_found_in_data_of_a_closed_loop(late):
    assert measure_delay(*drive(late, 0, law=pump), SPEC).lag == late


@pytest.mark.parametrize("law", [None, pump])
@pytest.mark.parametrize("late", range(4))
def test_a_delay_in_the_file_that_is_too_long_or_too_short_is_corrected(late, law):
    found = measure_delay(*drive(late, 1, law=law, paired=2), SPEC, assumed=2)
    assert found.lag == late - 2 and found.seconds == pytest.approx(late * SPEC.dt)
    periods = f"{late} period{'s' * (late != 1)} ({40 * late} ms)"
    assert found.correction == (
        f"commands take effect {periods} after they are sent; the file says 2: "
        f"set action.delay: {0.04 * late:.4g}"
        if late != 2
        else ""
    )


def test_a_part_of_a_period_is_told_to_a_quarter():
    found = measure_delay(*drive(1.25, 0), SPEC)
    assert found.lag == 1 and found.seconds == pytest.approx(1.25 * SPEC.dt)


@pytest.mark.parametrize("late", [0, 2, 5])
def test_the_delay_of_a_linear_system_is_found(late):
    assert measure_delay(*line(late, drawn), LINE).lag == late


@pytest.mark.parametrize(
    "law",
    [
        lambda k, state, rng: np.zeros(1),
        lambda k, state, rng: np.ones(1),
        lambda k, state, rng: np.array([0.5 - state[0] - state[1]]),
    ],
    ids=["none", "constant", "follows from the state"],
)
def test_actions_that_tell_nothing_give_no_delay(law):
    assert measure_delay(*line(0, law), LINE) is None


def test_too_few_transitions_give_no_delay():
    data, first = line(1, drawn)
    assert measure_delay(data[:50], first[:50], LINE) is None
    assert measure_delay(data[:70], first[:70], LINE).lag == 1


def test_sequences_are_not_looked_at_across_their_breaks():
    data, _ = line(1, drawn)
    index = torch.arange(len(data))
    assert measure_delay(data, index // 6 * 6, LINE, assumed=1) is None
    assert measure_delay(data, index // 20 * 20, LINE).lag == 1


def collect(learner, told, late, seed):
    """Eight times 40 ticks of random actions from upright, as the control loop pairs them."""
    for k in range(8):
        controllers = [RandomActions("random", told, seed=10 * seed + k), Hold("hold", told)]
        loop = ControlLoop(told, ControllerManager(controllers, "random", "hold"), session=k)
        found = [t for t, _ in ticks(loop, told, late, 10 * seed + k, 40) if t]
        learner.add(records_of(found, told.state_dim, told.action_dim))


def ticks(loop, told, late, seed, count):
    """Runs the loop on a robot that is late; each tick's transition and state."""
    env = RobotEnv(late_by(late, told))
    state, _ = env.reset(seed=seed)
    for k in range(count):
        tick = loop.tick(Observation(k * PERIOD, k * PERIOD, state))
        yield tick.transition, state
        state = env.step(tick.action)[0]
    env.close()


def upright(assumed):
    """The robot's file as it is told: the pole begins nearly upright."""
    sim = {"initial": {"cart_to_pole": 0.0}, "initial_noise": 0.1}
    return late_by(assumed, SPEC.with_overrides(sim=sim))


def make_learner(path, told, gradient_steps):
    return Learner(
        told,
        Task.of(told),
        path,
        LearnerConfig(gradient_steps=gradient_steps),
        model=ModelConfig(members=2, hidden=(64, 64)),
    )


def test_the_learner_says_when_the_robots_file_is_wrong(tmp_path, caplog):
    for assumed in (0, 2):
        told = upright(assumed)
        learner = make_learner(tmp_path / str(assumed), told, 1)
        collect(learner, told, late=2, seed=0)
        with caplog.at_level(logging.WARNING):
            learner.update()
            learner.update()  # the next time is 1,000 transitions later
        learner.store.close()
    assert caplog.messages == [
        "cartpole: commands take effect 2 periods (80 ms) after they are sent; "
        "the file says 0: set action.delay: 0.08"
    ]


def hold_up(path, assumed):
    """Learns and then holds the pole up for 3 s against a delay of two periods.

    Returns:
        For how many ticks it was up, and the RMS error of the states predicted for the time at
        which the plans would take effect, [n].
    """
    told, plans = upright(assumed), []
    learner = make_learner(path, told, 1500)
    collect(learner, told, late=2, seed=0)
    learner.update()
    learner.store.close()
    planner = MPPI(MPPIConfig(samples=128, horizon=1.0), ActionSpace.of(told), told.dt)
    controller = PlanningController(
        "mppi", planner, told.dt, background=False, on_plan=plans.append, wants_states=lambda: True
    )
    controller.set_model(Rollout(learner.model, Task.of(told)), 1)
    manager = ControllerManager([controller, Hold("hold", told)], "hold", "hold")
    states = []
    for _, state in ticks(ControlLoop(told, manager, session=99), told, 2, 7, 75):
        if math.cos(state[1]) < 0.5:
            break
        states.append(state)
    begins = [(round(plan.time / PERIOD) + assumed, plan.states[0]) for plan in plans]
    errors = [state - states[at] for at, state in begins if at < len(states)]
    return len(states), np.sqrt(np.square(errors).mean(0))


def test_a_pole_is_held_up_against_a_delay_that_is_told_and_falls_otherwise(tmp_path):
    held, error = hold_up(tmp_path / "told", assumed=2)
    fell, wrong = hold_up(tmp_path / "untold", assumed=0)
    assert held == 75 and fell < 60
    # Two periods further ahead, and better for all that:
    assert (error[2:] < 0.3 * wrong[2:]).all()  # velocities, which a command changes first
