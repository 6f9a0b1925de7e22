"""What every controller has, and exploring at random."""

import numpy as np

from mbrl_node.control import Controller, Hold, Observation, RandomActions, RandomConfig
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole")
AT = Observation(0, 0, np.zeros(4))


def actions(controller: Controller, count: int) -> list[float]:
    return [float(controller.update(AT, np.zeros(1))[0]) for _ in range(count)]


def test_a_controller_without_settings_has_an_empty_config():
    assert Hold.Config().model_dump() == {} and Hold.Config.model_fields == {}


def test_the_safe_command_is_held():
    assert actions(Hold("hold", SPEC), 3) == [0.0] * 3


def test_random_actions_are_within_limits_and_each_is_held_for_as_long_as_set():
    controller = RandomActions("random", SPEC, RandomConfig(hold=3 * SPEC.dt), seed=1)
    asked = np.array(actions(controller, 600)).reshape(200, 3)
    assert (asked == asked[:, :1]).all() and len(set(asked[:, 0])) == 200
    assert asked.min() > -5.0 and asked.max() < 5.0 and asked.min() < -4.0 < 4.0 < asked.max()


def test_a_hold_below_a_period_is_one_period():
    assert len(set(actions(RandomActions("random", SPEC, RandomConfig(hold=0.0)), 50))) == 50


def test_another_hold_is_for_the_next_action():
    controller = RandomActions("random", SPEC, RandomConfig(hold=2 * SPEC.dt))
    first = actions(controller, 1)
    controller.set_config(RandomConfig(hold=3 * SPEC.dt))
    asked = actions(controller, 4)
    assert asked[0] == first[0] and asked[1] == asked[2] == asked[3] != asked[0]


def test_an_action_from_before_it_was_activated_is_not_held_on():
    controller = RandomActions("random", SPEC)
    before = actions(controller, 2)
    controller.activate()
    assert before[0] == before[1] != actions(controller, 1)[0]


def test_the_same_seed_explores_in_the_same_way():
    one, other = (actions(RandomActions("random", SPEC, seed=4), 40) for _ in range(2))
    assert one == other != actions(RandomActions("random", SPEC, seed=5), 40)
