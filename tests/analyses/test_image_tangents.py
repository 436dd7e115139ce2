import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import ndimage

from caelab_analyses.manifold_alignment.image_tangents import (
    MOTIONS,
    TRANSFORMATIONS,
    image_tangents,
    motion_tangent,
    thickness_tangent,
)

SIDE = 45  # so wide that the blobs vanish at the border
CENTRE = (SIDE - 1) / 2
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE] - CENTRE

# motion -> its velocity field (row, column) at the points of the grid
VELOCITIES = {
    "shift x": (0 * ROWS, 1 + 0 * ROWS),
    "shift y": (1 + 0 * ROWS, 0 * ROWS),
    "rotation": (-COLUMNS, ROWS),
    "scale": (ROWS, COLUMNS),
}


def blob(row: float, column: float, width: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Gaussian blob and its two partial derivatives in closed form."""
    image = np.exp(-((ROWS - row) ** 2 + (COLUMNS - column) ** 2) / (2 * width**2))
    return image, -(ROWS - row) / width**2 * image, -(COLUMNS - column) / width**2 * image


@pytest.fixture(scope="module")
def smooth() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return sum_of(blob(-3, 2, 3.0), blob(2, -4, 3.5))


def sum_of(*blobs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return tuple(sum(parts) for parts in zip(*blobs, strict=True))


@pytest.mark.parametrize("name", MOTIONS)
def test_tangent_is_minus_the_gradient_along_the_velocity(name, smooth):
    image, by_row, by_column = smooth
    u_row, u_column = VELOCITIES[name]
    expected = -(by_row * u_row + by_column * u_column)
    found = motion_tangent(image, *MOTIONS[name])
    # a cubic spline's slope errs by less than a thousandth on blobs 3 pixels wide
    assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def test_shift_moves_content_right_and_down():
    image = blob(0, 0, 3.0)[0]
    for name, axis in (("shift x", 1), ("shift y", 0)):
        tangent = motion_tangent(image, *MOTIONS[name])
        centre = ndimage.center_of_mass(image + 0.1 * tangent)
        assert centre[axis] == pytest.approx(CENTRE + 0.1, abs=1e-3)
        assert centre[1 - axis] == pytest.approx(CENTRE, abs=1e-9)


def test_rotation_is_counter_clockwise_as_seen():
    right_of_centre = blob(0, 6, 2.0)[0]
    tangent = motion_tangent(right_of_centre, *MOTIONS["rotation"])
    row, column = ndimage.center_of_mass(right_of_centre + 0.05 * tangent)
    assert row - CENTRE == pytest.approx(-6 * 0.05, rel=0.02)  # rows run down: it rises
    assert column - CENTRE == pytest.approx(6, rel=0.02)


def test_scale_makes_content_grow():
    image = blob(0, 0, 3.0)[0]
    tangent = motion_tangent(image, *MOTIONS["scale"])
    # mass of a blob grows with the square of its width: d/dt exp(2t) = 2
    assert tangent.sum() / image.sum() == pytest.approx(2, rel=1e-3)


def test_thickness_is_the_larger_component_of_the_gradient(smooth):
    image, by_row, by_column = smooth
    expected = np.maximum(np.abs(by_row), np.abs(by_column))
    found = thickness_tangent(image)
    flat = expected < 0.05  # where the gradient turns, dilation and erosion see both slopes
    assert_allclose(found[~flat], expected[~flat], rtol=0.1)
    norm = np.hypot(by_row, by_column)
    cosine = (found * norm).sum() / np.sqrt((found**2).sum() * (norm**2).sum())
    assert cosine > 0.98


def test_thickness_of_a_step_edge_by_hand():
    image = np.tile([0.0, 0, 0, 1, 1, 1], (6, 1))
    assert_allclose(thickness_tangent(image), np.tile([0, 0, 0.5, 0.5, 0, 0], (6, 1)))


def test_all_tangents_in_the_order_of_their_names(smooth):
    images = np.stack([smooth[0], smooth[0].T])
    tangents = image_tangents(images.astype(np.float32))
    assert tangents.shape == (2, len(TRANSFORMATIONS), SIDE, SIDE)
    # transposing an image swaps the two shifts and reverses the rotation
    first, second = tangents[0].transpose(0, 2, 1), tangents[1]
    assert_allclose(second[[1, 0, 3, 4]], first[[0, 1, 3, 4]], atol=1e-6)
    assert_allclose(second[2], -first[2], atol=1e-6)


def test_blank_image_has_no_tangents():
    assert_allclose(image_tangents(np.full((1, 8, 8), 0.3)), 0, atol=1e-8)
