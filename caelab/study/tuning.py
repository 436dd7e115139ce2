"""The weight of each recipe chosen on validation examples, and what the others would have given."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from caelab.errors import CaelabError
from caelab.registry.catalogue import catalogue
from caelab.runs.config import RunConfig, make_config, parse_setting, with_setting
from caelab.runs.recipes import Recipe
from caelab.runs.run import dataset_of
from caelab.study.plan import Grid, Planned, is_file
from caelab.study.study import Study, StudyResult, run_rows

MEASURE = "fine-tuned validation error"
GIVEN, CHOSEN, EQUAL = "given", "chosen", "as good as the chosen"


@dataclass(frozen=True)
class Candidate:
    """One way to set a model: its config, and the setting that tells it from the others."""

    setting: str
    config: RunConfig


@dataclass(frozen=True)
class Choice:
    """A model and the candidates for it; none where it stays as it is, and then why."""

    config: RunConfig
    candidates: Sequence[Candidate] = ()
    given: str = ""


class Trials(Study):
    """The candidates of all models; those of one model share its label, so that the chosen runs are found again."""

    def check_labels(self) -> None:
        """Candidates are told apart by their settings, not by their labels."""


def checked_choices(models: Sequence[Planned], settings: Sequence[str], grid: Grid) -> list[Choice]:
    """What there is to choose, refused before anything is trained where there are no labels to choose by.

    Raises:
        CaelabError: the data of a model that would be tuned have no labels.
    """
    found = choices(models, settings, grid)
    for choice in found:
        if choice.candidates and dataset_of(choice.config).labels is None:
            raise CaelabError(
                f"{choice.config.label!r} cannot be tuned: {choice.config.dataset.kind} has no labels, and what is "
                "chosen by is the error of a classifier; leave --tune out"
            )
    return found


def choices(models: Sequence[Planned], settings: Sequence[str] = (), grid: Grid | None = None) -> list[Choice]:
    """What there is to choose for each model, from the grid that its recipe carries.

    What the user gave stays: a config file, and every key of a setting or a grid.
    """
    given = given_keys(settings, grid or {})
    return [_choice(model, given) for model in models]


def _choice(model: Planned, given: Collection[str]) -> Choice:
    if is_file(model.name):
        return Choice(model.config, given=model.name)
    recipe: Recipe = catalogue().get("recipe", model.name)
    found = [
        Candidate(f"{key}={value}", make_config(with_setting(model.config.as_dict(), key, value)))
        for key, values in recipe.tune.items()
        if key not in given
        for value in values
    ]
    return Choice(model.config, found, given=", ".join(key for key in recipe.tune if key in given))


def given_keys(settings: Sequence[str], grid: Grid) -> set[str]:
    """The keys that settings and grids give a value, each down to its last part.

    >>> sorted(given_keys(["contractive={weight: 1}", "regularizers.masking.p=0.2"], {"training.epochs": [1]}))
    ['contractive.weight', 'masking.p', 'training.epochs']
    """
    keys = {key for setting in settings for key in _leaves(*parse_setting(setting))}
    return {key.removeprefix("regularizers.") for key in {*keys, *grid}}


def _leaves(key: str, value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield key
        return
    for part, inner in value.items():
        yield from _leaves(f"{key}.{part}", inner)


def tuning_study(found: Sequence[Choice], seeds: Sequence[int], out: Path, plugin_files: Sequence[Path]) -> Study:
    """The runs of all candidates, measured by what is chosen by; without labels there is nothing to choose by.

    The measure is the paper's: the validation error of the fine-tuned classifier, averaged over the seeds
    (Rifai et al. 2011, section 5). The test examples are not looked at.
    """
    configs = [each.config for choice in found for each in choice.candidates]
    return Trials(configs, seeds, {"classification": {}}, out, plugin_files)


def decided(found: Sequence[Choice], seeds: int, result: StudyResult) -> tuple[list[RunConfig], pd.DataFrame]:
    """The config of each model with the candidate that validates best, and the table of all of them.

    Of candidates with one validation error the recipe's own is taken, and else the first: nothing speaks for another.

    Raises:
        CaelabError: a candidate could not be measured.
    """
    if result.problems:
        first = result.problems[0]
        raise CaelabError(f"{first.model!r} cannot be tuned: {first.message}; leave --tune out")
    errors = run_rows(result)[MEASURE].to_numpy().reshape(-1, seeds).mean(axis=1).tolist() if result.outcomes else []
    configs, rows = [], []
    for choice in found:
        own = [errors.pop(0) for _ in choice.candidates]
        best = _best(choice, own) if own else None
        configs.append(choice.config if best is None else choice.candidates[best].config)
        rows += list(_rows(choice, own, best))
    return configs, pd.DataFrame(rows, columns=["model", "setting", "validation error", "choice"])


def _best(choice: Choice, errors: Sequence[float]) -> int:
    """The place of the candidate with the smallest error; of equal ones the recipe's own, or else the first."""
    least = [place for place, error in enumerate(errors) if _equal(error, min(errors))]
    own = [place for place in least if choice.candidates[place].config == choice.config]
    return [*own, *least][0]


def _equal(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=1e-9)  # means over seeds differ by rounding


def _rows(choice: Choice, errors: Sequence[float], best: int | None) -> Iterator[dict[str, Any]]:
    about = {"model": choice.config.label}
    if choice.given:
        yield {**about, "setting": choice.given, "choice": GIVEN}
    for place, (candidate, error) in enumerate(zip(choice.candidates, errors, strict=True)):
        tied = EQUAL if best is not None and _equal(error, errors[best]) else ""
        chosen = CHOSEN if place == best else tied
        yield {**about, "setting": candidate.setting, "validation error": error, "choice": chosen}


def told(table: pd.DataFrame) -> Iterator[str]:
    """One line for each model: what was chosen among what, or that it stays as it was given."""
    if table.empty:
        yield "no model of this comparison has a grid to choose from"
    for model, rows in table.groupby("model", sort=False):
        tried = rows[rows["choice"] != GIVEN]
        for setting in rows.loc[rows["choice"] == GIVEN, "setting"]:
            yield f"{model}: {setting} stays as given"
        if len(tried):
            (best,) = tried.loc[tried["choice"] == CHOSEN, "setting"]
            errors = zip(tried["setting"], tried["validation error"], strict=True)
            equal = ", ".join(tried.loc[tried["choice"] == EQUAL, "setting"])
            tie = f" (as good as {equal}: of equals the recipe's own is taken, and else the first)" if equal else ""
            yield f"{model}: {best} chosen by validation error{tie}: " + ", ".join(f"{s} {e:.4g} %" for s, e in errors)
