"""What holds for all tests."""

import warnings

import pytest


@pytest.fixture(autouse=True)
def _texts_of_caelab_state_their_encoding():
    """Under PYTHONWARNDEFAULTENCODING=1, as ``make test`` sets it, a text without an encoding is an error."""
    warnings.filterwarnings("error", category=EncodingWarning, module=r"caelab(_plugins|_analyses)?(\.|$)")
