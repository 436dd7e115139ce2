"""Progress display over the epochs of one run, by an observer that can change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Self

from caelab.hookspecs import hookimpl
from caelab.progress import Steps
from caelab.runs.config import RunConfig
from caelab.runs.layers import is_stack, layer_configs
from caelab.training.asked import Asked

LABEL = "progress display"  # of the observer, in the trace of hooks


@contextmanager
def epochs_shown(asked: Asked, progress: bool | None) -> Iterator[Asked]:
    """The request with the display among those that watch it, if anything is to be shown.

    Args:
        asked: the request for a run.
        progress: as that of ``caelab.progress.display``.

    Raises:
        CaelabError: ``progress`` is neither ``True`` nor ``False`` nor ``None``.
    """
    with EpochProgress(asked.config, progress) as epochs:
        yield replace(asked, watchers={**asked.watchers, LABEL: epochs}) if epochs.steps.is_shown else asked


class EpochProgress:
    """A training plugin that shows the epochs of one run; it reads metrics and changes nothing.

    The epochs of the layers of a greedy stack are counted on from layer to layer.

    Args:
        config: of the run.
        progress: as that of ``caelab.progress.display``.
    """

    def __init__(self, config: RunConfig, progress: bool | None = True) -> None:
        layers = [each.training.epochs for each in layer_configs(config)] if is_stack(config) else []
        alone = 0 if config.pretraining == "none" else config.training.epochs
        self.steps = Steps(config.label, sum(layers) or alone, progress)
        self.before = self.steps.count

    def __enter__(self) -> Self:
        self.steps.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.steps.__exit__(kind, error, trace)

    @hookimpl
    def before_training(self) -> None:
        """Count on from the layer below, where there is one."""
        self.steps.begin()
        self.before = self.steps.count

    @hookimpl
    def after_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Show one epoch, as a line or as a step of the bar."""
        self.steps.step(
            f"epoch {epoch}, validation reconstruction {metrics['valid_reconstruction']:.4g}", self.before + epoch
        )
