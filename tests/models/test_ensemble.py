"""The batched networks: what bounds their variance, what they minimise, who shares what."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mbrl_node.models.ensemble import ACTIVATIONS, Ensemble


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    members=st.integers(1, 4),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    hidden=st.lists(st.integers(1, 6), max_size=3),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    probabilistic=st.booleans(),
    rows=st.integers(1, 5),
)
def test_the_batched_networks_are_plain_networks_side_by_side(
    members, sizes, hidden, activation, probabilistic, rows
):
    inputs, outputs = sizes
    net = Ensemble(members, inputs, outputs, hidden, activation, probabilistic)
    x = torch.randn(members, rows, inputs, generator=torch.Generator().manual_seed(0))
    mean, log_variance = net(x)
    assert mean.shape == log_variance.shape == (members, rows, outputs)
    for member in range(members):
        y = x[member]
        for k, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
            y = y @ weight[member] + bias[member]
            if k < len(hidden):
                y = ACTIVATIONS[activation](y)
        torch.testing.assert_close(mean[member], y[:, :outputs], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(net.mean(x), mean, atol=1e-5, rtol=1e-4)
    assert probabilistic or (log_variance == -math.inf).all()


@pytest.mark.parametrize("size", [0.0, 1.0, 1e3, 1e8, -1e8])
def test_the_variance_stays_finite_and_within_its_bounds_whatever_the_input(size):
    net = Ensemble(3, 2, 2, (16,))
    with torch.no_grad():
        net.max_log_variance[:], net.min_log_variance[:] = torch.tensor([1.0, 2.0]), -3.0
    _, log_variance = net(size * torch.randn(3, 100, 2, generator=torch.Generator().manual_seed(0)))
    assert torch.isfinite(log_variance).all()
    # Softly: the lower bound's softplus is added last, and lifts what is at the upper bound a bit.
    assert (log_variance <= net.max_log_variance + math.log1p(math.exp(-4)) + 1e-5).all()
    assert (log_variance >= net.min_log_variance - 1e-5).all()


def test_the_bounds_are_soft_so_that_what_lies_beyond_them_still_has_a_gradient():
    net = Ensemble(1, 1, 1, ())
    x = torch.ones(1, 1, 1)
    with torch.no_grad():
        net.biases[0][..., 1] = 3.0  # the bound is 0.5
    net(x)[1].sum().backward()
    assert net.biases[0].grad[0, 0, 1] > 0.01


def test_the_loss_of_a_probabilistic_ensemble_is_the_gaussian_negative_log_likelihood():
    net = Ensemble(2, 3, 2, (8,))
    x, target = torch.randn(2, 5, 3), torch.randn(2, 5, 2)
    mean, log_variance = net(x)
    expected = 2 * F.gaussian_nll_loss(mean, target, log_variance.exp(), reduction="none")
    torch.testing.assert_close(net.loss(x, target), expected.mean(-1))
    assert net.loss(x, target).shape == (2, 5)


def test_the_loss_of_a_deterministic_ensemble_is_the_squared_error():
    net = Ensemble(2, 3, 2, (8,), probabilistic=False)
    x, target = torch.randn(2, 5, 3), torch.randn(2, 5, 2)
    torch.testing.assert_close(net.loss(x, target), (net.mean(x) - target).square().mean(-1))
    assert net.bound_loss() == 0.0


def test_with_a_beta_of_one_the_mean_has_the_gradient_of_the_squared_error():
    net = Ensemble(1, 3, 2, ())
    x, target = torch.randn(1, 5, 3), torch.randn(1, 5, 2)
    means = slice(None), slice(None), slice(0, 2)
    (gradient,) = torch.autograd.grad(net.loss(x, target, 1.0).sum(), net.weights[0])
    squared = (net.mean(x) - target).square().mean(-1)
    (expected,) = torch.autograd.grad(squared.sum(), net.weights[0])
    torch.testing.assert_close(gradient[means], expected[means])
    (plain,) = torch.autograd.grad(net.loss(x, target, 0.0).sum(), net.weights[0])
    assert not torch.allclose(plain[means], expected[means])


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_bounds_have_the_gradient_of_the_plain_likelihood_whatever_beta_is(beta):
    net = Ensemble(2, 3, 2, (8,))
    x, target = torch.randn(2, 5, 3), torch.randn(2, 5, 2)
    mean, log_variance = net(x)
    plain = (mean - target).square() * (-log_variance).exp() + log_variance
    bounds = [net.max_log_variance, net.min_log_variance]
    expected = torch.autograd.grad(plain.mean(-1).sum(), bounds)
    gradient = torch.autograd.grad(net.loss(x, target, beta).sum(), bounds)
    torch.testing.assert_close(gradient, expected)


def test_the_members_begin_different():
    net = Ensemble(4, 3, 2, (8, 8))
    for weight in net.weights:
        assert len({tuple(w.flatten().tolist()) for w in weight}) == 4


def test_selected_members_are_kept_in_order_and_as_they_were():
    net = Ensemble(4, 3, 2, (8,))
    x = torch.randn(1, 5, 3)
    before, weights = net(x.expand(4, -1, -1)), [weight.clone() for weight in net.weights]
    net.select(torch.tensor([3, 1]))
    after = net(x.expand(2, -1, -1))
    assert net.members == 2
    assert all(torch.equal(a, b[[3, 1]]) for a, b in zip(net.weights, weights, strict=True))
    for a, b in zip(after, before, strict=True):  # products of another size are rounded otherwise
        torch.testing.assert_close(a, b[[3, 1]])
