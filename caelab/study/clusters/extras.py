"""Libraries that only clusters need, which are installed as extras of caelab."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

from caelab.errors import CaelabError
from caelab.process.signals import handlers_kept


def needed(module: str, executor: str, extra: str) -> Any:
    """A module of a library that an executor needs.

    What the library does with signals when it is imported is undone: dask-jobqueue ends the program at an interrupt.

    Raises:
        CaelabError: it is not installed; it names the extra that brings it.
    """
    try:
        with handlers_kept():
            found = import_module(module)
    except ImportError as error:
        raise CaelabError(
            f"the executor {executor!r} needs a library that is not installed ({error}); install it with: pip install "
            f"'caelab[{extra}]'"
        ) from error
    logging.getLogger(module.partition(".")[0]).setLevel(logging.CRITICAL)  # caelab tells what matters
    return found
