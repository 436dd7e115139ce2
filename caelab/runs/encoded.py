"""All examples of a run, encoded: what the data set of its codes holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from caelab.data import Samples
from caelab.data.mapped import in_file
from caelab.errors import CaelabError
from caelab.runs.config import RunConfig, make_config
from caelab.runs.layers import KIND
from caelab.runs.places import existing_run, folder_near
from caelab.runs.run import Run, dataset_of, load_run

ROWS = 4096  # that are encoded at once


def loaded_codes(path: str | None, of: Mapping[str, Any] | None) -> Samples:
    """The codes of the run in a folder, or of the run of a config without a label, which lies near.

    Raises:
        CaelabError: there is no such run.
    """
    return samples_of(load_run(Path(path) if path is not None else _beside(make_config({"label": KIND, **(of or {})}))))


def _beside(config: RunConfig) -> Path:
    """Where the run of a config lies.

    Raises:
        CaelabError: it is not there.
    """
    out = folder_near()
    found = None if out is None else existing_run(out, config, dataset_of(config))
    if found is None:
        raise CaelabError(
            f"the run on whose codes this one is trained is not in {out or 'any folder of runs'}: it is the layer "
            f"below, of the model {config.model.kind!r} with seed {config.seed}; put it beside this run, or train the "
            "stack again"
        )
    return found


def samples_of(run: Run) -> Samples:
    """The codes of all examples of a run, (n, code); a code of more dimensions is flattened.

    Where the inputs stay in a file, since they may be larger than memory, so do the codes, in a temporary one.
    """
    data = run.dataset
    codes = (run.encode(part).flatten(1).float() for part in torch.split(data.inputs, ROWS))
    code = in_file(part.numpy() for part in codes) if data.mapped else torch.cat([*codes])
    parts = (data.train, data.valid, data.test)
    return Samples(code, data.labels, label_names=data.label_names, parts=parts)
