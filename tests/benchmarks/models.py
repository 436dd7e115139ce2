"""Models, data and training steps that the cases share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor, nn

import caelab
from caelab.models.autoencoder import autoencoder
from caelab.registry.catalogue import catalogue
from caelab.runs.recipes import recipe_config
from caelab.runs.run import build_model, dataset_of
from caelab.streams import Streams
from caelab.training.loop import Trainer
from caelab.training.plugins import TrainingPlugins, make_regularizers
from caelab.training.watch import Watch
from tests.benchmarks.measure import Work


def trainer(
    recipe: str,
    settings: Sequence[str] = (),
    observers: dict[str, object] | None = None,
    by_autograd: bool = False,
    device: str = "cpu",
) -> Trainer:
    """A trainer as ``caelab.train`` makes it, before its first step."""
    config = recipe_config(recipe, [*settings, f"training.device={device}"])
    data = dataset_of(config)
    made = Trainer(
        model=build_model(config, data).to(device),
        config=config,
        plugins=TrainingPlugins({**make_regularizers(config, catalogue()), **(observers or {})}),
        train_inputs=data.train_inputs.to(device),
        valid_inputs=data.valid_inputs.to(device),
        streams=Streams(config.seed, device),
    )
    made.watch = made.plugins.watch = Watch(made.model, config.seed, torch.device(device))  # as ``fit`` begins
    made.watch.begin(1)
    if by_autograd:
        made.objective.tied = None  # a cached property: what is set here is what is found
    return made


def step(
    recipe: str,
    batch: int,
    hidden: Sequence[int] | int = (1000,),
    settings: Sequence[str] = (),
    observers: dict[str, object] | None = None,
    by_autograd: bool = False,
    device: str = "cpu",
) -> Work:
    """One training step of a recipe on digits, every call on the next batch; one number for models of one width."""
    units = hidden if isinstance(hidden, int) else list(hidden)
    shape = [f"model.hidden={units}", f"training.batch_size={batch}"]
    ready = trainer(recipe, [*shape, *settings], observers, by_autograd, device)
    ready.model.train()
    batches = [part for part in torch.split(ready.train_inputs, batch) if len(part) == batch]
    done = 0

    def run() -> None:
        nonlocal done
        ready.train_step(batches[done % len(batches)], 1, done)
        done += 1

    return run


def fresh(inputs: int, code: int, device: str = "cpu") -> nn.Sequential:
    """A sigmoid layer with initial weights."""
    torch.manual_seed(0)
    return autoencoder(inputs, hidden=[code]).encode.to(device)


@cache
def trained(recipe: str = "cae", epochs: int = 3) -> tuple[nn.Module, Tensor]:
    """The encoder of a trained model, whose singular values fall as in practice, and digits it has not seen."""
    settings = ["model.hidden=[1000]", f"training.epochs={epochs}", "training.batch_size=20", "contractive.weight=1.0"]
    run = caelab.train(recipe_config(recipe, settings if recipe == "cae" else settings[:-1]))
    return run.model.encode, run.dataset.valid_inputs


def random_inputs(count: int, *shape: int, device: str = "cpu") -> Tensor:
    """Uniform noise in [0, 1)."""
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1)).to(device)


def quietly(compute: Callable[[], object]) -> Work:
    """The same without autograd's record, for values alone."""

    def run() -> object:
        with torch.no_grad():
            return compute()

    return run
