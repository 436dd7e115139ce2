import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.linalg import subspace_angles

from caelab_analyses.shared.subspaces import captured_share, local_pca, orthonormal, principal_angles


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def random_bases(rng, batch, rank, width):
    return orthonormal(torch.from_numpy(rng.standard_normal((batch, rank, width))))


def test_angles_equal_scipys(rng):
    first, second = random_bases(rng, 4, 2, 7), random_bases(rng, 4, 3, 7)
    expected = [np.rad2deg(np.sort(subspace_angles(a.T, b.T))) for a, b in zip(first, second, strict=True)]
    assert_allclose(principal_angles(first, second), np.stack(expected), atol=1e-6)


@pytest.mark.parametrize("degrees", [0.0, 0.01, 30, 89, 90])
def test_angle_of_two_lines_by_hand(degrees):
    turn = np.deg2rad(degrees)
    first, second = torch.tensor([[[1.0, 0, 0]]]).double(), torch.tensor([[[np.cos(turn), np.sin(turn), 0.0]]])
    # an arc cosine near 1 keeps half the digits
    assert float(principal_angles(first, second)) == pytest.approx(degrees, abs=2e-6)


def test_angles_do_not_depend_on_the_basis(rng):
    first, second = random_bases(rng, 3, 2, 6), random_bases(rng, 3, 2, 6)
    turned = random_bases(rng, 3, 2, 2) @ first
    assert_allclose(principal_angles(turned, second), principal_angles(first, second), atol=1e-9)


def test_everything_is_captured_by_a_subspace_that_contains_it(rng):
    basis = random_bases(rng, 3, 4, 9)
    within = torch.from_numpy(rng.standard_normal((3, 2, 4))) @ basis
    assert_allclose(captured_share(basis, within), np.ones((3, 2)), rtol=1e-12)


def test_share_is_what_least_squares_explains(rng):
    basis, tangents = random_bases(rng, 2, 3, 8), torch.from_numpy(rng.standard_normal((2, 5, 8)))
    for b, t, share in zip(basis.numpy(), tangents.numpy(), captured_share(basis, tangents).numpy(), strict=True):
        residual = np.linalg.lstsq(b.T, t.T)[1]
        assert_allclose(share, 1 - residual / np.sum(t**2, axis=1), rtol=1e-10)


def test_a_random_subspace_captures_k_of_d_on_average(rng):
    share = captured_share(random_bases(rng, 4000, 3, 12), torch.from_numpy(rng.standard_normal((4000, 1, 12))))
    error = float(share.std()) / np.sqrt(4000)
    assert float(share.mean()) == pytest.approx(3 / 12, abs=4 * error)


def test_a_blank_tangent_has_no_share(rng):
    tangents = torch.from_numpy(rng.standard_normal((1, 2, 5)))
    tangents[0, 1] = 1e-9
    share = captured_share(random_bases(rng, 1, 2, 5), tangents)
    assert share.isnan().tolist() == [[False, True]]


def test_local_pca_is_the_svd_of_the_nearest_points(rng):
    among, points = rng.standard_normal((50, 4)), rng.standard_normal((3, 4))
    found = local_pca(torch.from_numpy(points), torch.from_numpy(among), 12, 2)
    for point, basis in zip(points, found.numpy(), strict=True):
        nearest = among[np.argsort(np.sum((among - point) ** 2, axis=1))[:12]]
        _, vectors = np.linalg.eigh(np.cov(nearest.T))
        assert_allclose(np.abs(basis @ vectors[:, ::-1][:, :2]), np.eye(2), atol=1e-8)


def test_local_pca_finds_a_plane_that_misses_the_origin(rng):
    plane = random_bases(rng, 1, 2, 6)
    offset = 10 * torch.ones(6).double()
    points = torch.from_numpy(rng.standard_normal((200, 2))) @ plane[0] + offset
    found = local_pca(points[:4], points, 20, 2)
    assert_allclose(principal_angles(found, plane.expand(4, -1, -1)), np.zeros((4, 2)), atol=1e-5)
