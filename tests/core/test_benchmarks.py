"""The benchmark's arithmetic, on a clock that tells what the test wants, and its table."""

import pandas as pd
import pytest
from click.testing import CliRunner

from tests.benchmarks import growth
from tests.benchmarks.__main__ import TOPICS, main
from tests.benchmarks.case import Case, Row, at_least, at_most
from tests.benchmarks.measure import Effort, Spread, time_ratio
from tests.benchmarks.models import step
from tests.benchmarks.table import markdown


class Machine:
    """A clock that only work moves, and work that takes as long as it is told, times what the machine adds."""

    def __init__(self, slowness=lambda now: 1.0):
        self.now, self.slowness, self.calls = 0.0, slowness, []

    def clock(self):
        return self.now

    def work(self, name, seconds):
        def run():
            self.calls.append(name)
            self.now += seconds * self.slowness(self.now)

        return run


def test_a_ratio_of_times_per_call():
    machine = Machine()
    found = time_ratio(machine.work("slow", 0.6), machine.work("fast", 0.003), Effort(seconds=5), machine.clock)
    assert found.middle == pytest.approx(200)
    assert found.low == pytest.approx(found.high)


def test_a_machine_that_becomes_slower_moves_no_ratio():
    machine = Machine(lambda now: 1 + now / 10)
    found = time_ratio(machine.work("slow", 0.06), machine.work("fast", 0.05), Effort(seconds=20), machine.clock)
    assert machine.now > 5
    assert found.middle == pytest.approx(1.2, rel=0.02)


def test_the_sides_take_turns_and_the_order_changes():
    machine = Machine()
    time_ratio(machine.work("a", 1.0), machine.work("b", 1.0), Effort(seconds=0, least=4, turn=1.0), machine.clock)
    assert "".join(machine.calls[4:]) == "abbaabba"


def test_more_rounds_than_asked_are_never_done():
    machine = Machine()
    time_ratio(machine.work("a", 1.0), machine.work("b", 1.0), Effort(seconds=1e9, most=5, turn=1.0), machine.clock)
    assert machine.calls[4:].count("a") == 5


def test_the_spread_is_median_and_quartiles():
    assert Spread.of([5.0, 1.0, 4.0, 2.0, 3.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([7.0]).times(2) == Spread(14.0, 14.0, 14.0)


def test_the_table():
    rows = [
        Row(Case("fast enough", at_least(25), print), Spread(31.4, 30.0, 33.0)),
        Row(Case("too much", at_most(30, " MB"), print), Spread(41.0, 41.0, 41.0)),
        Row(Case("only shown", None, print, "×"), Spread(1.5, 1.4, 1.6)),
    ]
    assert markdown(rows).splitlines() == [
        "| what        | aim     | measured          | met |",
        "| ----------- | ------- | ----------------- | --- |",
        "| fast enough | ≥ 25×   | 31.4× (30-33)     | yes |",
        "| too much    | ≤ 30 MB | 41 MB             | no  |",
        "| only shown  |         | 1.50× (1.40-1.60) |     |",
    ]


def test_the_page_is_written(tmp_path, monkeypatch):
    """With a case that measures nothing, and growth from invented numbers."""
    grown = [
        {"axis": axis, "value": value, "way": way, "seconds": value / 100, "mebibytes": value}
        for axis, values in growth.AXES.items()
        for value in values
        for way in growth.WAYS
    ]
    monkeypatch.setattr(growth, "table", lambda quick: pd.DataFrame(grown))
    topic = type("topic", (), {"cases": lambda: [Case("nothing", at_most(1), lambda bench: Spread(0.5, 0.5, 0.5))]})
    monkeypatch.setattr("tests.benchmarks.__main__.TOPICS", {"Invented": topic})
    done = CliRunner().invoke(main, ["--quick", "--out", str(tmp_path)], catch_exceptions=False)
    assert "1 of 1 aims met" in done.output
    page = (tmp_path / "benchmarks.md").read_text()
    assert "## Invented" in page
    assert "| nothing | ≤ 1.00 | 0.50     | yes |" in page
    assert (tmp_path / "images" / "growth.png").stat().st_size > 10_000


def test_every_row_has_its_own_words():
    words = [case.what for topic in TOPICS.values() for case in topic.cases()]
    assert len(words) == len(set(words))


@pytest.mark.parametrize("recipe", ["ae", "cae"])
def test_a_step_of_training_can_be_measured(recipe):
    """The trainer of a measurement has all that ``fit`` gives it before the first step."""
    work = step(recipe, 16, (6, 4), ["dataset.kind=digits", "dataset.splits=[48, 8, 8]"])
    work()
    work()
