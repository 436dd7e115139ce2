"""Claims that are each wrong in one way, with the rows that must say so."""

import itertools
import random

import numpy as np
import pandas as pd

from caelab import Contest, Finding, NotApplicable, Numbers, finding
from caelab.report.claims import with_examples

NORM = "mean norm"


def contests(numbers):
    return [Contest(numbers.of("ae", NORM), numbers.of("cae", NORM))]


def sound(numbers):
    """Nothing wrong with this one."""
    return finding("The CAE has a smaller norm.", "me", "Mean norm", contests(numbers))


def say(numbers, **parts):
    """What a sound claim says, some of it otherwise."""
    return Finding(**{**vars(sound(numbers)), **parts})


def always_supported(numbers):
    return say(numbers, verdict="supported")


def never_contradicted(numbers):
    return say(numbers, verdict="supported" if sound(numbers).verdict == "supported" else "inconclusive")


def never_supported(numbers):
    return say(numbers, verdict="contradicted" if sound(numbers).verdict == "contradicted" else "inconclusive")


def sure_of_one_seed(numbers):
    larger = numbers.of("ae", NORM).mean() > numbers.of("cae", NORM).mean()
    return say(numbers, verdict="supported" if larger else "contradicted")


def sure_without_intervals(numbers):
    """It is left out with one seed, and is never inconclusive with more."""
    if numbers.rows["seed"].nunique() < 2:
        raise NotApplicable("one seed")
    return sure_of_one_seed(numbers)


def raises(numbers):
    raise ValueError("oh")


def exits(numbers):
    raise SystemExit(3)


def random_numbers(numbers):
    return say(numbers, evidence=f"p = {random.random()}")


def random_numbers_of_numpy(numbers):
    return say(numbers, evidence=f"p = {np.random.rand()}")  # noqa: NPY002


calls = itertools.count()


def remembers(numbers):
    return say(numbers, evidence=f"call {next(calls)}")


def changes_rows(numbers):
    found = sound(numbers)
    numbers.rows[NORM] *= 2
    return found


def adds_a_column(numbers):
    numbers.rows["ratio"] = 1.0
    return sound(numbers)


def by_place(numbers):
    found = sound(numbers)
    first, *_, last = numbers.rows[NORM]
    return say(numbers, verdict="inconclusive" if first > last else found.verdict)


def told_by_the_first_row(numbers):
    sound(numbers)
    return say(numbers, evidence=f"it begins with {numbers.rows[NORM].iloc[0]:.3g}")


def misspelt(numbers):
    return finding("It is so.", "me", "Norm", [Contest(numbers.of("ae", "mean nrom"), numbers.of("cae", "mean nrom"))])


def unknown_verdict(numbers):
    return say(numbers, verdict="proven")


def no_finding(numbers):
    return sound(numbers).verdict


def nothing(numbers):
    sound(numbers)


def no_source(numbers):
    return say(numbers, source="")


def no_statement(numbers):
    return say(numbers, statement=" ")


def no_evidence(numbers):
    return say(numbers, evidence="")


def missing_number(numbers):
    return say(numbers, evidence=f"the ratio is {np.nan:.2f}")


def needs_its_models(numbers):
    rows = numbers.rows.set_index(["model", "seed"])[NORM]
    return finding("It is so.", "me", "Norm", [Contest(rows["ae"].rename("ae"), rows["cae"].rename("cae"))])


def changes_settings(numbers):
    np.seterr(all="raise")
    return sound(numbers)


def _with_table(*verdicts):
    rows = {
        "supported": Numbers.made_up({"ae": {NORM: 2.0}, "cae": {NORM: 1.0}}),
        "contradicted": Numbers.made_up({"ae": {NORM: 1.0}, "cae": {NORM: 2.0}}),
        "inconclusive": Numbers.made_up({"ae": {NORM: 1.0}, "cae": {NORM: 2.0}}, seeds=1),
    }
    table = pd.DataFrame({"model": ["ae", "cae"], "seed": 0, "radius": [[1.0], [2.0]]})
    return {verdict: Numbers(rows[verdict].rows, {"curve": table}) for verdict in verdicts}


ALL = _with_table("supported", "contradicted", "inconclusive")


def _on_a_table(numbers):
    if "radius" not in numbers.tables.get("curve", ()):
        raise NotApplicable("no curve was measured")
    return sound(numbers)


def without_examples(numbers):
    return _on_a_table(numbers)


@with_examples(**ALL)
def sound_on_a_table(numbers):
    return _on_a_table(numbers)


@with_examples(**ALL)
def changes_a_table(numbers):
    found = _on_a_table(numbers)
    numbers.tables["curve"]["radius"].iloc[0].append(3.0)
    return found


@with_examples(**ALL)
def needs_its_table(numbers):
    numbers.tables["curve"]["radius"]
    return sound(numbers)


@with_examples(supported=ALL["contradicted"], contradicted=ALL["supported"], inconclusive=ALL["inconclusive"])
def wrong_examples(numbers):
    return _on_a_table(numbers)


@with_examples(**_with_table("supported"))
def one_example(numbers):
    return _on_a_table(numbers)


@with_examples(supported=1, contradicted=2, inconclusive=3)
def no_examples(numbers):
    return _on_a_table(numbers)


@with_examples(**{verdict: Numbers(numbers.rows) for verdict, numbers in ALL.items()})
def examples_without_its_table(numbers):
    return _on_a_table(numbers)


@with_examples(**{**ALL, "supported": Numbers(ALL["supported"].rows)})
def one_example_without_its_table(numbers):
    return _on_a_table(numbers)


SPEAKS = {"speaks to made-up numbers"}

WRONG = {
    always_supported: {"can be contradicted", "one seed", "can be inconclusive"},
    never_contradicted: {"can be contradicted"},
    never_supported: {"can be supported"},
    sure_of_one_seed: {"one seed", "can be inconclusive"},
    sure_without_intervals: {"can be inconclusive"},
    raises: {"runs"},
    exits: {"runs"},
    random_numbers: {"same numbers, same finding"},
    random_numbers_of_numpy: {"same numbers, same finding"},
    remembers: {"same numbers, same finding", "order of the rows"},
    changes_rows: {"numbers left alone"},
    adds_a_column: {"numbers left alone"},
    by_place: {"order of the rows"},
    told_by_the_first_row: {"order of the rows"},
    misspelt: SPEAKS,
    unknown_verdict: {"runs"},
    no_finding: {"runs"},
    nothing: {"runs"},
    no_source: {"texts"},
    no_statement: {"texts"},
    no_evidence: {"texts"},
    missing_number: {"evidence"},
    needs_its_models: {"without columns", "without all models but one"},
    changes_settings: {"settings of the process"},
    without_examples: SPEAKS,
    changes_a_table: {"numbers left alone"},
    needs_its_table: {"without tables", "without columns of tables"},
    wrong_examples: {"can be supported", "can be contradicted"},
    one_example: {"examples"},
    no_examples: {"examples"},
    examples_without_its_table: SPEAKS,
    one_example_without_its_table: {"can be supported"},
}
