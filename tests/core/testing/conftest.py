"""What the tests of the checks share."""

import pytest

from caelab.testing.penalty import interactions

PARTNERS = ("contractive", "gaussian", "masking")


@pytest.fixture(autouse=True)
def _few_partners(monkeypatch, request):
    """Mixing with every built-in regularizer takes half of the time, and has tests of its own."""
    if request.module.__name__.endswith("test_built_in"):
        return
    all_partners = interactions.partners
    few = lambda subject: [pair for pair in all_partners(subject) if pair[0].name in PARTNERS]  # noqa: E731
    monkeypatch.setattr(interactions, "partners", few)
    monkeypatch.setattr(interactions, "REPEATS", 1)  # the time of a step is reported, and judged by nothing
