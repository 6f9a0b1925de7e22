"""Whatever comes in, what goes out is a command: messages, parameters and requests at random, on
the real node and through the middleware. `MBRL_FUZZ_CASES=10000` tries so many; daily fewer do.

A case is some things that happen, with ticks between. After each everything is put back and the
robot is as it should be; then it must be driven again.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")

from builtin_interfaces.msg import Duration, Time
from lifecycle_msgs.msg import Transition as LifecycleTransition
from lifecycle_msgs.srv import ChangeState
from mbrl_msgs.srv import (
    ConfigureController,
    LoadController,
    SwitchController,
    UnloadController,
)
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger

from mbrl_node.ros.stamps import to_time

from . import fuzz_rig
from .fuzz_rig import JOINTS, NODE, REFUSALS, SECOND, Rig

CASES = int(os.environ.get("MBRL_FUZZ_CASES", "300"))
CONTROLLERS = ["mppi", "icem", "policy", "inverse_dynamics", "pd", "hold", "random"]
CONTROLLERS += ["teleop", "external", "mppi_2", "pd_2", "teleop_2", "", "no such", "x" * 300]


class Event:
    """Something that happens."""

    def __init__(self, what: str, happen: Callable[[Rig], object]) -> None:
        self._what, self.happen = what, happen

    def __repr__(self) -> str:
        return self._what


@pytest.fixture(scope="module", params=["simulated", "real"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with fuzz_rig.rig(tmp_path_factory.mktemp("fuzz"), request.param == "simulated") as made:
        yield made


# What may happen.

numbers = st.one_of(
    st.floats(),
    st.floats(-10, 10),
    st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324, math.nan, math.inf, -math.inf]),
)
whole = st.one_of(
    st.integers(-3, 50),
    st.sampled_from([2**31, 2**32, 2**53, 2**62, 2**63 - 1, -(2**63)]),
)
words = st.one_of(
    st.sampled_from(CONTROLLERS),
    st.sampled_from(["native", "torch", "tsinf", "bf16", "cuda", "pd.kp", "true", "\u202e"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
)
arrays = st.lists(numbers, max_size=9).map(lambda data: Float64MultiArray(data=data))
bools = st.booleans().map(lambda data: Bool(data=data))
times = st.builds(
    Time,
    sec=st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(-2, 2000)),
    nanosec=st.integers(0, 2**32 - 1),
)
offsets = st.sampled_from(
    [0.0, 0.0, 0.0, 0.001, -0.001, 0.02, -0.02, -0.1, 0.1, 100.0, -100.0, 1e6]
)
advances = st.sampled_from([0.02, 0.02, 0.02, 0.0, 0.001, 0.2, 0.5, 50.0, -0.02, -5.0, -1e9])


@st.composite
def states(draw: st.DrawFn) -> Event:
    """A JointState with nothing or anything wrong."""
    names = draw(
        st.one_of(
            st.just(JOINTS),
            st.just(JOINTS[::-1]),
            st.lists(st.sampled_from([*JOINTS, "wheel", ""]), max_size=4),
        )
    )
    size = st.just(len(names)) if draw(st.integers(0, 9)) else st.integers(0, 5)
    calm = st.floats(-6, 6)
    value = numbers if draw(st.integers(0, 3)) == 0 else calm
    position, velocity, effort = (
        draw(size.flatmap(lambda n: st.lists(value, min_size=n, max_size=n))) for _ in range(3)
    )
    stamp = draw(times) if draw(st.integers(0, 9)) == 0 else draw(offsets)
    cut = draw(st.integers(0, 60)) if draw(st.integers(0, 19)) == 0 else None
    repeats = draw(st.sampled_from([1, 1, 1, 2, 6]))

    def happen(rig: Rig) -> None:
        message = JointState(name=names, position=position, velocity=velocity, effort=effort)
        if isinstance(stamp, Time):
            message.header.stamp = stamp
        else:
            at = rig.time() + round(stamp * SECOND)
            message.header.stamp = to_time(min(max(at, -(2**31) * SECOND), 2**31 * SECOND - 1))
        data = message if cut is None else serialize_message(message)[:cut]
        for _ in range(repeats):
            rig.publish("/fuzz/joint_states", data)

    what = f"{names} {position} {velocity} {effort} at {stamp}, cut {cut}, {repeats} times"
    return Event(what, happen)


def messages() -> st.SearchStrategy[Event]:
    commands = st.tuples(
        st.sampled_from([f"{NODE}/teleop", f"{NODE}/external", f"{NODE}/reference"]), arrays
    )
    switches = st.tuples(
        st.sampled_from([f"{NODE}/estop", "/fuzz/deadman"]), bools | st.binary(max_size=6)
    )
    return st.one_of(commands, switches).map(
        lambda pair: Event(f"publish {pair}", lambda rig: rig.publish(*pair))
    )


def clocks() -> st.SearchStrategy[Event]:
    return st.one_of(
        advances.map(lambda by: Event(f"clock += {by}", lambda rig: rig.advance(by))),
        times.map(lambda clock: Event(f"clock = {clock}", lambda rig: rig.set_clock(clock))),
    )


@st.composite
def models(draw: st.DrawFn) -> Event:
    which, right = draw(st.integers(0, 10)), draw(st.booleans())
    # Not the highest versions for the good one: no newer model could come.
    later, error = draw(st.integers(-1, 3)), draw(numbers)
    spec_hash = draw(st.integers(0, 2**64 - 1))
    version = draw(st.integers(0, 2**32 - 1))

    def happen(rig: Rig) -> None:
        number = version
        if which == 0 and right:
            rig.version += max(later, 0)
            number = max(0, rig.version + min(later, 0))
        rig.offer_model(
            version=number,
            path=rig.models[which],
            spec_hash=rig.spec.hash if right else spec_hash,
            held_out_error=error,
        )

    return Event(f"model file {which}, of this robot: {right}, {version} or {later} later", happen)


values = st.one_of(
    numbers.map(lambda v: {"type": ParameterType.PARAMETER_DOUBLE, "double_value": v}),
    whole.map(lambda v: {"type": ParameterType.PARAMETER_INTEGER, "integer_value": v}),
    words.map(lambda v: {"type": ParameterType.PARAMETER_STRING, "string_value": v}),
    st.booleans().map(lambda v: {"type": ParameterType.PARAMETER_BOOL, "bool_value": v}),
    st.lists(numbers, max_size=5).map(
        lambda v: {"type": ParameterType.PARAMETER_DOUBLE_ARRAY, "double_array_value": v}
    ),
    st.lists(words, max_size=4).map(
        lambda v: {"type": ParameterType.PARAMETER_STRING_ARRAY, "string_array_value": v}
    ),
    st.lists(whole, max_size=4).map(
        lambda v: {"type": ParameterType.PARAMETER_INTEGER_ARRAY, "integer_array_value": v}
    ),
    st.just({"type": ParameterType.PARAMETER_NOT_SET}),
)


@st.composite
def parameters(draw: st.DrawFn) -> Event:
    """Some parameters, mostly of the right type, for else nothing is looked at."""
    picks = draw(
        st.lists(
            st.tuples(st.integers(0, 10**6), st.integers(0, 2), numbers, whole, words, values),
            min_size=1,
            max_size=3,
        )
    )
    at_once = draw(st.booleans())

    def happen(rig: Rig) -> None:
        chosen = []
        for index, fitting, number, integer, word, value in picks:
            name = rig.parameters[index % len(rig.parameters)]
            kind = rig.defaults[name].value.type if name in rig.defaults else 0
            fit = {
                ParameterType.PARAMETER_DOUBLE: {"double_value": number},
                ParameterType.PARAMETER_INTEGER: {"integer_value": integer},
                ParameterType.PARAMETER_STRING: {"string_value": word},
                ParameterType.PARAMETER_BOOL: {"bool_value": integer > 0},
                ParameterType.PARAMETER_DOUBLE_ARRAY: {
                    "double_array_value": [number] * (index % 4)
                },
                ParameterType.PARAMETER_STRING_ARRAY: {"string_array_value": [word] * (index % 3)},
            }
            if fitting and kind in fit:
                value = {"type": kind, **fit[kind]}
            chosen.append(Parameter(name=name, value=ParameterValue(**value)))
        rig.set_parameters(chosen, at_once)

    return Event(f"parameters {picks}, at once: {at_once}", happen)


@st.composite
def requests(draw: st.DrawFn) -> Event:
    """Something asked of the controller manager, of the stops or of the life cycle."""
    names = st.lists(st.sampled_from(CONTROLLERS), max_size=2)
    kind = draw(st.integers(0, 9))
    if kind <= 4:
        switch = SwitchController.Request(
            activate_controllers=draw(names),
            deactivate_controllers=draw(st.one_of(st.just([]), names)),
            strictness=draw(st.sampled_from([2, 1, 0, -1, 7])),
            timeout=Duration(sec=draw(st.integers(-3, 3)), nanosec=draw(st.integers(0, 999))),
        )
        return Event(f"{switch}", lambda rig: rig.call("switch_controller", switch))
    if kind <= 7:
        name = draw(st.sampled_from(CONTROLLERS))
        service, request = draw(
            st.sampled_from(
                [
                    ("load_controller", LoadController.Request),
                    ("load_controller", LoadController.Request),
                    ("configure_controller", ConfigureController.Request),
                    ("unload_controller", UnloadController.Request),
                ]
            )
        )

        def happen(rig: Rig) -> None:
            answer = rig.call(service, request(name=name))
            assert answer.ok or answer.message

        return Event(f"{service} {name}", happen)
    if kind == 8:
        stop = draw(st.sampled_from(["estop", "release_estop"]))
        return Event(stop, lambda rig: rig.call(stop, Trigger.Request()))
    # A transition that there is not: those that there are, are not for a node without its thread.
    number, label = draw(st.sampled_from([0, 1, 4, 99, 255])), draw(st.sampled_from(["", "fly"]))
    transition = LifecycleTransition(id=number, label=label)
    request = ChangeState.Request(transition=transition)
    return Event(f"{transition}", lambda rig: rig.call("change_state", request))


@st.composite
def wishes(draw: st.DrawFn) -> Event:
    """A controller that asks for anything comes into command."""
    wish = draw(
        st.one_of(
            st.lists(numbers, min_size=2, max_size=2).map(np.array),
            st.lists(numbers, max_size=3),
            st.lists(st.lists(numbers, min_size=2, max_size=2), max_size=2),
            st.sampled_from([None, "full speed", b"", {}, {1.0}, 3, 10**400, 1j, True, object()]),
            st.sampled_from([ValueError("no"), FloatingPointError(), SystemError, KeyError]),
        )
    )

    def happen(rig: Rig) -> None:
        rig.wild.wish = wish
        request = SwitchController.Request(activate_controllers=["wild"], strictness=2)
        rig.call("switch_controller", request)

    return Event(f"wild: {wish!r}", happen)


def resets() -> st.SearchStrategy[Event]:
    return st.booleans().map(
        lambda succeed: Event(
            f"resets succeed: {succeed}", lambda rig: setattr(rig, "resets", succeed)
        )
    )


events = st.one_of(
    *(states(), states(), messages(), clocks(), models(), parameters(), parameters()),
    *(requests(), wishes(), resets()),
)
acting = st.sampled_from(["mppi", "mppi", "icem", "policy", "inverse_dynamics", "random"])
acting |= st.sampled_from(["pd", "teleop", "external", "hold"])
happenings = st.lists(st.tuples(events, st.integers(0, 4), st.booleans()), min_size=1, max_size=12)


@settings(
    max_examples=max(1, CASES // 2),  # for each of the two clocks
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(acting, happenings)
def test_whatever_comes_in_what_goes_out_is_a_command_and_the_robot_is_driven_again(
    rig: Rig, active: str, happening: list[tuple[Event, int, bool]]
) -> None:
    rig.set_active(active)
    for event, ticks, fresh in happening:
        event.happen(rig)
        for _ in range(ticks):
            if fresh:
                rig.advance(rig.spec.dt)
                rig.good_state()
            rig.tick()
    rig.recover()


def test_the_clock_cannot_be_changed_while_the_node_runs(rig: Rig) -> None:
    value = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=not rig.simulated)
    request = SetParameters.Request(parameters=[Parameter(name="use_sim_time", value=value)])
    (result,) = rig.call("set_parameters", request).results
    assert (result.successful, "at the start only" in result.reason) == (False, True)


def test_after_all_that_a_planner_drives_the_robot_as_before(rig: Rig) -> None:
    rig.offer_good_model()
    rig.switch_to("mppi")
    planner, plans = rig.system._manager.active, []
    deadline = time.monotonic() + 60.0
    while len(plans) < 5:
        assert time.monotonic() < deadline, rig.system._manager.failure
        if rig.system.loop.resetting:
            rig.system.loop.begin_episode()  # nobody else resets this robot
        rig.advance(rig.spec.dt)
        rig.good_state()
        rig.tick()
        time.sleep(rig.spec.dt)
        if rig.system._manager.acting is planner and planner.model_version == rig.version:
            plans.append(rig.last)
    assert not [error for error in rig.errors if not error.startswith(REFUSALS)]
