"""A list of the installed data sets, made without loading any."""

from __future__ import annotations

from caelab.data.samples import Facts
from caelab.errors import CaelabError
from caelab.registry.catalogue import Offer, catalogue

UNKNOWN = Facts("?", "?", "?")


def describe() -> list[dict[str, str]]:
    """One row per data set of the catalogue: name, size, shape of an example, and where it comes from.

    >>> [row["size"] for row in describe() if row["name"] == "mnist5k"]
    ['5 000']
    """
    return [_row(offer) for offer in catalogue() if offer.kind == "dataset"]


def _row(offer: Offer) -> dict[str, str]:
    try:
        facts: Facts = getattr(offer.load(), "facts", UNKNOWN)
    except CaelabError as error:
        facts = Facts("?", "?", f"broken: {error}")
    name = f"{offer.name}:{facts.argument}" if facts.argument else offer.name
    return {"name": name, "size": facts.size, "shape": facts.shape, "source": facts.source}
