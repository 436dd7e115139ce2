"""Tangents of images along known transformations, such as translation and rotation.

Each is ∂T_t(x)/∂t at t = 0, taken as a central difference (T_{+s} x - T_{-s} x) / 2s. The geometric ones move the
image's content as a whole by a cubic spline; with the velocity field u(p) of the motion, the chain rule gives the
same tangent as -∇x · u (Simard et al. 1998, "Transformation invariance in pattern recognition").
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]
Map = tuple[Array, Array]  # linear part (2, 2) and shift (2,), in (row, column) coordinates

STEP = 0.1  # pixels; so small that the difference is the spline's derivative to a thousandth
TURN = STEP / 10  # radians, or log of the scale: the same step, 10 pixels from the centre
CROSS = ndimage.generate_binary_structure(2, 1)  # a pixel and its four neighbours


def _shift_x(step: float) -> Map:
    """Content moves right by ``step`` pixels."""
    return np.eye(2), np.array([0.0, step])


def _shift_y(step: float) -> Map:
    """Content moves down by ``step`` pixels."""
    return np.eye(2), np.array([step, 0.0])


def rotation(step: float) -> Map:
    """Content turns about the centre by ``step`` radians, counter-clockwise as it is seen (rows run down)."""
    cosine, sine = np.cos(step), np.sin(step)
    return np.array([[cosine, -sine], [sine, cosine]]), np.zeros(2)


def scale(step: float) -> Map:
    """Content grows about the centre by the factor exp(``step``)."""
    return np.exp(step) * np.eye(2), np.zeros(2)


MOTIONS: dict[str, tuple[Callable[[float], Map], float]] = {
    "shift x": (_shift_x, STEP),
    "shift y": (_shift_y, STEP),
    "rotation": (rotation, TURN),
    "scale": (scale, TURN),
}
TRANSFORMATIONS = (*MOTIONS, "thickness")


def moved(coefficients: Array, motion: Map) -> Array:
    """The image whose content was moved by p ↦ c + M (p - c) + s, c its centre; the border's grey goes on outside.

    Args:
        coefficients: cubic spline coefficients of the image, shape (height, width).
        motion: M and s.
    """
    matrix, shift = motion
    centre = (np.array(coefficients.shape) - 1) / 2
    back = np.linalg.inv(matrix)
    offset = centre - back @ (centre + shift)
    return np.asarray(ndimage.affine_transform(coefficients, back, offset, order=3, mode="nearest", prefilter=False))


def motion_tangent(image: Array, motion: Callable[[float], Map], step: float) -> Array:
    """(T_{+s} x - T_{-s} x) / 2s of a motion, shape (height, width)."""
    coefficients = np.asarray(ndimage.spline_filter(image, order=3, mode="nearest"))
    return (moved(coefficients, motion(step)) - moved(coefficients, motion(-step))) / (2 * step)


def thickness_tangent(image: Array) -> Array:
    """(dilation - erosion) / 2 with a cross of five pixels, shape (height, width).

    Dilation by a disc of radius t moves every contour outwards, ∂x/∂t = ‖∇x‖; on the grid the cross measures the
    gradient by its larger component, max(|∂x/∂row|, |∂x/∂column|).
    """
    dilated = ndimage.grey_dilation(image, footprint=CROSS, mode="nearest")
    eroded = ndimage.grey_erosion(image, footprint=CROSS, mode="nearest")
    return np.asarray((dilated - eroded) / 2)


def image_tangents(images: Array) -> Array:
    """The tangents of every image, in the order of ``TRANSFORMATIONS``.

    Args:
        images: grey images, shape (batch, height, width).

    Returns:
        Per pixel, radian, log scale and pixel of thickness, shape (batch, 5, height, width). A blank image has
        tangents of zero, to rounding.
    """
    return np.stack(
        [
            np.stack(
                [*(motion_tangent(image, motion, step) for motion, step in MOTIONS.values()), thickness_tangent(image)]
            )
            for image in images.astype(np.float64)
        ]
    )
