"""What was predicted beside what happened."""

from __future__ import annotations

import numpy as np

from mbrl_node.view.foresight import Foresight, Prediction

DT, H = 0.1, 10


def of(start: float, value: float) -> Prediction:
    return Prediction(start, DT, np.full((H + 1, 1), value))


def filled(until: float) -> Foresight:
    """A plan and a measurement every 0.1 s; a plan says when it was made, and so does a state."""
    it = Foresight()
    for time in np.arange(0.0, until + 1e-9, DT):
        it.predicted(of(time, time))
        it.measured(time, np.array([time]))
    return it


def test_the_plan_that_is_judged_is_the_newest_of_which_all_has_happened():
    it = filled(3.0)
    assert np.isclose(it.over.end, 3.0) and np.isclose(it.over.start, 2.0)
    assert np.isclose(it.ahead.start, 3.0)


def test_curves_have_what_was_measured_before_now_and_what_is_predicted_after():
    curves = filled(3.0).curves(0, angle=False)
    before, after = curves.time <= 0, curves.time > 0
    assert np.allclose(curves.measured[before], 3.0 + curves.time[before])
    assert np.isnan(curves.measured[after]).all() and np.allclose(curves.ahead[after], 3.0)
    assert np.allclose(curves.foretold[(curves.time > -0.99) & before], 2.0)
    assert np.isnan(curves.foretold[curves.time < -1.01]).all()


def test_an_angle_does_not_jump_where_it_begins_anew():
    it = Foresight()
    turning = np.arange(0.0, 3.0, DT)
    wrapped = (4.0 * turning + np.pi) % (2 * np.pi) - np.pi
    for time, angle in zip(turning, wrapped, strict=True):
        it.predicted(Prediction(time, DT, (angle + 4.0 * DT * np.arange(H + 1))[:, None]))
        it.measured(time, np.array([angle]))
    curves = it.curves(0, angle=True)
    for curve in (curves.measured, curves.foretold, curves.ahead):
        assert np.abs(np.diff(curve[np.isfinite(curve)])).max() < 0.2
    both = np.isfinite(curves.measured) & np.isfinite(curves.foretold)
    assert np.allclose(curves.measured[both], curves.foretold[both], atol=1e-6)


def test_a_plan_ends_where_it_is_not_finite():
    it = Foresight()
    states = np.zeros((5, 1))
    states[3] = np.nan
    it.predicted(Prediction(0.0, DT, states))
    it.measured(0.0, np.zeros(1))
    assert len(it.ahead.states) == 3


def test_it_begins_anew_when_time_does():
    it = filled(3.0)
    it.measured(0.0, np.zeros(1))
    assert it.now == 0.0 and it.over is None and it.ahead is None


def test_a_plan_that_was_over_long_ago_is_not_shown():
    it = filled(3.0)
    for time in np.arange(3.1, 5.0, DT):
        it.measured(time, np.array([time]))
    assert it.over is None and it.ahead is None


def test_it_forgets_what_is_long_over():
    times, _ = filled(20.0).trail(100.0)
    assert 3.0 <= times[-1] - times[0] <= 4.1
