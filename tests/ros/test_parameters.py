"""Configurations as parameters: given at the start, set live, refused."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

rclpy = pytest.importorskip("rclpy")

from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from mbrl_node.ros.logs import forward_logs  # noqa: E402
from mbrl_node.ros.parameters import (  # noqa: E402
    LiveParameters,
    declare,
    declare_config,
    declare_robot,
)
from mbrl_node.ros.process import ConfigurationError  # noqa: E402
from mbrl_node.spec import SpecError  # noqa: E402

MakeNode = Callable[..., Node]


class Arm(BaseModel):
    """Something with all that a configuration has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gain: float = Field(2.0, gt=0, le=10, description="of the arm")
    count: int = Field(3, ge=1, description="of its joints")
    on: bool = Field(False, description="whether it moves")
    mode: str = Field("fast", pattern="^(fast|slow)$", description="fast or slow")
    sizes: tuple[float, ...] = Field((1.0, 2.0), min_length=1, description="of its links, m")


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    rclpy.shutdown(context=context)


@pytest.fixture
def make_node(context: Any) -> Iterator[MakeNode]:
    nodes = []

    def make(**overrides: object) -> Node:
        given = [Parameter(name.replace("__", "."), value=v) for name, v in overrides.items()]
        nodes.append(Node("arm_node", context=context, parameter_overrides=given))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


class Live:
    """Two configurations that can be set live, and what was put into effect."""

    def __init__(self, node: Node) -> None:
        self.node, self.effects = node, []
        self.refuse: Exception | None = None
        self.live = LiveParameters(node, {})
        self.arm = self.live.declare("arm", Arm, self._prepare)
        self.live.declare("other", Arm, self._prepare)

    def _prepare(self, config: Arm) -> Callable[[], None]:
        if self.refuse:
            raise self.refuse
        return lambda: self.effects.append(config)

    def set(self, **values: object) -> Any:
        """One result a parameter."""
        parameters = [Parameter(k.replace("__", "."), value=v) for k, v in values.items()]
        return self.node.set_parameters(parameters)

    def set_at_once(self, **values: object) -> Any:
        parameters = [Parameter(k.replace("__", "."), value=v) for k, v in values.items()]
        return self.node.set_parameters_atomically(parameters)

    def get(self, name: str) -> object:
        return self.node.get_parameter(name).value


@pytest.fixture
def live(make_node: MakeNode) -> Live:
    return Live(make_node())


# At the start.


def test_a_parameter_has_its_default_until_another_value_is_given(make_node: MakeNode) -> None:
    assert declare(make_node(), "speed", 1.5, "of the arm") == 1.5
    assert declare(make_node(speed=2.5), "speed", 1.5, "of the arm") == 2.5


def test_a_parameter_that_is_declared_twice_is_the_same(make_node: MakeNode) -> None:
    node = make_node(speed=2.5)
    assert [declare(node, "speed", 1.5, "of the arm") for _ in range(2)] == [2.5, 2.5]


@pytest.mark.parametrize(
    ("value", "default", "limits", "words"),
    [
        ("fast", 1.5, None, "arm_node: parameter .*speed.*"),
        (1, 1.5, None, "arm_node: parameter .*speed.*"),
        (-1.0, 1.5, (0.0, math.inf), r"arm_node: parameter speed: -1\.0: should be at least 0$"),
        (9.0, 1.5, (0.0, 8.0), r"arm_node: parameter speed: 9\.0: should be between 0 and 8$"),
        (100, 50, (0, 99), r"arm_node: parameter speed: 100: should be between 0 and 99$"),
        (math.nan, 1.5, (0.0, 8.0), "arm_node: parameter speed: nan: should be between 0 and 8$"),
    ],
)
def test_a_wrong_parameter_is_one_line_that_names_it(
    make_node: MakeNode, value: object, default: object, limits: Any, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as error:
        declare(make_node(speed=value), "speed", default, "of the arm", limits=limits)
    assert "\n" not in str(error.value)


def test_a_configuration_is_what_was_given_and_the_defaults(make_node: MakeNode) -> None:
    node = make_node(arm__gain=5.0, arm__sizes=[3.0], arm__mode="slow")
    assert declare_config(node, "arm", Arm) == Arm(gain=5.0, sizes=(3.0,), mode="slow")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"arm__gain": 0.0}, r"arm_node: parameter arm\.gain: 0\.0: .*greater than 0"),
        ({"arm__gain": 11.0}, r"arm_node: parameter arm\.gain: 11\.0: should be between 0 and 10"),
        ({"arm__count": 0}, r"arm_node: parameter arm\.count: 0: should be at least 1"),
        ({"arm__count": 2.5}, r"arm_node: parameter .*arm\.count"),
        ({"arm__mode": "idle"}, r"arm_node: parameter arm\.mode: 'idle': "),
        ({"arm__sizes": "long"}, r"arm_node: parameter .*arm\.sizes"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    make_node: MakeNode, overrides: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as error:
        declare_config(make_node(**overrides), "arm", Arm)
    assert "\n" not in str(error.value)


def test_descriptors_tell_type_range_and_meaning(live: Live) -> None:
    gain, count, on, sizes = live.node.describe_parameters(
        ["arm.gain", "arm.count", "arm.on", "arm.sizes"]
    )
    (bounds,) = gain.floating_point_range
    assert (bounds.from_value, bounds.to_value) == (0.0, 10.0)
    assert gain.description == "of the arm" and not gain.read_only and not gain.dynamic_typing
    (whole,) = count.integer_range
    assert whole.from_value == 1 and whole.to_value >= 2**31
    assert not on.floating_point_range and not sizes.floating_point_range
    types = (Parameter.Type.DOUBLE, Parameter.Type.INTEGER, Parameter.Type.BOOL)
    assert [d.type for d in (gain, count, on)] == [t.value for t in types]
    assert sizes.type == Parameter.Type.DOUBLE_ARRAY.value


def test_what_is_not_live_is_read_only(make_node: MakeNode) -> None:
    node = make_node()
    declare(node, "speed", 1.5, "of the arm")
    declare_config(node, "arm", Arm)
    assert all(d.read_only for d in node.describe_parameters(["speed", "arm.gain"]))
    results = node.set_parameters([Parameter("speed", value=2.0), Parameter("arm.gain", value=3.0)])
    assert not any(r.successful for r in results) and "read-only" in results[0].reason
    assert node.get_parameter("speed").value == 1.5


# Live.


def test_a_setting_takes_effect_as_a_whole_configuration(live: Live) -> None:
    assert live.set(arm__gain=5.0)[0].successful
    assert live.effects == [Arm(gain=5.0)] and live.get("arm.gain") == 5.0
    live.set(arm__sizes=[4.0])
    assert live.effects[1:] == [Arm(gain=5.0, sizes=(4.0,))]


def test_settings_that_are_set_at_once_take_effect_at_once(live: Live) -> None:
    assert live.set_at_once(arm__gain=5.0, arm__count=7, other__on=True).successful
    assert live.effects == [Arm(gain=5.0, count=7), Arm(on=True)]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("arm__gain", 0.0, "arm.gain: 0.0: Input should be greater than 0"),
        ("arm__gain", 11.0, "range"),
        ("arm__gain", math.nan, ""),
        ("arm__gain", math.inf, "range"),
        ("arm__gain", 3, "type"),
        ("arm__gain", "much", "type"),
        ("arm__gain", None, ""),
        ("arm__gain", [1.0], "type"),
        ("arm__count", 0, "range"),
        ("arm__count", -(2**63), "range"),
        ("arm__on", 1, "type"),
        ("arm__mode", "idle", "arm.mode: 'idle': String should match pattern"),
        ("arm__mode", "", "arm.mode: '': String should match pattern"),
        ("arm__sizes", [1], "type"),
    ],
)
def test_a_setting_that_is_wrong_is_refused_with_the_reason_and_changes_nothing(
    live: Live, name: str, value: object, words: str
) -> None:
    before = live.get(name.replace("__", "."))
    (result,) = live.set(**{name: value})
    assert not result.successful and words in result.reason and result.reason
    assert "\n" not in result.reason
    assert live.get(name.replace("__", ".")) == before and live.effects == []


def test_an_empty_list_is_refused_where_there_must_be_something(live: Live) -> None:
    empty = Parameter("arm.sizes", Parameter.Type.DOUBLE_ARRAY, [])
    (result,) = live.node.set_parameters([empty])
    assert not result.successful and "arm.sizes: []: Tuple should have at least" in result.reason
    assert live.get("arm.sizes") == [1.0, 2.0] and live.effects == []


def test_one_that_is_wrong_refuses_all_that_are_set_at_once(live: Live) -> None:
    result = live.set_at_once(arm__gain=5.0, other__mode="idle")
    assert not result.successful and "other.mode: 'idle'" in result.reason
    assert live.get("arm.gain") == 2.0 and live.effects == []
    live.set(other__gain=3.0)  # nothing of before is left to take effect
    assert live.effects == [Arm(gain=3.0)]


def test_what_preparing_a_change_raises_is_the_reason(live: Live) -> None:
    live.refuse = ValueError("two gains for three joints")
    (result,) = live.set(arm__gain=5.0)
    assert (result.successful, result.reason) == (False, "arm: two gains for three joints")
    assert live.get("arm.gain") == 2.0 and live.effects == []
    live.refuse = None
    assert live.set(arm__gain=5.0)[0].successful


def test_a_parameter_of_another_kind_beside_a_configuration_is_not_of_it(live: Live) -> None:
    assert declare(live.node, "arm.type", "robot", "its kind", live=True) == "robot"
    assert live.set(arm__type="other")[0].successful and live.effects == []


def test_a_watched_parameter_is_set_if_the_change_is_done(live: Live) -> None:
    asked = []

    def change(value: object) -> str:
        asked.append(value)
        return "" if value == "pd" else f"there is no {value}"

    declare(live.node, "controller", "mppi", "who acts", live=True)
    live.live.watch("controller", change)
    assert live.set(controller="pd")[0].successful and live.get("controller") == "pd"
    (result,) = live.set(controller="xyz")
    assert (result.successful, result.reason) == (False, "there is no xyz")
    assert live.get("controller") == "pd" and asked == ["pd", "xyz"]


def test_a_watched_parameter_is_not_changed_along_with_settings_that_are_refused(
    live: Live,
) -> None:
    asked = []
    declare(live.node, "controller", "mppi", "who acts", live=True)
    live.live.watch("controller", lambda value: asked.append(value) or "")
    assert not live.set_at_once(controller="pd", arm__gain=0.0).successful
    assert asked == [] and live.get("controller") == "mppi"


def test_what_was_set_stays_when_the_configuration_is_declared_anew(live: Live) -> None:
    live.set(arm__gain=5.0)
    live.live.forget()
    live.set(arm__count=4)
    assert live.effects == [Arm(gain=5.0)]  # nobody is there
    again = live.live.declare("arm", Arm, lambda config: lambda: None)
    assert again == Arm(gain=5.0, count=4)


# Robots and logs.


def test_the_robot_is_the_one_chosen_at_the_rate_chosen(make_node: MakeNode) -> None:
    spec = declare_robot(make_node())
    assert (spec.name, spec.rate, spec.sim) == ("cartpole", 25.0, None)
    spec = declare_robot(make_node(rate=50.0), simulates=True)
    assert spec.rate == 50.0 and spec.sim is not None


def test_a_robot_that_is_not_there_or_a_rate_that_does_not_fit_is_refused(
    make_node: MakeNode,
) -> None:
    with pytest.raises(SpecError, match="nothing_like_it"):
        declare_robot(make_node(robot="nothing_like_it"))
    with pytest.raises(SpecError, match=r"state_rate: 100 is below the control rate 1000"):
        declare_robot(make_node(rate=1000.0), simulates=True)
    with pytest.raises(ConfigurationError, match=r"rate: -1\.0: should be at least 0"):
        declare_robot(make_node(rate=-1.0))


def test_what_the_library_logs_goes_to_the_log_of_the_node(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = logging.getLogger("mbrl_node")
    before, level, propagate = list(library.handlers), library.level, library.propagate
    node, said = make_node(), []

    class Logger:
        info = error = warning = staticmethod(said.append)

    monkeypatch.setattr(node, "get_logger", Logger)
    try:
        end = forward_logs(node)
        logging.getLogger("mbrl_node.control.manager").warning("'%s' does not act", "mppi")
        logging.getLogger("mbrl_node").error("broken")
        logging.getLogger("mbrl_node").debug("of no interest")
        end()
    finally:
        library.handlers[:], library.propagate = before, propagate
        library.setLevel(level)
    assert said == ["'mppi' does not act", "broken"]
