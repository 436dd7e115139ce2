"""An encoder from elsewhere as a run, so that every analysis can measure it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn

from caelab.data import Dataset
from caelab.errors import CaelabError, unknown_name
from caelab.models.adapted import Shape, adapted, flat, shaped, shapes_to_try
from caelab.registry.importing import allow_code, load_named
from caelab.runs.config import make_config
from caelab.runs.recipes import BASE
from caelab.runs.run import Run, dataset_of, versions
from caelab.runs.settings import merged

log = logging.getLogger(__name__)

ENCODER, DENOISER = "encoder", "denoiser"
RETURNS = {ENCODER: "code", DENOISER: "input"}


class EncoderOnly(nn.Module):
    """A model that can only encode; analyses that need reconstructions leave it out."""

    def __init__(self, encode: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.encode = encode


class DenoiserAlone(nn.Module):
    """A map r of inputs to inputs as a model: its code is r(x), and nothing comes behind.

    Args:
        denoise: flat inputs to a tensor with as many numbers.
        last: whether its channels are in front, and last in the data.
    """

    def __init__(self, denoise: Callable[[Tensor], Tensor], last: bool) -> None:
        super().__init__()
        self.denoise, self.last, self.decode = denoise, last, nn.Identity()

    def encode(self, inputs: Tensor) -> Tensor:
        """r(x), (batch, d) in the data's order."""
        return flat(self.denoise(inputs), self.last)


def _load_map(target: str, what: str) -> Callable[[Tensor], Tensor]:
    """The encoder or denoiser at ``package.module:attribute`` or ``folder/file.py:attribute``, in evaluation mode.

    The attribute is an ``nn.Module``, a function of a batch, or something that makes one when called without
    arguments (a class, a factory); a part of a module is named behind a full stop, as ``file.py:net.encoder``.

    Raises:
        CaelabError: nothing is there, it cannot be imported or made, or it is no encoder.
    """
    place, _, names = target.rpartition(":")
    first, *parts = names.split(".")
    allow_code(target, f"{place}:{first}")  # it was asked for by this name
    found: Any = load_named(f"{place}:{first}" if place else target, what)
    for part in parts:
        found = _part(found, part, target)
    found = found if isinstance(found, nn.Module) else _made(found, target, what)
    if not callable(found):
        a_map = f"{'an' if what == ENCODER else 'a'} {what} maps a batch of inputs to {RETURNS[what]}s"
        raise CaelabError(f"{target} is {type(found).__name__}, but {a_map}")
    if isinstance(found, nn.Module):
        found.eval()
        if what == ENCODER:
            _refuse_whole(found, target)
    return cast(Callable[[Tensor], Tensor], found)


def _part(whole: Any, name: str, target: str) -> Any:
    """A part of a module, or of what a class or a factory makes; the whole is in evaluation mode."""
    inner = getattr(whole, name, None)
    if not isinstance(whole, nn.Module) and not inspect.isclass(inner):  # a class has methods, but no encoder yet
        whole = _made(whole, target)
        inner = getattr(whole, name, None)
    if isinstance(whole, nn.Module):
        whole.eval()
    if not callable(inner):
        there = [key for key, _ in whole.named_children()] if isinstance(whole, nn.Module) else []
        raise unknown_name(f"part of {target.rpartition('.')[0]}", name, there)
    return inner


def _refuse_whole(module: nn.Module, target: str) -> None:
    """A module with an encoder and a decoder is a whole auto-encoder, whose code is not what it returns.

    Raises:
        CaelabError: it has both, and no ``encode`` that says which is meant.
    """
    there = [name for name, each in module.named_children() if callable(each)]
    encoders = [name for name in there if name.lower().startswith("enc")]
    decoders = [name for name in there if name.lower().startswith("dec")]
    if encoders and decoders and not callable(getattr(module, "encode", None)):
        raise CaelabError(
            f"{target} is a whole auto-encoder, with {encoders[0]} and {decoders[0]}, and has no encode that says what "
            f"its code is; give its encoder, as {target}.{encoders[0]}, or a function of a batch that returns the code"
        )


def _made(found: Callable[..., Any], target: str, what: str = ENCODER) -> Any:
    """What a class or a factory makes; a function of a batch itself."""
    required = _required_arguments(found)
    if required and inspect.isclass(found):
        raise CaelabError(
            f"{target} is a class that needs {', '.join(required)}; give a module that is made already, or a function "
            "without arguments that makes one"
        )
    if required:
        return found
    try:
        return found()
    except Exception as error:  # a user's class may fail in any way
        raise CaelabError(
            f"the {what} {target} fails when it is made: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error


def _required_arguments(thing: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(thing).parameters.values()
    except ValueError:  # built in, as torch.tanh: it takes a batch
        return ["a batch"]
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in kinds]


def encoder_run(target: str, data: str, seed: int = 0, *, denoiser: bool = False) -> Run:
    """A run that was never trained here: this encoder, auto-encoder or denoiser on these data.

    Args:
        target: where it is. A module with ``encode`` and ``decode`` is a whole auto-encoder.
        data: the data set.
        seed: of the splits.
        denoiser: it maps inputs to inputs, and is the reconstruction itself.

    Raises:
        CaelabError: it or the data cannot be loaded, it does not take such inputs, or as a denoiser returns others.
    """
    found = _load_map(target, DENOISER if denoiser else ENCODER)
    label = target.rpartition(":")[2]
    raw = merged(deepcopy(BASE), {"label": label, "seed": seed, "dataset": {"kind": data, "splits": None}})
    config = make_config(merged(raw, {"training": {"reconstruction": "squared-error", "epochs": 0}}))
    dataset = dataset_of(config)
    model = _denoiser(found, dataset, target) if denoiser else _auto_encoder(found, dataset, target)
    record = {"data_hash": dataset.content_hash, "versions": versions(), "encoder": target}
    return Run(config, model.eval(), dataset, [], record)


def _auto_encoder(found: Callable[[Tensor], Tensor], dataset: Dataset, target: str) -> nn.Module:
    """A module with ``encode`` and ``decode`` as it is, or behind a change of shapes; all else as an encoder alone."""
    if isinstance(found, nn.Module) and callable(getattr(found, "encode", None)) and hasattr(found, "decode"):
        try:
            return adapted(found, dataset.inputs, dataset.image_shape)
        except CaelabError as error:
            log.warning("%s is measured as an encoder alone, since its decode cannot be used: %s", target, error)
    encode = _fitting(getattr(found, "encode", found), dataset.inputs[:2], dataset.image_shape, target, ENCODER)[0]
    return EncoderOnly(encode)


def _denoiser(found: Callable[[Tensor], Tensor], dataset: Dataset, target: str) -> nn.Module:
    few = dataset.inputs[:2]
    denoise, last = _fitting(found, few, dataset.image_shape, target, DENOISER)
    with torch.no_grad():
        outputs = denoise(few)
    if outputs.numel() != few.numel():
        raise CaelabError(
            f"expected from the denoiser {target} an output of its inputs' shape {tuple(few.shape)}, but "
            f"{tuple(outputs.shape)} came; give an encoder as --encoder"
        )
    return DenoiserAlone(denoise, last)


class ImagesFirst(nn.Module):
    """Flat inputs (batch, d) as images (batch, channels, height, width)."""

    def __init__(self, shape: Shape | None, last: bool) -> None:
        super().__init__()
        self.shape, self.last = shape, last

    def forward(self, inputs: Tensor) -> Tensor:
        """The same values, channels in front."""
        return shaped(inputs, self.shape, self.last)


def _taking_images(encode: Callable[[Tensor], Tensor], shape: Shape | None, last: bool) -> Callable[[Tensor], Tensor]:
    """The encoder as a map of flat inputs; a module stays one, so that its weights and its layers are found."""
    if shape is None:
        return encode
    if isinstance(encode, nn.Module):
        return nn.Sequential(ImagesFirst(shape, last), encode).eval()
    owner = getattr(encode, "__self__", None)
    if isinstance(owner, nn.Module):
        return MethodOfImages(owner, encode.__name__, ImagesFirst(shape, last)).eval()
    return lambda inputs: encode(shaped(inputs, shape, last))


class MethodOfImages(nn.Module):
    """A method of a module, as its ``encode``, behind a change of shapes."""

    def __init__(self, owner: nn.Module, method: str, images: ImagesFirst) -> None:
        super().__init__()
        self.owner, self.method, self.images = owner, method, images

    def forward(self, inputs: Tensor) -> Tensor:
        """What the method makes of the images."""
        code: Tensor = getattr(self.owner, self.method)(self.images(inputs))
        return code


def _fitting(
    encode: Callable[[Tensor], Tensor], inputs: Tensor, image: Shape | None, target: str, what: str
) -> tuple[Callable[[Tensor], Tensor], bool]:
    """The encoder of flat inputs, and whether it gets images whose channels come last in the data and first for it.

    Raises:
        CaelabError: it takes neither, or returns no code.
    """
    told, first = [], None
    for shape, last in shapes_to_try(None, image):
        taking = _taking_images(encode, shape, last)
        try:
            with torch.no_grad():
                code = taking(inputs)
        except Exception as error:  # a user's encoder may fail in any way
            first = first or error
            told.append(f"{(len(inputs), *(shape or inputs.shape[1:]))}: {' '.join(str(error).split())}")
            continue
        _refuse_no_code(code, inputs, target, what)
        return taking, last
    raise CaelabError(
        f"the {what} {target} does not take inputs of shape {', nor of shape '.join(told)}; wrap it so that it maps "
        f"(batch, input) to (batch, {RETURNS[what]})"
    ) from first


def _refuse_no_code(code: Any, inputs: Tensor, target: str, what: str) -> None:
    if not (isinstance(code, Tensor) and code.is_floating_point() and code.shape[:1] == inputs.shape[:1]):
        came = f"{code.dtype} {tuple(code.shape)}" if isinstance(code, Tensor) else type(code).__name__
        raise CaelabError(
            f"the {what} {target} returns {came} for inputs {tuple(inputs.shape)}, but a code is a tensor "
            f"(batch, code) of floating-point numbers; wrap the {what} in a function that returns one"
        )
