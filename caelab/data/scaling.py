"""Scaling the inputs of a data set: standardise, minmax and binarise, by parameters of the training examples alone."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from caelab.data.mapped import in_file
from caelab.data.scaling_options import ScalingOptions
from caelab.data.truth import Tangents
from caelab.errors import CaelabError, reason

log = logging.getLogger(__name__)

ROWS = 4096  # examples that are scaled at once
AT_ONCE = 2**24  # values of which medians are taken at once

Kind = Literal["standardise", "minmax", "binarise"]
Values = TypeVar("Values", Tensor, np.ndarray[Any, Any])


@dataclass(frozen=True, eq=False)
class Scaling:
    """z = (x - shift) / scale for each input, or z = 1 where x > shift, else 0; what a run's inputs went through.

    Args:
        kind: ``standardise``: shift is the mean and scale the standard deviation (of n, not n - 1); ``minmax``: shift
            is the minimum and scale the maximum less the minimum; ``binarise``: shift is the threshold and scale 1.
            They are those of the training examples; scale is 1 for an input that is constant there.
        asked: the option and its value, as ``{"minmax": True}``.
        shift: shape (d,), float64.
        scale: shape (d,), float64, above 0.
        of: the content hash of the data as they were before.
        into: that of the scaled values themselves, by which they are known again.
    """

    kind: Kind
    asked: Mapping[str, Any]
    shift: Tensor = field(repr=False)
    scale: Tensor = field(repr=False)
    of: str = field(default="", repr=False)
    into: str = field(default="", repr=False)

    @property
    def clips(self) -> bool:
        """Whether values outside the range of the training examples are set to its ends."""
        return self.asked.get("minmax") == "clip"

    def apply(self, inputs: Values) -> Values:
        """Scale inputs that are as the data set's before it was scaled; unsigned bytes are divided by 255 first.

        Args:
            inputs: a tensor or an array, shape (d,) or (n, ...) with d values for each example.

        Returns:
            The same shape; float64 for float64, else float32. Differentiable for tensors, except where values are
            binarised or clipped.

        Raises:
            CaelabError: it is no tensor or array, or has another number of inputs.
        """
        return self._through(inputs, self._scaled)

    def invert(self, scaled: Values) -> Values:
        """The inputs x = z scale + shift that scaled ones came from, as a reconstruction in the units of the data.

        Args:
            scaled: a tensor or an array, shape (d,) or (n, ...) with d values for each example.

        Returns:
            The same shape; float64 for float64, else float32. Differentiable for tensors.

        Raises:
            CaelabError: binary values were made, which do not say what they came from, or the shape does not fit.
        """
        if self.kind == "binarise":
            raise CaelabError(
                "binarise keeps no more of an input than whether it is above the threshold, and cannot be inverted: "
                "use standardise or minmax"
            )
        return self._through(scaled, lambda z: z * self.scale.to(z.device) + self.shift.to(z.device))

    def as_record(self) -> dict[str, Any]:
        """Plain values, as a run keeps them: the option, ``shift`` and ``scale``; binarised data have a threshold."""
        found = {"kind": self.kind, **self.asked, "shift": self.shift.tolist()}
        return found if self.kind == "binarise" else {**found, "scale": self.scale.tolist()}

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> Scaling:
        """The scaling whose plain values ``as_record`` gave, as ``run.record["data"]["scaling"]`` holds them.

        Raises:
            CaelabError: they are others.
        """
        try:
            kind: Kind = record["kind"]
            shift = torch.tensor(record["shift"], dtype=torch.float64)
            scale = torch.tensor(record.get("scale", [1.0] * len(shift)), dtype=torch.float64)
            return Scaling(kind, {kind: record[kind]}, shift, scale, str(record.get("of", "")))
        except (KeyError, TypeError, ValueError) as error:
            raise CaelabError(f"expected a scaling as a run keeps it, but {reason(error)}; train again") from error

    def hash_with(self) -> str:
        """SHA-256, in hexadecimal, of the data before and of the option; rounded values differ by machine."""
        return hashlib.sha256(json.dumps([self.of, dict(self.asked)], sort_keys=True).encode()).hexdigest()

    def _scaled(self, x: Tensor) -> Tensor:
        shift, scale = self.shift.to(x.device), self.scale.to(x.device)
        if self.kind == "binarise":
            return (x > shift).double()
        z = (x - shift) / scale
        return z.clamp(0, 1) if self.clips else z

    def _through(self, given: Values, change: Any) -> Values:
        """The change in float64, of values (n, d), back in the shape and type that came."""
        if not isinstance(given, Tensor | np.ndarray):
            raise CaelabError(f"expected inputs as a tensor or an array, but {type(given).__name__} came; convert them")
        x = given if isinstance(given, Tensor) else torch.from_numpy(np.ascontiguousarray(given))
        width = len(self.shift)
        per_example = x.numel() if x.ndim == 1 else int(np.prod(x.shape[1:]))
        if x.ndim == 0 or per_example != width:
            raise CaelabError(f"expected inputs of {width} values each, but the shape {tuple(x.shape)} came")
        wide = (x / 255 if x.dtype == torch.uint8 else x).double()  # in float32 first, as data sets divide them
        kind = torch.float64 if x.dtype == torch.float64 else torch.float32
        found = change(wide.reshape(-1, width)).reshape(x.shape).to(kind)
        return cast("Values", found if isinstance(given, Tensor) else found.numpy())


def fitted(asked: ScalingOptions, inputs: Tensor, train: Tensor) -> Scaling | None:
    """The scaling that is asked for, with parameters of the training examples; None where none is.

    Sums are taken in float64, block by block, so that inputs which stay in a file are never read as a whole.

    Args:
        asked: the options.
        inputs: shape (n, d), float32.
        train: indices of the training examples.
    """
    if not asked.asked:
        return None
    (kind,) = asked.asked
    rows = train.sort().values  # as they lie in a file, and the same sums for every order of the split
    if kind == "binarise":
        shift, scale = _thresholds(asked.binarise, inputs, rows), torch.ones(inputs.shape[1], dtype=torch.float64)
    elif kind == "minmax":
        shift, high = _ends(inputs, rows)
        scale = high - shift
    else:
        shift, scale = _mean_and_deviation(inputs, rows)
    return Scaling(cast("Kind", kind), asked.asked, shift, torch.where(scale == 0, 1.0, scale))


def scaled(scaling: Scaling, inputs: Tensor, *, mapped: bool) -> Tensor:
    """All inputs (n, d), scaled block by block; in a temporary file where they stay in one."""
    if mapped:
        return torch.from_numpy(in_file(scaling.apply(part).numpy() for part in torch.split(inputs, ROWS)))
    out = torch.empty_like(inputs)
    for part, into in zip(torch.split(inputs, ROWS), torch.split(out, ROWS), strict=True):
        into.copy_(scaling.apply(part))
    return out


def in_new_units(truth: Any, scaling: Scaling, name: str) -> Any:
    """What is known of the law behind examples, after they were scaled: tangents, each input divided by its scale.

    Binary examples lie on no manifold, and the densities that are known would be of another family: these are let go,
    which is told.
    """
    if not isinstance(truth, Tangents) or scaling.kind == "binarise":
        log.warning(
            "%s: what is known of the law of these data does not hold after %s, so it is left out", name, scaling.kind
        )
        return None
    turned = torch.linalg.qr((truth.basis / scaling.scale).transpose(1, 2)).Q.transpose(1, 2)
    return Tangents(turned, scaling.apply(truth.points))


def _blocks(inputs: Tensor, rows: Tensor) -> Iterator[Tensor]:
    for part in torch.split(rows, ROWS):
        yield inputs[part].double()


def _ends(inputs: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    low, high = (torch.full(inputs.shape[1:], end, dtype=torch.float64) for end in (torch.inf, -torch.inf))
    for block in _blocks(inputs, rows):
        low, high = torch.minimum(low, block.amin(dim=0)), torch.maximum(high, block.amax(dim=0))
    return low, high


def _mean_and_deviation(inputs: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """In two passes, since a mean square less a squared mean loses its digits; of a constant exactly itself and 0."""
    zero = torch.zeros(inputs.shape[1], dtype=torch.float64)
    low, high = _ends(inputs, rows)
    mean = sum((block.sum(dim=0) for block in _blocks(inputs, rows)), zero) / len(rows)
    constant = low == high
    mean = torch.where(constant, low, mean)
    square = sum(((block - mean).square().sum(dim=0) for block in _blocks(inputs, rows)), zero) / len(rows)
    return mean, torch.where(constant, 0.0, square.sqrt())


def _thresholds(asked: float | str | None, inputs: Tensor, rows: Tensor) -> Tensor:
    """One threshold for all inputs, or the median of each, taken of as many inputs at once as fit."""
    if asked != "median":
        return torch.full(inputs.shape[1:], np.float32(asked or 0).item(), dtype=torch.float64)  # as inputs are rounded
    width = max(1, AT_ONCE // len(rows))
    parts = [_columns(inputs, rows, start, width) for start in range(0, inputs.shape[1], width)]
    return torch.from_numpy(np.concatenate([np.median(part, axis=0, overwrite_input=True) for part in parts]))


def _columns(inputs: Tensor, rows: Tensor, start: int, width: int) -> Any:
    """Some inputs of the examples, (rows, width) in float64, read block by block."""
    return torch.cat([inputs[part, start : start + width].double() for part in torch.split(rows, ROWS)]).numpy()
