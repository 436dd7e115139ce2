"""Tuning: the weight of each recipe is chosen on validation examples."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from caelab.analysis.columns import Column
from caelab.analysis.contract import default_analyses, load_analysis
from caelab.errors import CaelabError
from caelab.registry.catalogue import catalogue
from caelab.registry.reserved import GIVEN_BY_CORE
from caelab.registry.signatures import option_fields
from caelab.runs.config import RunConfig, make_config
from caelab.runs.recipes import load_recipe
from caelab.runs.run import dataset_of
from caelab.runs.settings import with_setting
from caelab.study.outcomes import StudyResult, run_rows
from caelab.study.plan import Grid, Planned, is_file
from caelab.study.study import Study

SELECTION = "selection"  # the folder of a study in which the outcomes of candidates are recorded
GIVEN, CHOSEN, EQUAL = "given", "chosen", "as good as the chosen"


@dataclass(frozen=True)
class Candidate:
    """One way to set a model: its config, and the setting that tells it from the others."""

    setting: str
    config: RunConfig


@dataclass(frozen=True)
class Choice:
    """A model and the candidates for it; none where it stays as it is, and then why.

    Attributes:
        config: of the model as it is.
        candidates: the ways to set it.
        given: the settings that the user gave.
        name: how tables call the model; its label where it is empty.
    """

    config: RunConfig
    candidates: Sequence[Candidate] = ()
    given: str = ""
    name: str = ""


@dataclass(frozen=True)
class Measure:
    """The number that candidates are compared by, and the analysis that sums up to it."""

    analysis: str
    column: Column

    @property
    def sign(self) -> int:
        """1 where the smallest number is the best, -1 where the largest is."""
        return -1 if self.column.better == "larger" else 1


def measure_of(names: Iterable[str], by: str | None = None) -> Measure:
    """What ``--tune`` selects by: the number that one of these analyses marks, or else one of all that are offered.

    Of all that are offered, those count first that a comparison runs unless it is told which.

    Args:
        names: the analyses of the comparison.
        by: the name of the number, where several are marked.

    Raises:
        CaelabError: no number is marked, or several are and none of them is named.
    """
    everywhere = [name for kind, name in catalogue().offers if kind == "analysis"]
    found = _marked(names, by) or _marked(default_analyses(), by) or _marked(everywhere, by)
    if not found:
        known = ", ".join(repr(each.column.name) for each in _marked(everywhere, None)) or "none"
        what = f"the number {by!r}" if by else "a number"
        raise CaelabError(f"expected {what} that an analysis marks with tune=True, to choose by; marked are: {known}")
    if len(found) > 1:
        both = " and ".join(f"{each.column.name!r} of the analysis {each.analysis!r}" for each in found)
        raise CaelabError(f"several numbers can be chosen by, {both}; name one with --tune-by")
    return found[0]


def _marked(names: Iterable[str], by: str | None) -> list[Measure]:
    found = []
    for name in dict.fromkeys(names):
        with suppress(CaelabError):  # an analysis that cannot be used is told of where it is asked for
            columns = getattr(load_analysis(name), "columns", ())
            found += [Measure(name, column) for column in columns if column.tune and by in (None, column.name)]
    return found


class Trials(Study):
    """The candidates of all models; those of one model share its label, so that the chosen runs are found again."""

    def check_labels(self) -> None:
        """Candidates are told apart by their settings, not by their labels."""


def checked_labels(found: Sequence[Choice], measure: Measure) -> None:
    """Refuse before anything is trained a choice by a number that needs labels, where there are none.

    Raises:
        CaelabError: the data of a model that would be tuned have no labels.
    """
    needs_labels = bool(getattr(load_analysis(measure.analysis), "needs_labels", False))
    for choice in found:
        if choice.candidates and needs_labels and dataset_of(choice.config).labels is None:
            raise CaelabError(
                f"{choice.config.label!r} cannot be tuned: {choice.config.dataset.kind} has no labels, and the "
                f"analysis {measure.analysis!r}, whose number {measure.column.name!r} is chosen by, needs them; "
                "leave --tune out"
            )


def choices(
    models: Sequence[Planned], settings: Sequence[tuple[str, Any]] = (), grid: Grid | None = None
) -> list[Choice]:
    """What there is to choose for each model, from the grid that its recipe carries.

    What the user gave stays: a config file, and every key of a setting or a grid.
    """
    given = _given_keys(settings, grid or {})
    return [_choice(model, given) for model in models]


def _choice(model: Planned, given: Collection[str]) -> Choice:
    if is_file(model.name):
        return Choice(model.config, given=model.name)
    recipe = load_recipe(model.name)
    found = [
        Candidate(f"{key}={value}", make_config(with_setting(model.config.as_dict(), key, value)))
        for key, values in recipe.tune.items()
        if key not in given
        for value in values
    ]
    return Choice(model.config, found, given=", ".join(key for key in recipe.tune if key in given))


def _given_keys(settings: Sequence[tuple[str, Any]], grid: Grid) -> set[str]:
    """The keys that settings and grids give a value, each down to its last part.

    >>> settings = [("contractive", {"weight": 1}), ("regularizers.masking.p", 0.2)]
    >>> sorted(_given_keys(settings, {"training.epochs": [1]}))
    ['contractive.weight', 'masking.p', 'training.epochs']
    """
    keys = {key for setting in settings for key in _leaves(*setting)}
    return {key.removeprefix("regularizers.") for key in {*keys, *grid}}


def _leaves(key: str, value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield key
        return
    for part, inner in value.items():
        yield from _leaves(f"{key}.{part}", inner)


def tuning_study(found: Sequence[Choice], study: Study, measure: Measure) -> Study:
    """The runs of all candidates, measured by the analysis whose number is chosen by, averaged over the seeds.

    Rifai et al. (2011, section 5) choose by the validation error of the fine-tuned classifier. An analysis that can
    leave the test examples out, by its option ``test``, is asked to.
    """
    configs = [each.config for choice in found for each in choice.candidates]
    options = {**study.analyses.get(measure.analysis, {}), **without_test(measure.analysis)}
    return Trials(
        configs,
        study.seeds,
        {measure.analysis: options},
        study.out,
        study.plugin_files,
        folder=None if study.folder is None else study.folder / SELECTION,
        track=study.track,
        splits=study.splits,
        resources=study.resources,
    )


def without_test(analysis: str) -> dict[str, bool]:
    """The option by which an analysis does not look at the test examples, where it has one."""
    measure = getattr(load_analysis(analysis), "measure", None)
    has = measure is not None and "test" in option_fields(measure, GIVEN_BY_CORE["analysis"])
    return {"test": False} if has else {}


def decided(found: Sequence[Choice], result: StudyResult, measure: Measure) -> tuple[list[RunConfig], pd.DataFrame]:
    """The config of each model with the candidate that validates best, and the table of all of them.

    Of candidates with one validation error the recipe's own is taken, and else the first: nothing speaks for another.
    A candidate of which a run failed, as one that diverges, is not chosen.

    Raises:
        CaelabError: a candidate could not be measured, or every candidate of a model failed.
    """
    if result.problems:
        first = result.problems[0]
        raise CaelabError(f"{first.model!r} cannot be tuned: {first.message}; leave --tune out")
    errors = _errors(result, measure)
    configs, rows = [], []
    for choice in found:
        own = [errors.get(_key(each.config), math.nan) for each in choice.candidates]
        if own and all(map(math.isnan, own)):
            raise CaelabError(
                f"{choice.config.label!r} cannot be tuned: every candidate failed, the first with: "
                f"{_failure_of(choice, result)}"
            )
        best = _best(choice, own, measure.sign) if own else None
        configs.append(choice.config if best is None else choice.candidates[best].config)
        rows += list(_rows(choice, own, best, measure.column.name))
    return configs, pd.DataFrame(rows, columns=["model", "setting", measure.column.name, "choice"])


def _key(config: RunConfig) -> str:
    """What tells a candidate from others, whatever the seed and the split."""
    return config.with_split(None).with_seed(0).to_yaml()


def _errors(result: StudyResult, measure: Measure) -> dict[str, float]:
    """The mean over seeds and splits of the number that candidates are compared by; none where a run failed.

    Raises:
        CaelabError: a run has no such number.
    """
    failed = {_key(failure.config) for failure in result.failures}
    found: dict[str, list[float]] = {}
    numbers = _numbers(run_rows(result), measure) if result.outcomes else np.zeros(0)
    for outcome, number in zip(result.outcomes, numbers, strict=True):
        found.setdefault(_key(outcome.config), []).append(number)
    return {key: float(np.mean(each)) for key, each in found.items() if key not in failed}


def _failure_of(choice: Choice, result: StudyResult) -> str:
    keys = {_key(each.config) for each in choice.candidates}
    return next((each.message for each in result.failures if _key(each.config) in keys), "no run is there")


def _numbers(rows: pd.DataFrame, measure: Measure) -> np.ndarray:
    """The number of each run that candidates are compared by.

    Raises:
        CaelabError: a run has none.
    """
    name = measure.column.name
    numbers = rows[name].to_numpy(float) if name in rows else np.full(len(rows), np.nan)
    lacking = rows["model"][np.isnan(numbers)]
    if len(lacking):
        raise CaelabError(
            f"{lacking.iloc[0]!r} cannot be tuned: the analysis {measure.analysis!r} gives it no number {name!r}, "
            "which is chosen by; leave --tune out, or choose by another number with --tune-by"
        )
    return numbers


def _best(choice: Choice, errors: Sequence[float], sign: int) -> int:
    """The place of the best candidate; of equal ones the recipe's own, or else the first."""
    best = sign * min(sign * error for error in errors if not math.isnan(error))
    least = [place for place, error in enumerate(errors) if _equal(error, best)]
    own = [place for place in least if choice.candidates[place].config == choice.config]
    return [*own, *least][0]


def _equal(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=1e-9)  # means over seeds differ by rounding


def _rows(choice: Choice, errors: Sequence[float], best: int | None, by: str) -> Iterator[dict[str, Any]]:
    about = {"model": choice.name or choice.config.label}
    if choice.given:
        yield {**about, "setting": choice.given, "choice": GIVEN}
    for place, (candidate, error) in enumerate(zip(choice.candidates, errors, strict=True)):
        tied = EQUAL if best is not None and _equal(error, errors[best]) else ""
        chosen = CHOSEN if place == best else tied
        yield {**about, "setting": candidate.setting, by: error, "choice": chosen}


def told(table: pd.DataFrame) -> Iterator[str]:
    """One line for each model: which candidate was chosen, or why it keeps its weight."""
    if table.empty:
        yield "no model of this comparison has a grid to choose from"
    by = table.columns[2]
    for model, rows in table.groupby("model", sort=False):
        tried = rows[rows["choice"] != GIVEN]
        for setting in rows.loc[rows["choice"] == GIVEN, "setting"]:
            yield f"{model}: {setting} stays as given"
        if len(tried):
            (best,) = tried.loc[tried["choice"] == CHOSEN, "setting"]
            errors = zip(tried["setting"], tried[by], strict=True)
            equal = ", ".join(tried.loc[tried["choice"] == EQUAL, "setting"])
            tie = f" (as good as {equal}: of equals the recipe's own is taken, and else the first)" if equal else ""
            yield f"{model}: {best} chosen by {by}{tie}: " + ", ".join(f"{s} {e:.4g}" for s, e in errors)
