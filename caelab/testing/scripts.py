"""Finding what a name or a file on the command line of ``caelab check`` stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from caelab.errors import CaelabError, unknown_name
from caelab.registry.catalogue import Offer, catalogue
from caelab.testing.analyses import check_analysis
from caelab.testing.claims import check_claim
from caelab.testing.outcome import Report
from caelab.testing.regularizers import check_regularizer

KINDS = ("regularizer", "analysis", "claim")


def offers_of(target: str) -> list[Offer]:
    """The regularizers, analyses and claims of that name, or of that plugin file.

    Raises:
        CaelabError: there is none.
    """
    if target.endswith(".py"):
        return _offers_of_file(Path(target))
    offers = [offer for offer in catalogue() if offer.kind in KINDS]
    found = [offer for offer in offers if offer.name == target]
    if not found:
        raise unknown_name("regularizer, analysis or claim", target, {offer.name for offer in offers})
    return found


def _offers_of_file(path: Path) -> list[Offer]:
    """The regularizers, analyses and claims that a plugin file offers; it is added to the catalogue.

    Raises:
        CaelabError: it offers none, or does not import.
    """
    path = path.resolve()
    if path not in catalogue().files:
        catalogue().add_file(path)
    found = [offer for offer in catalogue() if offer.provider == str(path) and offer.kind in KINDS]
    if not found:
        raise CaelabError(
            f"{path} offers no regularizer, no analysis and no claim; add register_regularizers, or name a penalty "
            f"function in it, as {path.name}:FUNCTION"
        )
    return found


def checked_offer(
    offer: Offer, options: Mapping[str, Any], claims: str | None, activations: Sequence[str] = ()
) -> Report:
    """The report on one thing that a plugin offers.

    Raises:
        CaelabError: it cannot be loaded, the options do not fit, or no regularizer is to be like one.
    """
    if offer.kind == "regularizer":
        return check_regularizer(
            offer.load(), options, claims=claims, activations=activations, name=offer.name, raises=False
        )
    what = f"the {offer.kind} {offer.name!r}"
    if claims:
        raise CaelabError(f"expected no known quantity for {what}, but {claims!r} came; leave --claims out")
    if activations:
        raise CaelabError(f"{what} is for any activation; leave --activations out")
    if offer.kind == "analysis":
        return check_analysis(offer.load(), options, name=offer.name, raises=False)
    if options:
        raise CaelabError(f"{what} has no options, but {', '.join(options)} came; leave --set out")
    return check_claim(offer.load(), name=offer.name, raises=False)
