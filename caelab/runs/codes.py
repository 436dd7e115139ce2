"""The codes of a run as a data set, on which the next layer of a stack is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from caelab.data import Samples, describes
from caelab.data.samples import FilePath
from caelab.errors import CaelabError
from caelab.runs.config import RunConfig, make_config
from caelab.runs.layers import KIND
from caelab.runs.places import existing_run, folder_near
from caelab.runs.run import Run, dataset_of, load_run

ROWS = 4096  # that are encoded at once


@describes("those of the run", "code", "the codes h = f(x) of a run", "RUN")
def codes(path: FilePath | None = None, of: dict[str, Any] | None = None) -> Samples:
    """The codes of all examples of a run, with its labels and its parts.

    Args:
        path: the folder of the run.
        of: the config of the run without its label, in place of the folder; the run lies beside the one that is
            trained on its codes.

    Raises:
        CaelabError: not one of the two is given, or there is no such run.
    """
    if (path is None) == (of is None):
        raise CaelabError("the data set 'codes' is the codes of one run; name its folder, as in codes:runs/cae-0123abc")
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
            f"below, a {config.model.kind} with seed {config.seed}; put it beside this run, or train the stack again"
        )
    return found


def samples_of(run: Run) -> Samples:
    """The codes of all examples of a run, (n, code); a code of more dimensions is flattened."""
    data = run.dataset
    code = torch.cat([run.encode(part).flatten(1) for part in torch.split(data.inputs, ROWS)])
    parts = (data.train, data.valid, data.test)
    return Samples(code.float(), data.labels, label_names=data.label_names, parts=parts)
