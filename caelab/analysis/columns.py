"""The description of a number that an analysis sums up to: heading, unit, which direction is better, which table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, get_args

from caelab.errors import ContractError, shown

Better = Literal["smaller", "larger", ""]
ANY = "*"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One number of ``summarise(table)``, as tables, report page and terminal show it.

    Attributes:
        name: the number's key in what ``summarise`` returns. A star stands for any text, ``"dimension by *"`` for a
            number of each estimator.
        heading: what stands above the column, with its unit, in one line or two; the name where it is left out. A star
            stands for what the star in the name stands for.
        factor: what the numbers are multiplied with in tables, 100 for a share shown in percent.
        better: whether ``"smaller"`` or ``"larger"`` numbers are better, or neither (``""``); the best are bold.
        table: ``"main"``, ``"contraction"`` or ``"further"``, or the title of a table of its own.
        short: the heading in the terminal's table; a column without one is left out there.
        tune: whether ``--tune`` selects by this number, which then is of validation examples.
        order: columns of a table stand by this number, and at equal ones as their analyses were asked for.
        optional: whether some data or models have no such number.

    Raises:
        ContractError: an attribute is not as described.
    """

    name: str
    heading: str = ""
    factor: float = 1.0
    better: Better = ""
    table: str = "further"
    short: str = ""
    tune: bool = False
    order: float = 0.0
    optional: bool = False

    def __post_init__(self) -> None:
        texts = ("name", "heading", "table", "short")
        wrong = [key for key in texts if not isinstance(getattr(self, key), str)]
        if wrong or not self.name.strip() or not self.table.strip():
            key = [*wrong, "name" if not self.name.strip() else "table"][0]
            raise ContractError(f"expected the {key} of a column as a text, but {shown(getattr(self, key))} came")
        if self.better not in get_args(Better):
            raise ContractError(
                f"expected 'smaller', 'larger' or '' for what is better in the column {self.name!r}, but "
                f"{shown(self.better)} came"
            )
        for key in ("factor", "order"):
            if not _is_number(getattr(self, key)):
                raise ContractError(
                    f"expected a finite number as the {key} of the column {self.name!r}, but "
                    f"{shown(getattr(self, key))} came"
                )
        if self.name.count(ANY) > 1:
            raise ContractError(f"expected at most one star in the name of a column, but {self.name!r} came")
        if self.tune and self.is_pattern:
            raise ContractError(f"the column {self.name!r} stands for several numbers, so that none can be tuned by")
        if self.tune and not self.better:
            raise ContractError(
                f"the column {self.name!r} is one to tune by, but does not say what is better; give better='smaller' "
                "or 'larger'"
            )

    @property
    def is_pattern(self) -> bool:
        """Whether the name stands for several numbers."""
        return ANY in self.name

    def covers(self, number: str) -> bool:
        """Whether this column is that of a number.

        >>> Column(name="dimension by *").covers("dimension by gap"), Column(name="mean norm").covers("norm")
        (True, False)
        """
        before, star, after = self.name.partition(ANY)
        if not star:
            return number == self.name
        return len(number) >= len(before + after) and number.startswith(before) and number.endswith(after)

    def heading_of(self, number: str) -> str:
        """What stands above the column of a number."""
        if not self.is_pattern or not self.heading:
            return self.heading or number
        before, _, after = self.name.partition(ANY)
        return self.heading.replace(ANY, number[len(before) : len(number) - len(after)])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def column_of(number: str, columns: Iterable[Column]) -> Column | None:
    """The column that describes a number: the one of its name, or else a pattern; None where there is none."""
    found = [column for column in columns if column.covers(number)]
    return min(found, key=lambda column: column.is_pattern, default=None)


def overlap(first: Column, second: Column) -> bool:
    """Whether the name of one column is of the other too; two different patterns meet only in a number of both.

    >>> overlap(Column(name="mean *"), Column(name="mean norm")), overlap(Column(name="* norm"), Column(name="mean *"))
    (True, False)
    """
    return first.covers(second.name) or second.covers(first.name)


def clash(columns: Sequence[Column]) -> Column | None:
    """A column that stands twice in a list; None where each stands once."""
    names = [column.name for column in columns]
    return next((column for column in columns if names.count(column.name) > 1), None)
