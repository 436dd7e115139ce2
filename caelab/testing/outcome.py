"""The outcome of checks: rows of a table, and the error that is raised where one failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from caelab.errors import CaelabError

Verdict = Literal["passed", "failed", "reported", "skipped"]

COLUMNS = ("check", "verdict", "expected", "found", "what to do")


class CheckFailed(CaelabError, AssertionError):
    """A check failed; the message holds the rows that did."""


@dataclass(frozen=True)
class Check:
    """One row: what was checked, how it came out, what was expected, what was found, and what to do about it."""

    name: str
    verdict: Verdict
    expected: str
    found: str
    remedy: str = ""

    def row(self) -> tuple[str, str, str, str, str]:
        """The cells, in the order of ``COLUMNS``."""
        return self.name, self.verdict, self.expected, self.found, self.remedy


def _verdict_of(passed: bool) -> Verdict:
    """The verdict of a check that can only pass or fail."""
    return "passed" if passed else "failed"


def judged(name: str, passed: bool, expected: str, found: str, remedy: str) -> Check:
    """A row that passes or fails; the remedy stands only where it is needed."""
    return Check(name, _verdict_of(passed), expected, found, "" if passed else remedy)


@dataclass(frozen=True)
class Report:
    """All rows about one plugin.

    Attributes:
        subject: what was checked.
        checks: the rows.
        mistakes: names of the known mistakes that it equals.
    """

    subject: str
    checks: list[Check]
    mistakes: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[Check]:
        """The rows that failed."""
        return [check for check in self.checks if check.verdict == "failed"]

    @property
    def passed(self) -> bool:
        """Whether no row failed."""
        return not self.failures

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """The cells of every row, failures first."""
        return [check.row() for check in sorted(self.checks, key=lambda check: check.verdict != "failed")]

    def summary(self) -> str:
        """One line: how many checks came out how."""
        verdicts: tuple[Verdict, ...] = ("passed", "failed", "reported", "skipped")
        counts = {verdict: sum(check.verdict == verdict for check in self.checks) for verdict in verdicts}
        return f"{self.subject}: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)

    def assert_passed(self) -> Report:
        """This report, if nothing failed.

        Raises:
            CheckFailed: with the rows that did.
        """
        if self.failures:
            raise CheckFailed(self.told(self.failures))
        return self

    def told(self, checks: Iterable[Check]) -> str:
        """Rows as text, one paragraph each."""
        lines = [
            f"{check.name}: expected {check.expected}, but found {check.found}; {check.remedy}" for check in checks
        ]
        return "\n".join([f"{self.subject} fails {len(self.failures)} of {len(self.checks)} checks", *lines])

    def __str__(self) -> str:
        return "\n".join("\t".join(cells) for cells in [COLUMNS, *self.rows()])
