"""The levels and sentences on /diagnostics."""

import math

import pytest

pytest.importorskip("mbrl_msgs.msg")

from diagnostic_msgs.msg import DiagnosticStatus
from mbrl_msgs.msg import ControllerStatus
from rclpy.serialization import serialize_message

from mbrl_node.control.loop import RESETTING
from mbrl_node.ros.diagnostics import Diagnostics, DiagnosticsConfig
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole")  # 25 Hz, timeout 0.25 s
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
HEALTHY = dict(
    robot="cartpole",
    active_controller="mppi",
    acting_controller="mppi",
    model_version=22,
    held_out_error=0.066,
    rate=25.0,
    lateness_max=0.0004,
    period_mean=0.04,
    period_std=0.0002,
    period_min=0.0395,
    period_max=0.0405,
    execution_mean=0.001,
    execution_max=0.004,
    state_age=0.008,
    plan_time=0.0024,
    plan_samples=120,
    plan_iterations=1,
    trust=1.0,
    ticks=25,
)


def diagnostics(**config) -> Diagnostics:
    return Diagnostics("mbrl_controller", SPEC, DiagnosticsConfig(**config))


def parts(of=None, age=1.0, refused=None, ages=None, **changes) -> dict[str, DiagnosticStatus]:
    """The parts of a report by the ends of their names."""
    array = (of or diagnostics()).report(
        ControllerStatus(**HEALTHY | changes),
        age,
        {"/joint_states": 0} if refused is None else refused,
        {"/joint_states": 0.008} if ages is None else ages,
    )
    serialize_message(array)  # raises what a publisher would
    return {status.name.removeprefix("mbrl_controller: "): status for status in array.status}


def found(part: str, **arguments) -> tuple[bytes, str]:
    """Level and message of one part; the others are all right."""
    report = parts(**arguments)
    assert [p.name for p in report.values() if p.level != OK and p is not report[part]] == []
    return report[part].level, report[part].message


def test_a_healthy_loop_is_all_right_and_says_so_in_numbers():
    report = parts()
    assert {name: (p.level, p.message) for name, p in report.items()} == {
        "control loop": (OK, "25.0 Hz, at most 0.4 ms late"),
        "controllers": (OK, "mppi in command"),
        "state": (OK, "the state is 8 ms old"),
        "planner": (OK, "a plan of 120 x 1 sequences takes 2.4 ms"),
        "model": (OK, "version 22, age 1.0 s"),
        "delivery": (OK, "0 transitions are on their way to the learner"),
    }
    assert all(p.hardware_id == "cartpole" and p.values for p in report.values())


def test_the_figures_are_in_the_units_of_ros2_control():
    values = {v.key: v.value for v in parts()["control loop"].values}
    assert values["update_rate [Hz]"] == "25.00"
    assert values["periodicity.average [Hz]"] == "25.000"
    assert values["periodicity.standard_deviation [Hz]"] == "0.125"
    assert values["periodicity.min [Hz]"] == "24.691"
    assert values["periodicity.max [Hz]"] == "25.316"
    assert values["execution_time.average [us]"] == "1000"
    assert values["execution_time.max [us]"] == "4000"


@pytest.mark.parametrize(
    ("changes", "level", "message"),
    [
        (dict(period_mean=0.046), WARN, "the mean period is 46.0 ms instead of 40.0 ms"),
        (dict(period_mean=0.06), ERROR, "the mean period is 60.0 ms instead of 40.0 ms"),
        (dict(period_std=0.01), WARN, "the periods vary by 10.0 ms around 40.0 ms"),
        (dict(lateness_max=0.025), WARN, "a tick was 25.0 ms late, 62% of the period"),
        (dict(lateness_max=0.05), ERROR, "a tick was 50.0 ms late, 125% of the period"),
        (dict(execution_mean=0.03), WARN, "a tick takes 30.0 ms, 75% of the period"),
        (dict(execution_mean=0.05), ERROR, "a tick takes 50.0 ms, 125% of the period"),
    ],
)
def test_a_loop_that_is_not_in_time_is_judged(changes, level, message):
    assert found("control loop", **changes) == (level, message)


def test_a_loop_that_stands_still_is_an_error():
    nothing = dict.fromkeys(
        ("rate", "period_mean", "period_std", "period_min", "period_max"), math.nan
    )
    level, message = found("control loop", **nothing, lateness_max=0.0, execution_mean=0.0)
    assert (level, message) == (ERROR, "there was no tick in the last second")


def test_misses_count_by_the_second():
    it = diagnostics()
    text = "slots without a command of their own in the last second: "
    assert found("control loop", of=it, deadline_misses=7) == (ERROR, f"{text}7")
    assert found("control loop", of=it, deadline_misses=9) == (WARN, f"{text}2")
    assert found("control loop", of=it, deadline_misses=9)[0] == OK
    assert found("control loop", of=it, deadline_misses=0)[0] == OK  # it counts from 0 again


def test_the_worst_comes_first():
    level, message = found("control loop", period_std=0.01, lateness_max=0.05)
    assert level == ERROR
    assert message == "a tick was 50.0 ms late, 125% of the period; " + (
        "the periods vary by 10.0 ms around 40.0 ms"
    )


@pytest.mark.parametrize(
    ("changes", "level", "message"),
    [
        (dict(safe_reason="no state"), ERROR, "safe command: no state"),
        (dict(safe_reason=RESETTING), OK, RESETTING),
        (dict(stopped=True, safe_reason="e-stop"), ERROR, "stopped: e-stop"),
        (dict(dry_run=True), WARN, "dry run: nothing is sent to the robot"),
        (
            dict(acting_controller="policy", failure="RuntimeError: no", fallbacks=1),
            WARN,
            "policy acts for mppi: RuntimeError: no",
        ),
        (dict(acting_controller="hold"), WARN, "mppi is not ready, hold acts"),
        (
            dict(acting_controller="random", model_version=0),
            WARN,
            "mppi waits for a model, random acts",
        ),
        (dict(fallbacks=1), WARN, "a fallback acted for mppi, which is back"),
    ],
)
def test_whoever_is_in_command_is_judged(changes, level, message):
    assert found("controllers", **changes) == (level, message)


def test_the_age_of_the_state_is_judged_by_the_topics_timeout():
    ages = {"/joint_states": 0.13}
    text = "the state on /joint_states is 0.13 s old, its timeout 0.25 s"
    assert found("state", ages=ages) == (WARN, text)
    assert found("state", ages={"/joint_states": 0.3})[0] == ERROR
    for ages in ({}, {"/joint_states": math.inf}, {"/joint_states": math.nan}):
        assert found("state", ages=ages) == (ERROR, "there is no state on /joint_states")


def test_refused_messages_are_told_by_topic_and_second():
    it = diagnostics(refused_error=10)
    text = "messages refused on /joint_states in the last second: "
    assert found("state", of=it, refused={"/joint_states": 3}) == (WARN, f"{text}3")
    assert found("state", of=it, refused={"/joint_states": 3})[0] == OK
    assert found("state", of=it, refused={"/joint_states": 13}) == (ERROR, f"{text}10")


def test_a_plan_that_takes_longer_than_a_period_is_told():
    assert found("planner", plan_time=0.05) == (WARN, "a plan takes 50.0 ms, 1.2 periods")
    assert found("planner", plan_time=0.4) == (ERROR, "a plan takes 400.0 ms, 10.0 periods")
    assert found("planner", plan_time=math.nan) == (OK, "no plan in the last second")


def test_the_model_is_told_with_its_age():
    assert found("model", age=None) == (OK, "version 22, age unknown")
    assert found("model", age=1e6)[0] == OK
    old = found("model", of=diagnostics(model_age_warn=60.0), age=61.0)
    assert old == (WARN, "the model is 61.0 s old")
    assert found("model", model_version=0, age=None) == (OK, "there is no model yet")


def test_a_rollback_is_a_warning_for_a_second():
    it = diagnostics()
    assert found("model", of=it)[0] == OK
    text = "rolled back to version 22, as a later one was worse"
    assert found("model", of=it, rollbacks=1) == (WARN, text)
    assert found("model", of=it, rollbacks=1)[0] == OK
    values = {
        v.key: v.value
        for v in parts(rollbacks=3, good_model_version=21, prediction_error=0.0123)["model"].values
    }
    assert (values["good version"], values["rollbacks"]) == ("21", "3")
    assert values["prediction error"] == "0.0123"


def test_a_threshold_of_zero_is_never_reached():
    config = {name: 0 for name in DiagnosticsConfig.model_fields}
    bad = dict(period_mean=1.0, period_std=1.0, lateness_max=1.0, execution_mean=1.0, plan_time=9.0)
    report = parts(diagnostics(**config), 1e6, {"/joint_states": 99}, {"/joint_states": 9.0}, **bad)
    assert all(part.level == OK for part in report.values())


def test_transitions_that_no_learner_stores_are_a_warning_and_lost_ones_an_error():
    level, text = found("delivery", unacknowledged=500)
    assert (level, text) == (WARN, "500 transitions were not stored by a learner yet")
    of = diagnostics()
    parts(of)
    level, text = found("delivery", of=of, unacknowledged=0, dropped=3)
    assert (level, text) == (ERROR, "3 transitions were lost, as no learner stores any")
    assert found("delivery", of=of, dropped=3)[0] == OK
