"""Adapter for a user's model: flat inputs in, one code out, flat inputs back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from caelab.errors import CaelabError
from caelab.models.ranges import evaluating
from caelab.streams import seeded

EXAMPLES = 2

Part = int | str
Shape = tuple[int, ...]


class Adapted(nn.Module):
    """A model behind a change of shapes, or behind a choice of what its ``encode`` returns; weights keep their names.

    Args:
        inner: the user's model; what it has beside ``encode`` and ``decode`` is found here too.
        example_shape: the shape of one example that ``encode`` takes, or None for flat inputs.
        last: whether the channels come last in the data, and first for the model.
        code_part: which of what ``encode`` returns is the code: a place in a tuple, a key, or an attribute.
    """

    def __init__(self, inner: nn.Module, example_shape: Shape | None, last: bool, code_part: Part | None) -> None:
        super().__init__()
        self.inner, self.example_shape, self.last, self.code_part = inner, example_shape, last, code_part
        made: Any = inner
        self.encode: Any
        self.decode: Any
        if code_part is None and not last and isinstance(made.encode, nn.Module) and isinstance(made.decode, nn.Module):
            steps = [nn.Unflatten(1, example_shape), made.encode] if example_shape else [made.encode]
            self.encode, self.decode = nn.Sequential(*steps), nn.Sequential(made.decode, nn.Flatten())
        else:
            self.encode, self.decode = self._encode, self._decode
        if hasattr(inner, "logits"):
            self.logits = self._logits
        if hasattr(inner, "training_loss"):
            self.training_loss = self._training_loss

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "inner":
                raise
            return getattr(self.inner, name)

    def _encode(self, inputs: Tensor) -> Tensor:
        found = cast(Any, self.inner).encode(shaped(inputs, self.example_shape, self.last))
        return _part_of(found, self.code_part)

    def _decode(self, code: Tensor) -> Tensor:
        return flat(cast(Any, self.inner).decode(code), self.last)

    def _logits(self, code: Tensor) -> Tensor:
        return flat(cast(Any, self.inner).logits(code), self.last)

    def _training_loss(self, inputs: Tensor, streams: Any) -> Tensor:
        given = shaped(inputs, self.example_shape, self.last)
        return cast(Tensor, cast(Any, self.inner).training_loss(given, streams))

    def state_dict(self, *arguments: Any, **keywords: Any) -> Any:
        """The weights under the names that they have in the user's model."""
        return self.inner.state_dict(*arguments, **keywords)

    def load_state_dict(self, *arguments: Any, **keywords: Any) -> Any:
        """Put weights of those names back."""
        return self.inner.load_state_dict(*arguments, **keywords)


def shaped(inputs: Tensor, shape: Shape | None, last: bool) -> Tensor:
    """Flat inputs (batch, d) as (batch, *shape), channels in front where the data have them last."""
    if shape is None:
        return inputs
    if not last:
        return inputs.reshape(len(inputs), *shape)
    return inputs.reshape(len(inputs), *shape[1:], shape[0]).movedim(-1, 1)


def flat(outputs: Tensor, last: bool) -> Tensor:
    """What a decoder returns as (batch, d), in the data's order."""
    return (outputs.movedim(1, -1) if last and outputs.ndim > 2 else outputs).flatten(1)


def _part_of(found: Any, part: Part | None) -> Tensor:
    """The code among what ``encode`` returns; the thing itself where no part was named."""
    if part is None:
        return cast(Tensor, found)
    return cast(Tensor, getattr(found, part) if isinstance(part, str) and hasattr(found, part) else found[part])


def parts(found: Any) -> dict[Part, Any]:
    """The parts of what ``encode`` returned that can be chosen as the code."""
    if isinstance(found, Mapping):
        return dict(found)
    if hasattr(found, "_fields"):
        return {name: getattr(found, name) for name in found._fields}
    if isinstance(found, Sequence) and not isinstance(found, str):
        return dict(enumerate(found))
    if dataclasses.is_dataclass(found):
        return {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    return _parameters_of(found) if isinstance(found, Distribution) else {}


def _parameters_of(found: Distribution) -> dict[Part, Any]:
    """The numbers of a distribution that may be a code; not every one has a mean."""
    named: dict[Part, Any] = {}
    for name in ("mean", "loc", "probs", "logits"):
        with suppress(NotImplementedError, AttributeError):
            named[name] = getattr(found, name)
    return {name: value for name, value in named.items() if _is_code(value) and bool(value.isfinite().all())}


def _is_code(value: Any) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.is_floating_point()


def adapted(
    model: nn.Module,
    inputs: Tensor,
    image_shape: Shape | None = None,
    *,
    code_part: Part | None = None,
    example_shape: Sequence[int] | None = None,
    seed: int = 0,
) -> nn.Module:
    """The model itself, or behind an adapter where it takes images or returns more than a code.

    A few examples go through it first, in evaluation mode. Where it fails on flat inputs and the data are images, it is
    tried on images with the channels in front. ``code_part`` and ``example_shape`` may be attributes of the model.

    Args:
        model: with ``encode`` and ``decode``.
        inputs: shape (n, d).
        image_shape: of the data, (height, width) or (height, width, channels).
        code_part: which of what ``encode`` returns is the code.
        example_shape: what ``encode`` takes.
        seed: for parameters whose shapes are not known before.

    Raises:
        CaelabError: it fails on these data, its code cannot be told, or its reconstruction has another shape.
    """
    if isinstance(model, Adapted):
        return model
    if type(model).__module__.startswith("caelab."):
        _refuse_idle(code_part=code_part, example_shape=example_shape)
        return model
    code_part = getattr(model, "code_part", None) if code_part is None else code_part
    example_shape = getattr(model, "example_shape", None) if example_shape is None else example_shape
    dtype = dtype_of(model)
    if dtype not in (torch.float32, torch.float64):
        raise CaelabError(
            f"expected parameters in float32 or float64, but those of {type(model).__name__} are "
            f"{str(dtype).removeprefix('torch.')}; give model.float()"
        )
    batch = inputs[:EXAMPLES].to(dtype)
    with evaluating(model), torch.no_grad(), seeded(seed, "initial weights"):
        return _fitting(model, batch, [*shapes_to_try(example_shape, image_shape)], code_part)


def _refuse_idle(**options: Any) -> None:
    for name, value in options.items():
        if value is not None:
            raise CaelabError(
                f"model.{name}: caelab's own models take flat inputs and return one code, so {value!r} would change "
                "nothing; leave it out"
            )


def shapes_to_try(asked: Sequence[int] | None, image: Shape | None) -> Iterator[tuple[Shape | None, bool]]:
    """Shapes of an example to try in turn, each with whether its channels come last in the data."""
    channels = image[2] if image is not None and len(image) == 3 else 1
    if asked is not None:
        yield tuple(asked), channels > 1 and image is not None and tuple(asked) == (channels, *image[:2])
        return
    yield None, False
    if image is not None:
        yield (channels, *image[:2]), channels > 1


def _fitting(
    model: nn.Module, batch: Tensor, shapes: Sequence[tuple[Shape | None, bool]], code_part: Part | None
) -> nn.Module:
    name, told = type(model).__name__, []
    for shape, last in shapes:
        try:
            given = shaped(batch, shape, last)
            found = cast(Any, model).encode(given)
        except (Exception, SystemExit) as error:  # a user's model may fail in any way
            told.append(f"on {_shown(batch if shape is None else shape)}: {type(error).__name__}: {_line(error)}")
            continue
        code = _code(name, found, code_part)
        returns_flat = _check_back(model, code, batch)
        if shape is None and code_part is None and returns_flat:
            return model
        return Adapted(model, shape, last, code_part).train(model.training)
    raise CaelabError(
        f"the model {name} fails in encode {'; and '.join(told)}; let encode take a batch of shape (batch, "
        f"{batch.shape[1]}), or say what it takes by the attribute example_shape, as in example_shape = (1, 28, 28)"
    )


def _which(found: Any, choices: Mapping[Part, Any]) -> str:
    """What to do about an encoder that does not return one tensor."""
    part = next((part for part, value in choices.items() if _is_code(value)), None)
    if part is None:
        return "let it return the code as a tensor of real numbers, shape (batch, code)"
    instead = f"let it return .{part} of the distribution, or " if isinstance(found, Distribution) else ""
    return (
        f"{instead}say which is the code, by the attribute code_part = {part!r} of the model or by --set "
        f"model.code_part={part}"
    )


def _code(name: str, found: Any, code_part: Part | None) -> Tensor:
    choices = parts(found)
    if code_part is None and not isinstance(found, Tensor):
        shown = ", ".join(f"{part!r}: {_shown(value)}" for part, value in choices.items())
        raise CaelabError(
            f"expected one tensor from encode, but that of {name} returns {type(found).__name__}"
            f"{f' ({shown})' if shown else ''}; {_which(found, choices)}"
        )
    try:
        code: Any = _part_of(found, code_part)
    except (KeyError, IndexError, TypeError) as error:
        raise CaelabError(
            f"code_part is {code_part!r}, but encode of {name} returns {_shown(found)}"
            f"{f' with {[*choices]}' if choices else ''}; name one of these"
        ) from error
    if not _is_code(code):
        raise CaelabError(f"expected a code of real numbers from encode of {name}, but {_shown(code)} came")
    return code


def _check_back(model: Any, code: Tensor, batch: Tensor) -> bool:
    """Whether the reconstruction has the shape of the inputs already.

    Raises:
        CaelabError: the code is not one per example, or the reconstruction has not as many numbers as the inputs.
    """
    name = type(model).__name__
    if not code.ndim or len(code) != len(batch):
        raise CaelabError(
            f"expected one code per example from encode of {name}, shape (batch, code), but {_shown(code)} came for "
            f"{len(batch)} examples"
        )
    found = []
    for part in [each for each in ("decode", "logits") if hasattr(model, each)]:
        try:
            outputs = getattr(model, part)(code)
        except (Exception, SystemExit) as error:  # a user's model may fail in any way
            raise CaelabError(
                f"the model {name} fails in {part} on a code {_shown(code)}: {type(error).__name__}: {_line(error)}"
            ) from error
        if not isinstance(outputs, Tensor) or len(outputs.shape) < 1 or outputs.numel() != batch.numel():
            raise CaelabError(
                f"expected from {part} of {name} a reconstruction of the inputs' shape {tuple(batch.shape)}, but "
                f"{_shown(outputs)} came; let the last layer have {batch.shape[1]} outputs"
            )
        found.append(outputs.shape == batch.shape)
    return all(found)


def dtype_of(model: nn.Module) -> torch.dtype:
    """The type of a model's first real parameter, which its inputs must have; float32 where it has none."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return (
        f"examples of shape {value}"
        if isinstance(value, tuple) and all(isinstance(n, int) for n in value)
        else type(value).__name__
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
