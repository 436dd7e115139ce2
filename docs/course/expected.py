"""What right answers to the exercises do. Each check is handed the student's function and returns what is wrong, or "".

Every expected value comes from another derivation than the one that the exercise asks for.
"""

import numpy as np
import torch
from scipy.linalg import subspace_angles
from scipy.stats import entropy, norm
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from caelab.testing import check_penalty, check_regularizer

NOTHING = "the function returns nothing"
SQUARED_NORM = "squared norm of the encoder's Jacobian"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def correlated(examples=200, width=6):
    """Examples with a mean and directions of unequal variance."""
    return normal(examples, width) @ normal(width, width, seed=1) + 3


def different(found, expected, what, tolerance=1e-6):
    """The sentence that says how an answer differs, or ""."""
    if found is None:
        return NOTHING
    found = torch.as_tensor(found).detach().double()
    expected = torch.as_tensor(np.asarray(expected)).double()
    if found.shape != expected.shape:
        return f"{what}: expected the shape {tuple(expected.shape)}, but {tuple(found.shape)} came"
    apart = float((found - expected).abs().max())
    if apart <= tolerance * (1 + float(expected.abs().max())):
        return ""
    worst = int((found - expected).abs().argmax())
    return f"{what}: expected {expected.flatten()[worst]:.6g}, but {found.flatten()[worst]:.6g} came"


def first(*sentences):
    """The first that is not empty."""
    return next(filter(None, sentences), "")


# --- notebook 1 ---


def pca_error(answer):
    inputs = correlated()

    def by_reconstructing(count):
        fitted = PCA(count).fit(inputs)
        back = fitted.inverse_transform(fitted.transform(inputs))
        return float(((inputs.numpy() - back) ** 2).sum(axis=1).mean())

    return first(*(different(answer(inputs, k), by_reconstructing(k), f"{k} components") for k in (1, 3, 5)))


def largest_angle(answer):
    one, two = normal(3, 8), normal(3, 8, seed=1)
    expected = np.degrees(subspace_angles(one.T.numpy(), two.T.numpy()).max())
    same = normal(3, 3, seed=2) @ one
    return first(
        different(answer(one, two), expected, "two random subspaces", 1e-5),
        different(answer(one, same), 0.0, "other rows with the same span", 1e-4),
    )


# --- notebook 2 ---


def masked(answer):
    clean = normal(400, 50).abs() + 1
    before = clean.clone()
    found, again = (answer(clean, 0.3, generator(4)) for _ in range(2))
    if found is None:
        return NOTHING
    if not torch.equal(clean, before):
        return "the clean inputs were changed in place"
    if found.shape != clean.shape:
        return f"expected the shape {tuple(clean.shape)}, but {tuple(found.shape)} came"
    if not torch.equal(found, again):
        return "two generators with the same seed gave two results: draw every number from the generator"
    if not bool(((found == 0) | (found == clean)).all()):
        return "an entry that is not zero differs from the clean one"
    zeros = (found == 0).double()
    if zeros.mean(dim=1).std() > 0.2 or zeros.mean(dim=0).std() > 0.2:
        return "inputs are to be decided each by itself, but whole rows or columns are zero"
    if abs(zeros.mean() - 0.3) > 0.02:  # six standard deviations of the share
        return f"expected a share of zeros of 0.3, but {zeros.mean():.3f} came"
    return ""


def linear_denoiser(answer):
    inputs = correlated()
    centred = (inputs - inputs.mean(dim=0)).numpy()

    def by_ridge_regression(sigma):
        return Ridge(alpha=len(centred) * sigma**2, fit_intercept=False).fit(centred, centred).coef_

    return first(*(different(answer(inputs, s), by_ridge_regression(s), f"sigma = {s}") for s in (0.5, 2.0)))


# --- notebook 3 ---


def of_report(report):
    """The name of the known mistake, or else the row that fails and says most, with what to do."""
    if report.passed:
        return ""
    if "NotImplementedError" in report.failures[0].found:
        raise NotImplementedError
    row = next((row for row in report.failures if not row.name.startswith(("value", "gradient"))), report.failures[0])
    return f"{row.found}: {row.remedy}" if row.name == "known mistake" else f"{row.name}: {row.found}; {row.remedy}"


def is_contractive(*activations):
    """The check of a penalty function for some activations, or for all."""
    return lambda answer: of_report(check_penalty(answer, SQUARED_NORM, activations=activations, raises=False))


def contraction_ratio(answer):
    """Two maps of the plane from the origin: one that stretches, one that is flat further out."""
    turns = np.linspace(0, 2 * np.pi, 20_001)[:-1]
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    stretch, start = np.array([1.0, 3.0]), torch.zeros(40_000, 2, dtype=torch.float64)
    stretched = np.linalg.norm(circle * stretch, axis=1).mean()
    clipped = np.linalg.norm(np.clip(4 * circle, -1, 1), axis=1).mean() / 4
    return first(
        different(answer(lambda x: x * torch.from_numpy(stretch), start, 0.1, generator()), stretched, "(x, 3y)", 5e-3),
        different(answer(lambda x: x.clamp(-1, 1), start, 4.0, generator()), clipped, "clamp, radius 4", 5e-3),
    )


# --- notebook 4 ---


def effective_rank(answer):
    values = normal(5, 4).abs()
    equal = torch.tensor([[2.0, 2.0, 2.0, 0.0], [7.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    return first(
        different(answer(values), np.exp(entropy(values.numpy(), axis=1)), "random spectra"),
        different(answer(equal), [3.0, 1.0], "three equal values, and one value alone"),
    )


def small_encoder():
    one, two = normal(5, 7), normal(4, 5, seed=1)
    return lambda x: torch.tanh(torch.tanh(x @ one.T / 3) @ two.T)


def by_differences(encode, x, step=1e-5):
    """The Jacobian at x, shape (code, input), by central differences."""
    moves = step * torch.eye(len(x), dtype=x.dtype)
    return ((encode(x + moves) - encode(x - moves)) / (2 * step)).T


def leading_tangents(answer):
    encode, inputs = small_encoder(), normal(6, 7, seed=2)
    found = answer(encode, inputs, 2)
    expected = torch.stack([torch.linalg.svd(by_differences(encode, x))[2][:2] for x in inputs])
    if found is None:
        return NOTHING
    if found.shape != expected.shape:
        return f"expected the shape {tuple(expected.shape)}, but {tuple(found.shape)} came"
    cosines = (found.detach() * expected).sum(dim=2).abs()  # the sign of a singular vector means nothing
    return different(cosines, np.ones((6, 2)), "the cosine with directions from central differences")


def alignment(answer):
    found, true = (torch.linalg.qr(normal(5, 6, 2, seed=s))[0].mT for s in (0, 1))
    expected = [
        (np.cos(subspace_angles(a.T.numpy(), b.T.numpy())) ** 2).mean() for a, b in zip(found, true, strict=True)
    ]
    return different(answer(found, true), expected, "the mean of the squared cosines of the principal angles")


# --- notebook 5 ---


def score_of(answer):
    """The best denoiser of N(0, 1) has the score of N(0, 1 + sigma^2): -x / (1 + sigma^2)."""
    points, sigma = normal(30, 2), 0.5
    return different(answer(lambda x: x / (1 + sigma**2), points, sigma), -points / (1 + sigma**2), "data from N(0, I)")


def gaussian_denoiser(answer):
    """By integrating x p(x) p(noisy | x) on a grid."""
    noisy, mean, variance, sigma = normal(8, 2), torch.tensor([1.0, -2.0], dtype=torch.float64), 2.0, 0.7
    grid = np.linspace(-20, 20, 20_001)[:, None, None]
    weight = norm.pdf(grid, mean.numpy(), variance**0.5) * norm.pdf(noisy.numpy(), grid, sigma)
    return different(answer(noisy, mean, variance, sigma), (grid * weight).sum(0) / weight.sum(0), "N(mean, 2 I)")


def langevin_step(answer):
    points = torch.ones(40_000, 2, dtype=torch.float64)
    found, again = (answer(points, lambda x: -3 * x, 0.01, generator(7)) for _ in range(2))
    if found is None:
        return NOTHING
    if not bool((points == 1).all()):
        return "the points were changed in place"
    if not torch.equal(found, again):
        return "two generators with the same seed gave two results: draw every number from the generator"
    return first(
        different(found.mean(dim=0), [0.985, 0.985], "the mean of the step", 2e-3),
        different(found.var(dim=0), [0.01, 0.01], "the variance of the step", 4e-4),
    )


# --- notebook 6 ---


def is_plugin(claims=None):
    """The check of a class with hooks."""
    return lambda answer: of_report(check_regularizer(answer, claims=claims, raises=False))


CHECKS = {
    "pca": {"pca_error": pca_error, "largest_angle": largest_angle},
    "denoising": {"masked": masked, "linear_denoiser": linear_denoiser},
    "contraction": {
        "sigmoid_penalty": is_contractive("sigmoid"),
        "tanh_penalty": is_contractive("tanh"),
        "contraction_ratio": contraction_ratio,
    },
    "spectrum": {"effective_rank": effective_rank, "leading_tangents": leading_tangents, "alignment": alignment},
    "score": {"score_of": score_of, "gaussian_denoiser": gaussian_denoiser, "langevin_step": langevin_step},
    "penalties": {
        **{name: is_contractive("sigmoid") for name in ("entries", "batch", "parenthesis", "graph")},
        "activation": is_contractive("tanh"),
        "square": is_contractive(),
        "units": is_contractive("sigmoid", "tanh"),
        "Place": is_plugin(),
        "Dice": is_plugin(),
        "Point": is_plugin(SQUARED_NORM),
        "Mode": is_plugin("L1 norm of the code"),
    },
}
