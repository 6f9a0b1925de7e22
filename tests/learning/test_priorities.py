"""Which rows are drawn how often, and when the robot counts as changed."""

import math

import pytest
import torch

from mbrl_node.learning.priorities import Priorities, Surprise


def none(size: int) -> torch.Tensor:
    return torch.zeros(size, dtype=torch.bool)


def test_at_first_all_rows_count_the_same():
    weights = Priorities(10).weights(8, none(8))
    torch.testing.assert_close(weights, weights[0].expand(8))


def test_recent_and_surprising_rows_count_more():
    it = Priorities(10)
    it.note(torch.arange(100), torch.full((100,), 0.01))
    it.note(torch.arange(10), torch.full((10,), 1.0))
    weights = it.weights(100, none(100))
    assert weights[5] > 2 * weights[50] and weights[95] > 3 * weights[50]
    assert weights.sum() == pytest.approx(0.98)  # there is no earlier era


def test_a_glitch_is_drawn_no_more_often_than_other_surprises():
    it = Priorities(10)
    it.note(torch.arange(100), torch.full((100,), 0.01))
    it.note(torch.arange(10), torch.full((10,), 0.1))
    it.note(torch.tensor([5]), torch.tensor([1e4]))
    weights = it.weights(100, none(100))
    assert weights[5] == weights[6]


def test_rows_set_aside_are_not_drawn():
    aside = none(100)
    aside[20:40] = True
    weights = Priorities(10).weights(100, aside)
    assert (weights[20:40] == 0).all() and (weights[~aside] > 0).all()


def test_rows_of_an_earlier_era_count_little_but_are_not_forgotten():
    it = Priorities(10)
    it.begin_era(80)
    weights = it.weights(100, none(100))
    assert float(weights[:80].sum() / weights.sum()) == pytest.approx(0.02)
    assert weights[80:].min() > 10 * weights[:80].max()


def test_errors_that_are_not_finite_do_not_spoil_the_weights():
    it = Priorities(10)
    it.note(torch.arange(3), torch.tensor([math.nan, math.inf, 1.0]))
    assert torch.isfinite(it.weights(20, none(20))).all()


def test_the_error_on_the_older_half_is_known_once_it_was_looked_at():
    it = Priorities(10)
    assert math.isnan(it.look_back())
    it.note(torch.arange(100), torch.cat((torch.full((60,), 0.04), torch.full((40,), 9.0))))
    assert it.look_back() == pytest.approx(0.2)


def test_an_error_on_older_data_that_rises_is_a_contradiction():
    it = Priorities(10)
    assert not it.contradiction
    for square in (0.01, 0.0004, 0.0005):
        it.note(torch.arange(100), torch.full((100,), square))
        it.look_back()
    assert not it.contradiction
    it.note(torch.arange(100), torch.full((100,), 0.004))
    it.look_back()
    assert it.contradiction
    it.begin_era(90)
    assert not it.contradiction


def test_what_is_as_usual_is_no_surprise_and_a_change_is_one():
    it = Surprise(10)
    assert math.isnan(it.value)
    it.note(torch.full((100,), 0.04))
    assert it.value == pytest.approx(1.0)
    it.note(torch.full((10,), 0.36))
    assert it.value == pytest.approx(3.0)
    it.forget()
    assert math.isnan(it.value)


def test_a_tiny_error_that_has_doubled_is_no_surprise():
    it = Surprise(10)
    it.note(torch.full((100,), 1e-6))
    it.note(torch.full((10,), 4e-6))
    assert it.value < 0.1
