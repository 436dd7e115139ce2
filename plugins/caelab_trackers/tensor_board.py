"""Runs in TensorBoard: one folder of event files per run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from caelab_trackers.tracker import Tracker, flat, needed


class TensorBoard(Tracker):
    """Writes scalars of every epoch, and the config as hyper-parameters, into ``target/RUN``.

    Look at them with ``tensorboard --logdir target``.

    Args:
        target: the folder of all runs.
    """

    def __init__(self, target: str | Path) -> None:
        super().__init__(str(Path(target).expanduser().absolute()))
        self.library = needed("torch.utils.tensorboard", "tensorboard")
        self.writer: Any = None

    def start(self, name: str, config: Any) -> set[int]:
        """Open an event file beside those of the run that are there."""
        folder = Path(self.target) / name
        found = logged_epochs(folder)
        self.writer = self.library.SummaryWriter(folder)
        if not found:
            self.writer.add_text("config", f"run `{name}`\n\n```yaml\n{config.to_yaml()}```")
            self._add_hyperparameters(config)
            self.writer.flush()
        return found

    def _add_hyperparameters(self, config: Any) -> None:
        plain = {key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in
                 flat(config.as_dict()).items()}  # fmt: skip
        for summary in needed("torch.utils.tensorboard.summary", "tensorboard").hparams(plain, {}):
            self.writer.file_writer.add_summary(summary)

    def write(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """One scalar per metric at this epoch."""
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def finish(self) -> None:
        """Close the file."""
        self.writer.close()


def logged_epochs(folder: Path) -> set[int]:
    """The epochs that the event files of a run hold."""
    if not folder.is_dir():
        return set()
    reading = needed("tensorboard.backend.event_processing.event_accumulator", "tensorboard")
    events = reading.EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {event.step for tag in events.Tags()["scalars"] for event in events.Scalars(tag)}
