"""The line for people."""

import math

import pytest

pytest.importorskip("mbrl_msgs.msg")

from mbrl_msgs.msg import ControllerStatus

from mbrl_node.ros.status import status_line

HEALTHY = dict(
    active_controller="mppi",
    acting_controller="mppi",
    episode=1,
    episode_return=-93.6,
    model_version=22,
    held_out_error=0.066,
    rate=25.0,
    plan_time=0.0024,
    plan_samples=120,
    plan_iterations=1,
    trust=1.0,
)


def line(**changes) -> str:
    return status_line(ControllerStatus(**HEALTHY | changes), 5.5)


def test_of_a_healthy_loop_it_tells_what_it_does_and_how_well():
    assert line(held_time=0.2) == (
        "t    5.5 s | episode 1 return   -93.6 | mppi | model 22 (held-out error 6.6 %) | "
        "25.0 Hz, plan 2.4 ms (120 x 1) | missed 0 | goal held 0.2 s"
    )


def test_without_a_model_it_tells_who_acts():
    text = line(
        acting_controller="random", model_version=0, held_out_error=math.nan, plan_time=math.nan
    )
    assert "| mppi (waits for a model, random acts) | model 0 | 25.0 Hz | missed 0" in text
    assert "| mppi (is not ready, hold acts) |" in line(acting_controller="hold")


def test_a_second_without_a_tick_is_told_as_such():
    text = line(rate=math.nan, plan_time=math.nan)
    assert "| no ticks | missed 0" in text and "nan" not in text


def test_rollbacks_are_counted():
    assert "| model 22 (held-out error 6.6 %), rollbacks 2 |" in line(rollbacks=2)


def test_a_fallback_is_told_with_its_reason():
    text = line(acting_controller="policy", failure="mppi: 3 deadlines missed")
    assert "| mppi (failed, policy acts) |" in text
    assert text.endswith("| FALLBACK: mppi: 3 deadlines missed")


def test_a_safe_command_a_stop_and_a_dry_run_are_told():
    reason = "the state on /joint_states is 0.31 s old"
    assert line(safe_reason=reason, held_time=1.0).endswith(f"| SAFE COMMAND: {reason}")
    assert line(stopped=True, safe_reason="e-stop").endswith("| STOPPED | SAFE COMMAND: e-stop")
    assert line(dry_run=True).endswith("| dry run, nothing is sent")
