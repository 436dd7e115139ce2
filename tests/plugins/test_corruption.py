import numpy as np
import pytest
import torch

from caelab import CaelabError
from caelab.streams import Streams
from caelab_regularizers.corruption import Gaussian, Masking, SaltAndPepper
from caelab_regularizers.corruption_chain import CorruptionChain

COPIES = 40_000
ERRORS = 5.5  # standard errors: over all the inputs below, chance fails one run in 10^5, and the seeds are fixed

CHAIN = [{"kind": "masking", "p": 0.3}, {"kind": "gaussian", "sigma": 0.2}, {"kind": "salt-and-pepper", "p": 0.1}]
CORRUPTIONS = {
    "gaussian": Gaussian(sigma=0.6),
    "masking": Masking(p=0.25),
    "salt-and-pepper": SaltAndPepper(p=0.3),
    "nothing": Masking(p=0.0),
    "everything": Masking(p=1.0),
    "only salt and pepper": SaltAndPepper(p=1.0),
    "chain": CorruptionChain(steps=CHAIN),
    "chain backwards": CorruptionChain(steps=CHAIN[::-1]),
    "noise twice": CorruptionChain(steps=[{"kind": "gaussian", "sigma": 0.3}, {"kind": "gaussian", "sigma": 0.4}]),
}


@pytest.fixture(params=CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def corruption(request):
    return request.param


@pytest.fixture
def clean():
    """Ordinary values and the ends of the range, float64."""
    return torch.tensor([[0.0, 0.1, 0.5, 1.0], [0.9, 0.3, 0.0, 0.77]], dtype=torch.float64)


def corrupted_copies(corruption, clean):
    many = clean.expand(COPIES, *clean.shape).reshape(-1, *clean.shape[1:])
    copies = corruption.corrupt_input(clean=many, epoch=1, streams=Streams(5))
    return copies.reshape(COPIES, *clean.shape)


def within_error_bars(samples, expected):
    """Whether the mean over the first axis is as expected, within its own standard error."""
    error = samples.std(dim=0) / len(samples) ** 0.5
    return ((samples.mean(dim=0) - expected).abs() <= ERRORS * error + 1e-12).all()


def test_mean_and_variance_are_as_declared(corruption, clean):
    copies = corrupted_copies(corruption, clean)
    assert within_error_bars(copies, corruption.mean(clean))
    deviations = (copies - corruption.mean(clean)).square()
    assert within_error_bars(deviations, corruption.covariance_diagonal(clean))


def test_inputs_are_corrupted_independently(corruption, clean):
    """Every product of two inputs' deviations has mean zero: the covariance is diagonal."""
    deviations = (corrupted_copies(corruption, clean) - corruption.mean(clean)).flatten(1)
    for shift in range(1, deviations.shape[1]):
        assert within_error_bars(deviations * deviations.roll(shift, dims=1), 0.0)


def test_wrong_moments_would_be_noticed(clean):
    masked = corrupted_copies(Masking(p=0.25), clean)
    assert not within_error_bars(masked, clean)
    squares = (masked - masked.mean(dim=0)).square()
    for wrong in (0.25 * clean.square(), 0.25 * 0.75 * clean, torch.full_like(clean, 0.25 * 0.75)):
        assert not within_error_bars(squares, wrong)
    peppered = corrupted_copies(SaltAndPepper(p=0.3), clean)
    assert not within_error_bars(peppered, 0.7 * clean)
    assert not within_error_bars((peppered - peppered.mean(dim=0)).square(), 0.3 * 0.7 * (clean - 0.5).square())


def test_salt_and_pepper_takes_only_its_three_values_at_their_rates():
    copies = corrupted_copies(SaltAndPepper(p=0.3), torch.full((1, 2), 0.5, dtype=torch.float64))
    shares = [(copies == value).double().mean().item() for value in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(shares, [0.15, 0.7, 0.15], atol=5 * (0.25 / copies.numel()) ** 0.5)
    assert sum(shares) == pytest.approx(1, abs=1e-12)


def test_masking_leaves_what_it_keeps(clean):
    masked = Masking(p=0.5).corrupt_input(clean=clean, epoch=1, streams=Streams(0))
    assert ((masked == 0) | (masked == clean)).all()


def test_gaussian_noise_is_gaussian_and_not_clipped():
    from scipy.stats import kstest

    noisy = Gaussian(sigma=0.6).corrupt_input(clean=torch.ones(20_000, 1), epoch=1, streams=Streams(0))
    assert kstest((noisy - 1).numpy().ravel() / 0.6, "norm").pvalue > 1e-3
    assert noisy.min() < 0
    assert noisy.max() > 1


def test_each_corruption_has_a_stream_of_its_own(clean):
    """Numbers drawn elsewhere leave it alone; drawing twice gives new noise."""
    for name in ("gaussian", "masking", "salt-and-pepper"):
        streams, disturbed = Streams(0), Streams(0)
        for other in {"gaussian", "masking", "salt-and-pepper"} - {name}:
            CORRUPTIONS[other].corrupt_input(clean=clean, epoch=1, streams=disturbed)
        large = clean.repeat(20, 20)
        first, second = (CORRUPTIONS[name].corrupt_input(clean=large, epoch=1, streams=streams) for _ in range(2))
        assert torch.equal(first, CORRUPTIONS[name].corrupt_input(clean=large, epoch=1, streams=disturbed))
        assert not torch.equal(first, second)


def test_a_chain_applies_its_steps_in_order(clean):
    both = CorruptionChain(steps=CHAIN[:2]).corrupt_input(clean=clean, epoch=1, streams=Streams(2))
    streams = Streams(2)
    masked = Masking(p=0.3).corrupt_input(clean=clean, epoch=1, streams=streams)
    assert torch.equal(both, Gaussian(sigma=0.2).corrupt_input(clean=masked, epoch=1, streams=streams))


def test_the_noises_of_two_steps_of_one_kind_add_up(clean):
    twice = CORRUPTIONS["noise twice"]
    torch.testing.assert_close(twice.covariance_diagonal(clean), torch.full_like(clean, 0.25), rtol=1e-12, atol=0)


def test_the_chains_moments_are_differentiable_where_nothing_varies():
    clean = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    CorruptionChain(steps=CHAIN).covariance_diagonal(clean).sum().backward()
    assert torch.isfinite(clean.grad).all()


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        ([], "steps is empty"),
        ([{"sigma": 0.1}], "steps.0 expects a mapping with a kind"),
        (
            [{"kind": "gaussian", "sigma": 0.1}, {"kind": "gausian"}],
            "unknown regularizer 'gausian'; did you mean 'gaussian'",
        ),
        ([{"kind": "gaussian", "sigma": -1}], "steps.0.sigma: input should be greater than 0, but -1 came"),
        ([{"kind": "masking"}], "steps.0.p is missing"),
        ([{"kind": "masking", "q": 1, "p": 0.1}], "unknown option 'q'"),
        ([{"kind": "weight-decay", "weight": 1.0}], "expects a corruption, but 'weight-decay' does not corrupt"),
    ],
    ids=["empty", "no kind", "misspelt", "negative", "missing", "unknown option", "no corruption"],
)
def test_a_wrong_step_is_refused(steps, complaint):
    with pytest.raises(CaelabError, match=complaint):
        CorruptionChain(steps=steps)
