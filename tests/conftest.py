"""What holds for all tests, and which of them ``make quick`` takes."""

import signal
import warnings
from functools import cache
from pathlib import Path

import hypothesis
import pytest

from tests.durations import Durations, rows

SLOW = Path(__file__).with_name("slow.txt")

hypothesis.settings.register_profile("busy", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("busy")


@pytest.fixture(autouse=True)
def _texts_of_caelab_state_their_encoding():
    """Under PYTHONWARNDEFAULTENCODING=1, as ``make test`` sets it, a text without an encoding is an error."""
    warnings.filterwarnings("error", category=EncodingWarning, module=r"caelab(_plugins|_analyses)?(\.|$)")


@pytest.fixture(autouse=True)
def _signals_are_handled_as_before():
    """A handler that a test leaves behind would end another test, far from it, and its whole process."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    left = [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    assert left == before, f"the test leaves {left} as the handlers of SIGINT and SIGTERM, which were {before}"


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="Every test that is not slow, once: one case of each.")
    parser.addoption("--measure", action="store_true", help="As --quick, but slow ones too; write tests/slow.txt.")


def pytest_configure(config):
    if config.getoption("--measure"):
        config.pluginmanager.register(Durations(SLOW))


def function_of(nodeid):
    """The test function of a test, whatever its case.

    >>> function_of("tests/test_a.py::test_b[1-2]")
    'tests/test_a.py::test_b'
    """
    return nodeid.partition("[")[0]


@cache
def measured_as_slow():
    """Test functions, and whole files, that were measured as slow."""
    return {line.split()[-1] for line in rows(SLOW)}


def pytest_ignore_collect(collection_path, config):
    if not config.getoption("--quick") or collection_path.suffix != ".py":
        return None
    return True if str(collection_path.relative_to(config.rootpath)) in measured_as_slow() else None


def pytest_collection_modifyitems(config, items):
    slow = measured_as_slow()
    for item in items:
        if function_of(item.nodeid) in slow or item.nodeid.partition("::")[0] in slow:
            item.add_marker(pytest.mark.slow)
    if config.getoption("--quick") or config.getoption("--measure"):
        kept = once([item for item in items if config.getoption("--measure") or not item.get_closest_marker("slow")])
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def once(items):
    """The first case of each test function: a dictionary keeps the last one, so it is filled from the end."""
    return list({function_of(item.nodeid): item for item in reversed(items)}.values())[::-1]
