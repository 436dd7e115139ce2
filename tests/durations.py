"""How long each test takes, alone: written to a list, from which ``make quick`` knows what is slow."""

from collections import defaultdict
from statistics import median
from time import perf_counter, process_time

import pytest

LIMIT = 0.25  # seconds: the tests below it take less than a minute together, on two cores
HEADING = """\
# Seconds of one case of each test function that takes longer than {limit} s, its fixtures included, alone on a core;
# and files that hold no other. `make quick` leaves them out. Written by `make durations`.
"""


class Durations:
    """Times the first case of every test function; what several tests share counts in equal parts for each.

    On a busy machine all seconds are multiplied by the share of a core that most tests got.
    """

    def __init__(self, path):
        self.path, self.alone, self.shared, self.users = path, {}, {}, defaultdict(list)
        self.shares = []

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef, request):
        begun = perf_counter()
        found = yield
        if fixturedef.scope != "function":
            self.shared[fixturedef] = perf_counter() - begun
        return found

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        before, begun, computed = sum(self.shared.values()), perf_counter(), process_time()
        found = yield
        spent = perf_counter() - begun
        self.alone[item.nodeid] = spent - (sum(self.shared.values()) - before)
        self.shares += [(process_time() - computed) / spent] if spent > LIMIT / 5 else []
        for definitions in item._fixtureinfo.name2fixturedefs.values():
            self.users[definitions[-1]].append(item.nodeid)
        return found

    def seconds(self):
        """By test function."""
        found = dict(self.alone)
        for fixture, spent in self.shared.items():
            for nodeid in self.users[fixture]:
                found[nodeid] += spent / len(self.users[fixture])
        share = min(1.0, median(self.shares or [1.0]))
        return {nodeid.partition("[")[0]: share * spent for nodeid, spent in found.items()}

    def pytest_sessionfinish(self):
        """Write the list anew; of files that did not run it stays as it is."""
        found = self.seconds()
        ran = {name.partition("::")[0] for name in found}
        kept = [line for line in rows(self.path) if line.split()[-1].partition("::")[0] not in ran]
        text = "".join(sorted([*kept, *lines(found)], key=lambda line: line.split()[-1]))
        self.path.write_text(HEADING.format(limit=LIMIT) + text, encoding="utf-8")


def rows(path):
    """The lines of the list, without its heading."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if not line.startswith("#")]


def lines(seconds):
    """One line for each slow test function, or for the file that has none but such."""
    files = defaultdict(dict)
    for name, spent in seconds.items():
        files[name.partition("::")[0]][name] = spent
    for file, spent in files.items():
        slow = {name: each for name, each in spent.items() if each > LIMIT}
        if len(slow) == len(spent):
            slow = {file: sum(spent.values())}
        yield from (f"{each:7.2f} {name}\n" for name, each in slow.items())
