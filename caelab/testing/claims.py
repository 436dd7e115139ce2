"""Checking a claim: all checks, on made-up numbers; it must be able to come out each way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from io import StringIO
from typing import Any, NamedTuple

from caelab.errors import NotApplicable
from caelab.registry.catalogue import catalogue
from caelab.report.claims import VERDICTS, Finding, Numbers
from caelab.report.verdicts import TEXTS, checked, copied
from caelab.testing.analysis_checks import same_table
from caelab.testing.chance import same_chance
from caelab.testing.made_up import first_seed, made_up, poorer, shuffled
from caelab.testing.outcome import Check, Report, judged
from caelab.testing.penalty.subjects import one_line
from caelab.testing.side_effects import SideEffectRecorder, hushed, noticed

TRIES = 150  # comparisons: of seven models each has the smallest number in about every seventh
FEW = 5  # comparisons
ORDERS = 3
MISSING = re.compile(r"\b(nan|inf|None)\b")
WORDS = re.compile(r"\w+(?:\.\w+)*")


class Answer(NamedTuple):
    """What a claim says of a comparison."""

    numbers: Numbers
    finding: Finding


def check_claim(claim: Any, *, name: str | None = None, raises: bool = True) -> Report:
    """Run every check on a claim.

    It is asked of made-up comparisons: rows for every recipe that is offered, with every number that an analysis sums
    up to. Where its attribute ``examples = {verdict: Numbers}`` gives comparisons, it is asked of these instead.

    Args:
        claim: its name, or a function ``claim(numbers) -> caelab.Finding``.
        name: what to call it.
        raises: raise where a check fails; otherwise look at ``report.failures``.

    Returns:
        The report.

    Raises:
        CheckFailed: with the rows that failed.
        CaelabError: an unknown claim.
    """
    name = name or (claim if isinstance(claim, str) else str(getattr(claim, "__name__", "claim")))
    claim = catalogue().get("claim", claim) if isinstance(claim, str) else claim
    recorder = SideEffectRecorder()
    with hushed(StringIO()) as said, recorder.throughout("a call"):
        report = Report(name, [*examined(Asked(claim, name, recorder))])
    report.checks.extend(noticed(recorder, said))
    return report.assert_passed() if raises else report


@dataclass(eq=False)
class Asked:
    """A claim that is asked of made-up comparisons; whatever it does to the process is noted and put back."""

    claim: Any
    name: str
    recorder: SideEffectRecorder
    refusal: str = ""

    def __call__(self, numbers: Numbers, seed: int = 0) -> Finding:
        """What it says of a comparison.

        Args:
            numbers: are handed to it as they are.
            seed: of the global random generators.

        Raises:
            NotApplicable: it leaves itself out.
            CaelabError: it returns no proper finding; any other error is its own.
        """
        with same_chance(seed):
            found = self.recorder.call("", "the claim", [], self.claim, [numbers])
        return checked(found, f"the claim {self.name!r}")

    def of(self, comparisons: Iterable[Numbers]) -> Iterator[Answer]:
        """What it says of those comparisons that it does not leave itself out of."""
        for numbers in comparisons:
            try:
                yield Answer(numbers, self(copied(numbers)))
            except NotApplicable as error:
                self.refusal = str(error)

    @property
    def examples(self) -> Any:
        """The comparisons that it gives itself, by verdict; None where it gives none."""
        return getattr(self.claim, "examples", None)

    @cached_property
    def several(self) -> list[Answer]:
        """What it says of its own examples, or of made-up comparisons until it was supported and contradicted."""
        if self.examples is not None:
            return [*self.of(self.examples.values())]
        found = []
        for answer in self.of(made_up(place) for place in range(TRIES)):
            found.append(answer)
            if {"supported", "contradicted"} <= {each.finding.verdict for each in found}:
                break
        return found

    @cached_property
    def one_seed(self) -> list[Answer]:
        """What it says of made-up comparisons from one seed."""
        return [*self.of(first_seed(answer.numbers) for answer in self.several[:FEW])]

    @cached_property
    def noisy(self) -> list[Answer]:
        """What it says of made-up comparisons whose seeds differ as much as the models."""
        return [*self.of(made_up(place, spread=1.0) for place in range(FEW))]

    @property
    def one_of_each(self) -> list[Answer]:
        """One comparison for each verdict that was found."""
        answers = self.several if self.examples is not None else [*self.several, *self.one_seed]
        return [*{answer.finding.verdict: answer for answer in reversed(answers)}.values()]


def examined(asked: Asked) -> Iterator[Check]:
    """Run all checks; an error ends them with a row that fails."""
    is_function = callable(asked.claim)
    remedy = "register a function of one argument"
    yield judged("function", is_function, "claim(numbers)", type(asked.claim).__name__, remedy)
    if not is_function:
        return
    if asked.examples is not None:
        row = _given_well(asked.examples)
        yield row
        if row.verdict == "failed":
            return
    try:
        yield _check_answers(asked)
        for check in CHECKS if asked.several else ():
            yield from check(asked)
    except (Exception, SystemExit) as error:  # a claim may fail in any way
        remedy = "mend the claim; caelab.NotApplicable says that it cannot be asked of a comparison"
        yield Check("runs", "failed", "a finding, or NotApplicable", one_line(error), remedy)


def _given_well(examples: Any) -> Check:
    """Whether the comparisons that a claim gives itself are there, one for each verdict."""
    is_mapping = isinstance(examples, Mapping)
    passed = is_mapping and {*examples} == {*VERDICTS} and all(isinstance(e, Numbers) for e in examples.values())
    found = {name: type(each).__name__ for name, each in examples.items()} if is_mapping else type(examples).__name__
    remedy = "give one caelab.Numbers for each verdict, claim.examples = {verdict: numbers}"
    return judged("examples", passed, f"Numbers for {', '.join(VERDICTS)}", str(found), remedy)


def _check_answers(asked: Asked) -> Check:
    """Check that the claim answers for a made-up comparison at all."""
    speaks = len(asked.several)
    found = f"{speaks} findings" if speaks else f"it leaves itself out of all: {asked.refusal}"
    remedy = (
        "name recipes as caelab plugins and columns as runs.csv do; if it reads tables, or models of a grid, give it "
        "made-up numbers, claim.examples = {'supported': caelab.Numbers(...), ...} with one for each verdict"
    )
    return judged("speaks to made-up numbers", bool(speaks), "a finding", found, remedy)


def _check_texts(asked: Asked) -> Iterator[Check]:
    """Check that statement, source and evidence are there, and that no number in the evidence is missing."""
    findings = [answer.finding for answer in asked.one_of_each]
    empty = [name for name in TEXTS for finding in findings if not vars(finding)[name].strip()]
    remedy = "say what is claimed, who claims it, and the numbers that the verdict rests on"
    found = f"no {empty[0]}" if empty else "so"
    yield judged("texts", not empty, "statement, source and evidence", found, remedy)
    holes = [finding.evidence for finding in findings if MISSING.search(finding.evidence)]
    remedy = "raise caelab.NotApplicable where a number is missing"
    yield judged("evidence", not holes, "no missing number", holes[0] if holes else "so", remedy)


def check_conduct(asked: Asked) -> Iterator[Check]:
    """Check that the same numbers give the same finding, whatever the order of their rows, and are not changed."""
    answers = asked.one_of_each
    again = all(asked(copied(answer.numbers), seed=1) == answer.finding for answer in answers)
    remedy = "draw no random number, or from a generator with a seed of its own; keep nothing from call to call"
    yield judged("same numbers, same finding", again, "equal findings", "so" if again else "different", remedy)
    kept = all(left_alone(asked, answer.numbers) for answer in answers)
    remedy = "work on a copy, as numbers.rows.copy()"
    yield judged("numbers left alone", kept, "unchanged rows and tables", "unchanged" if kept else "changed", remedy)
    orders = [(shuffled(answer.numbers, order), answer.finding) for answer in answers for order in range(ORDERS)]
    alike = all(_same_words(asked(numbers), finding) for numbers, finding in orders)
    remedy = "find rows by model and seed, never by their place"
    yield judged("order of the rows", alike, "the same finding", "so" if alike else "another", remedy)


def left_alone(asked: Asked, numbers: Numbers) -> bool:
    """Whether a claim only reads what it is handed."""
    handed, before = copied(numbers), copied(numbers)
    asked(handed)
    pairs = [(handed.rows, before.rows), *((handed.tables[name], before.tables[name]) for name in before.tables)]
    return all(same_table(one, other) for one, other in pairs)


def _same_words(one: Finding, other: Finding) -> bool:
    """Whether two findings agree, up to the order in which the evidence tells its numbers."""
    words, others = (sorted(WORDS.findall(finding.evidence)) for finding in (one, other))
    return words == others and replace(one, evidence="") == replace(other, evidence="")


def _check_verdicts(asked: Asked) -> Iterator[Check]:
    """Check that the claim can come out each way, by its own examples or by made-up numbers."""
    found: Counter[str] = Counter(answer.finding.verdict for answer in asked.several)
    if asked.examples is not None:
        yield from _check_examples(asked)
        return
    for verdict in ("supported", "contradicted"):
        remedy = "a claim that cannot come out each way says nothing; if it needs rare numbers, give claim.examples"
        yield judged(f"can be {verdict}", verdict in found, f"{verdict} by some numbers", counted(found), remedy)
    alone: Counter[str] = Counter(answer.finding.verdict for answer in asked.one_seed)
    decided = {*alone} - {"inconclusive"}
    remedy = "judge paired differences over the seeds, as caelab.finding does: one seed has no interval"
    yield judged("one seed", not decided, "inconclusive, or NotApplicable", counted(alone), remedy)
    uncertain = alone or Counter[str](answer.finding.verdict for answer in asked.noisy)
    yield judged("can be inconclusive", "inconclusive" in uncertain, "inconclusive by some numbers", counted(uncertain),
                 remedy)  # fmt: skip


def _check_examples(asked: Asked) -> Iterator[Check]:
    """Check that each of the claim's own examples comes out as stated."""
    for verdict, numbers in asked.examples.items():
        found: list[str] = [each.finding.verdict for each in asked.several if each.numbers is numbers] or ["left out"]
        remedy = "mend the claim, or the numbers that it gives as examples"
        yield judged(f"can be {verdict}", found[0] == verdict, verdict, found[0], remedy)


def counted(verdicts: Mapping[str, int]) -> str:
    """How often each verdict was found.

    >>> counted({"supported": 2, "contradicted": 1}), counted({})
    ('2 supported, 1 contradicted', 'left out')
    """
    return ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()) or "left out"


def _check_absence(asked: Asked) -> Iterator[Check]:
    """Check that the claim leaves itself out where models, columns or tables are missing."""
    for what, numbers in poorer(asked.several[0].numbers):
        try:
            found, verdict = next((answer.finding.verdict for answer in asked.of([numbers])), "left out"), "passed"
        except (Exception, SystemExit) as error:  # a claim may fail in any way
            found, verdict = one_line(error), "failed"
        remedy = "raise caelab.NotApplicable where something is missing, as numbers.of(recipe, column) does"
        yield judged(f"without {what}", verdict == "passed", "a finding, or NotApplicable", found, remedy)


CHECKS: tuple[Callable[[Asked], Iterator[Check]], ...] = (_check_texts, check_conduct, _check_verdicts, _check_absence)
