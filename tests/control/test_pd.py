"""Joints are brought to a reference, gently."""

import math

import numpy as np
import pytest

from mbrl_node.control import Hold, Observation, PDConfig, PDController
from mbrl_node.spec import load_spec
from sim.env import RobotEnv

SPEC = load_spec("cartpole")
NONE = np.zeros(1)


def away(angle: float):
    """The cart-pole, standing 1 m from the middle."""
    return SPEC.with_overrides(sim={"initial": {"slider_to_cart": 1.0, "cart_to_pole": angle}})


def run(controller, spec, seconds: float = 8.0):
    """States [T + 1, n] and actions [T, m] in lock-step with PyBullet."""
    env = RobotEnv(spec)
    state, _ = env.reset(seed=0)
    states, actions = [state], []
    for k in range(round(seconds / spec.dt)):
        action = controller.update(Observation(round(k * spec.dt * 1e9), 0, state), NONE)
        state, *_ = env.step(action)
        states.append(state)
        actions.append(action)
    env.close()
    return np.array(states), np.array(actions)


def act(controller, state, time: int = 0) -> list[float]:
    return controller.update(Observation(time, 0, np.array(state)), NONE).tolist()


@pytest.mark.parametrize("angle", [math.pi, 1.2], ids=["pole hangs", "pole falls"])
def test_the_cart_comes_back_to_the_middle_gently_and_stays(angle):
    spec = away(angle)
    states, actions = run(PDController("pd", spec), spec)
    x = states[:, 0]
    assert np.abs(x[round(5 / spec.dt) :]).max() < 0.05  # m, from 5 s on
    assert x.min() > -0.05  # not beyond it
    assert np.abs(actions).max() < 0.5 * spec.action_max[0]
    held, _ = run(Hold("hold", spec), spec)
    assert np.abs(held[-1, 0]) > 0.5


def test_two_runs_are_the_same_to_the_bit():
    spec = away(math.pi)
    (one, sent), (other, again) = (run(PDController("pd", spec), spec, 2.0) for _ in range(2))
    assert np.array_equal(one, other) and np.array_equal(sent, again)


def test_the_cart_follows_a_trajectory_whose_velocity_is_given_too():
    seconds = np.arange(0, 8, SPEC.dt)
    wanted = np.zeros((len(seconds), 4))
    wanted[:, 0], wanted[:, 2] = 0.5 * (1 - np.cos(seconds)), 0.5 * np.sin(seconds)
    controller = PDController("pd", SPEC, PDConfig(kp=(10.0,), kd=(8.0,)))
    controller.set_reference(wanted)
    states, _ = run(controller, SPEC)
    assert np.abs(states[:-1, 0] - wanted[:, 0])[25:].max() < 0.1


def test_the_action_is_the_gains_times_the_errors_of_the_joint_that_it_drives():
    controller = PDController("pd", SPEC, PDConfig(kp=(2.0,), kd=(3.0,)))
    assert act(controller, [1.0, 9.0, 0.0, 9.0]) == [-2.0]
    assert act(controller, [0.0, 9.0, 1.0, 9.0]) == [-3.0]
    controller.set_reference([5.0, 0.0, 1.0, 0.0])
    assert act(controller, [1.0, 9.0, 0.0, 9.0]) == [11.0]


def robot(joints: dict[str, bool], values: tuple[str, ...] = ("position", "velocity")):
    """A robot with an action for each joint, which may turn."""
    fields = [
        {"name": f"{joint}_{value}", "joint": joint, "value": value, "unit": "rad"}
        | ({"angle": True} if turns and value == "position" else {})
        for joint, turns in joints.items()
        for value in values
    ]
    action = [
        {"name": f"u_{joint}", "joint": joint, "min": -9.0, "max": 9.0, "safe": 1.0, "unit": "N m"}
        for joint in joints
    ]
    of = fields[0]["name"]
    return SPEC.from_dict(
        {
            "name": "arm",
            "rate": 50.0,
            "state": [{**SPEC.model_dump()["state"][0], "fields": fields}],
            "action": {**SPEC.model_dump()["action"], "fields": action},
            "reward": [{"term": "square", "of": of, "weight": -1.0}],
            "episode": {"length": 5.0},
        }
    )


def test_an_angle_turns_the_short_way_and_the_safe_command_is_where_there_is_no_error():
    controller = PDController("pd", robot({"wrist": True, "rail": False}), PDConfig(kd=(0.0,)))
    controller.set_reference([3.0, 0.0, 3.0, 0.0])
    turned, slid = act(controller, [-3.0, 0.0, -3.0, 0.0])
    assert turned == pytest.approx(1 + 2 * (6 - 2 * math.pi)) and slid == 1 + 2 * 6
    assert act(controller, [3.0 + 2 * math.pi, 0.0, 3.0, 0.0]) == pytest.approx([1.0, 1.0])


def test_each_action_may_have_gains_of_its_own():
    spec = robot({"a": False, "b": False})
    controller = PDController("pd", spec, PDConfig(kp=(1.0, 10.0), kd=(0.0,)))
    assert act(controller, [1.0, 0.0, 1.0, 0.0]) == [0.0, -9.0]
    with pytest.raises(ValueError, match=r"pd\.kp: there are 3 gains; right is 1 .* or 2"):
        PDController("pd", spec, PDConfig(kp=(1.0, 2.0, 3.0)))
    for wrong in ((), (-1.0,), (math.inf,)):
        with pytest.raises(ValueError):
            PDConfig(kp=wrong)


def test_gains_change_between_two_ticks_and_the_reference_stays():
    controller = PDController("pd", SPEC)
    controller.set_reference([1.0, 0.0, 0.0, 0.0])
    controller.set_config(PDConfig(kp=(4.0,), kd=(1.0,)))
    assert act(controller, [0.0, 0.0, 1.0, 0.0]) == [3.0]
    with pytest.raises(ValueError, match=r"pd\.kd: there are 2 gains"):
        controller.set_config(PDConfig(kp=(9.0,), kd=(1.0, 1.0)))
    assert act(controller, [0.0, 0.0, 1.0, 0.0]) == [3.0]


@pytest.mark.parametrize("value, missing", [("position", "velocity"), ("velocity", "position")])
def test_a_robot_that_does_not_tell_what_is_needed_is_refused_in_a_sentence(value, missing):
    spec = robot({"elbow": False}, (value,))
    sentence = f"pd: the state has no {missing} of 'elbow', the joint that action 'u_elbow' drives"
    with pytest.raises(ValueError, match=sentence):
        PDController("pd", spec)


def test_a_new_reference_begins_at_once_and_an_old_one_anew_when_activated():
    controller, ramp = PDController("pd", SPEC, PDConfig(kp=(1.0,))), np.zeros((5, 4))
    ramp[:, 0] = np.arange(5)
    period = round(SPEC.dt * 1e9)
    controller.set_reference(ramp)
    assert [act(controller, np.zeros(4), k * period) for k in (3, 4, 5)] == [[0.0], [1.0], [2.0]]
    controller.activate()
    assert [act(controller, np.zeros(4), k * period) for k in (6, 7)] == [[0.0], [1.0]]


def test_a_reference_that_cannot_be_used_is_refused_and_the_one_before_stays():
    controller = PDController("pd", SPEC)
    controller.set_reference([1.0, 0.0, 0.0, 0.0])
    for wrong in ([1.0], np.full(4, np.nan)):
        with pytest.raises(ValueError, match="reference"):
            controller.set_reference(wrong)
    assert act(controller, np.zeros(4)) == [2.0]


def test_a_state_that_is_not_finite_is_an_error_that_names_it():
    with pytest.raises(FloatingPointError, match=r"in the state .*nan"):
        act(PDController("pd", SPEC), [np.nan, 0.0, 0.0, 0.0])


@pytest.mark.filterwarnings("error")
def test_gains_beyond_all_numbers_are_an_error_and_nothing_more():
    controller = PDController("pd", SPEC, PDConfig(kp=(1e308,)))
    controller.set_reference([1e10, 0.0, 0.0, 0.0])
    with pytest.raises(FloatingPointError, match=r"the gains give \[inf\]"):
        act(controller, np.zeros(4))


def test_without_velocities_it_needs_no_gain_of_them_and_says_so_where_there_is_one():
    spec = load_spec("panda_velocity")
    pd = PDController("pd", spec, PDConfig(kp=(1.0,), kd=(0.0,)))
    state = np.full(spec.state_dim, 0.5)
    action = pd.update(Observation(0, 0, state), np.zeros(7))
    assert action.tolist() == [-0.5] * 7
    with pytest.raises(ValueError, match="no velocity of 'panda_joint1'"):
        pd.set_config(PDConfig(kp=(1.0,), kd=(1.0,)))
    assert pd.update(Observation(0, 0, state), np.zeros(7)).tolist() == action.tolist()
