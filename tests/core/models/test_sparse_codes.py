"""Activations of sparse codes: what they keep, and what trains their thresholds."""

import pytest
import torch

from caelab import BatchTopK, CaelabError, JumpReLU, TopK


@pytest.fixture
def z():
    return torch.randn(30, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("relu", [True, False])
def test_the_k_largest_of_every_example_are_kept(z, relu):
    expected = torch.zeros_like(z)
    for row, kept in zip(z, expected, strict=True):
        for place in sorted(range(12), key=lambda j: -row[j])[:9]:
            kept[place] = max(row[place], 0.0) if relu else row[place]
    assert torch.equal(TopK(9, relu=relu)(z), expected)


def test_more_than_all_are_all(z):
    assert torch.equal(TopK(50, relu=False)(z), z)


def test_the_k_largest_of_the_batch_are_kept_in_training(z):
    last = BatchTopK(2)
    code = last(z)
    least = sorted(z.flatten().tolist())[-60]
    assert torch.equal(code, torch.where(z >= least, z, 0.0))
    assert last.threshold == pytest.approx(least, rel=1e-6)


def test_the_threshold_of_evaluation_is_the_running_mean_of_the_least_that_was_kept(z):
    last = BatchTopK(2, momentum=0.25)
    first, second = z, 3 * z
    last(first), last(second)
    least = sorted(z.flatten().tolist())[-60]
    threshold = 0.75 * least + 0.25 * 3 * least
    assert last.threshold == pytest.approx(threshold, rel=1e-6)
    assert torch.equal(last.eval()(z), torch.where(z > threshold, z, 0.0))


def test_evaluation_changes_no_threshold_and_couples_no_examples(z):
    last = BatchTopK(2)
    last(z)
    before = last.threshold.clone()
    assert torch.equal(last.eval()(z)[:3], last(z[:3]))
    assert torch.equal(last.threshold, before)


def test_a_threshold_of_each_unit(z):
    last = JumpReLU(12, threshold=0.7).double()
    assert torch.equal(last(z), torch.where(z > last.threshold, z, 0.0))


def test_the_threshold_has_the_kernel_estimate_of_its_gradient(z):
    last = JumpReLU(12, threshold=0.7, bandwidth=0.8).double()
    pulled = torch.randn_like(z)
    (found,) = torch.autograd.grad((last(z) * pulled).sum(), last.log_threshold)
    near = ((z - 0.7).abs() < 0.4).double() / 0.8
    by_threshold = (pulled * near * -0.7).sum(dim=0)
    torch.testing.assert_close(found, by_threshold * 0.7)  # ∂θ/∂ log θ = θ
    (found,) = torch.autograd.grad(last.l0(z).sum(), last.log_threshold)
    torch.testing.assert_close(found, -near.sum(dim=0) * 0.7)


def test_the_gradient_of_the_threshold_estimates_that_of_the_mean():
    """Of the mean of h over z ~ uniform(0, 2): ∂/∂θ ∫_θ^2 z dz / 2 = -θ / 2."""
    z = torch.linspace(0, 2, 200_001, dtype=torch.float64)[:, None]
    last = JumpReLU(1, threshold=0.7, bandwidth=0.1).double()
    (found,) = torch.autograd.grad(last(z).mean(), last.log_threshold)
    assert float(found) / 0.7 == pytest.approx(-0.7 / 2, rel=1e-3)


def test_the_derivative_by_z_is_the_mask(z):
    for last in (TopK(3), JumpReLU(12, threshold=0.7).double(), BatchTopK(2).eval()):
        point = z.clone().requires_grad_()
        (slope,) = torch.autograd.grad(last(point).sum(), point)
        assert torch.equal(slope, last.derivative(z))


@pytest.mark.parametrize("k", [0, -1, 2.5, True])
def test_a_number_of_units_that_there_is_not(k):
    for kind in (TopK, BatchTopK):
        with pytest.raises(CaelabError, match=r"a whole number of units, at least 1, but"):
            kind(k)


def test_a_threshold_of_0_is_refused():
    with pytest.raises(CaelabError, match=r"above 0, but 0.0 and 0.001 came; use nn.ReLU"):
        JumpReLU(3, threshold=0.0)
