"""The codes of a run as a data set, on which the next layer of a stack is trained; without torch, to be listed fast."""

from __future__ import annotations

from typing import Any

from caelab.data.samples import FilePath, Samples, describes
from caelab.errors import CaelabError


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
    from caelab.runs.encoded import loaded_codes

    if (path is None) == (of is None):
        raise CaelabError("the data set 'codes' is the codes of one run; name its folder, as in codes:runs/cae-0123abc")
    return loaded_codes(path, of)
