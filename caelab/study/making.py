"""From a study file to a study: every model on every data set as a config, and what there is to choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from caelab.analysis.contract import default_analyses, load_analysis
from caelab.data.samples import PUBLISHED
from caelab.errors import CaelabError
from caelab.registry.arguments import path_of
from caelab.registry.catalogue import catalogue
from caelab.registry.reserved import GIVEN_BY_CORE
from caelab.registry.signatures import option_fields
from caelab.runs.config import RunConfig, make_config
from caelab.runs.settings import with_setting
from caelab.study.folder import RUNS, opened
from caelab.study.plan import Grid, Planned, Raw, Step, named_config, planned, refuse_twice, spread, steps_of
from caelab.study.specification import ModelEntry, StudyFile, at_scale, study_file
from caelab.study.study import Study
from caelab.study.tuning import Candidate, Choice, Measure, checked_labels, choices, measure_of

SMOKE = "smoke"  # the scale at which a study only shows that it works
FEW_EXAMPLES = (600, 200, 200)
SMALL: Raw = {"training.epochs": 2, "dataset.splits": [*FEW_EXAMPLES]}  # of a study that only shows that it works


@dataclass(frozen=True)
class Made:
    """A study as its file describes it.

    Attributes:
        file: its content.
        study: every run, each model as it is before anything is chosen.
        choices: for each model, what there is to choose; empty where nothing is.
        measure: the number that is chosen by; None where nothing is.
    """

    file: StudyFile
    study: Study
    choices: Sequence[Choice] = ()
    measure: Measure | None = None

    def with_configs(self, configs: Sequence[RunConfig]) -> Study:
        """The study after the choice."""
        return replace(self.study, configs=configs)


def load_study(place: Any, out: Any = None) -> Study:
    """The study that a study file, or a mapping of the same keys, describes.

    What the file says with ``choose`` is left as the recipes have it; ``caelab.run_study`` chooses.

    Args:
        place: the path of a study file, the folder of a study that was begun, or a mapping of a study file's keys.
        out: the folder of the study, in place of the one that the file names.

    Raises:
        CaelabError: there is none, or something in it is wrong.
    """
    return loaded(place, out).study


def loaded(place: Any, out: Any = None) -> Made:
    """A study from its file, its folder, or a mapping of a study file's keys.

    Raises:
        CaelabError: there is none, or something in it is wrong.
    """
    if isinstance(place, Mapping):
        file, home = study_file(place), Path()
    else:
        place = path_of(place, "a study file, or the folder of a study,")
        file, _, home = opened(place)
        out = place if place.is_dir() else out
    folder = Path(file.out) if out is None else path_of(out, "the folder out")
    return make_study(file, folder.expanduser(), home)


def make_study(file: StudyFile, out: Path, home: Path = Path()) -> Made:
    """The study that a file describes, checked as far as nothing must be trained for it.

    Args:
        file: its content.
        out: the folder of the study.
        home: where plugin files are looked for.

    Raises:
        CaelabError: an unknown recipe, key, analysis or plugin, two models of one name, or values that do not fit.
    """
    files = tuple(dict.fromkeys((home / plugin).expanduser().resolve() for plugin in file.plugins))
    for path in files:
        catalogue().add_file(path)
    for name in file.claims or ():
        catalogue().get("claim", name)
    blocks: list[dict[str, Any] | None] = list(file.datasets) or [None]
    models = [(file.models[int(model.name)], model) for block in blocks for model in _on(file, block)]
    analyses = file.analyses if file.analyses is not None else {name: {} for name in default_analyses()}
    study = Study(
        [model.config for _, model in models],
        file.seeds,
        analyses,
        out / RUNS if file.runs is None else Path(file.runs).expanduser(),
        files,
        folder=out,
        splits=file.splits,
        resources=file.resources.model_dump(),
    )
    return _with_choices(file, study, models)


def _on(file: StudyFile, block: dict[str, Any] | None) -> list[Planned]:
    """Every model on one data set; each is named by the place of its entry."""
    top = {} if block is None else {"dataset": block}
    models = [(str(place), raw) for place, entry in enumerate(file.models) for raw in _of_entry(entry, top)]
    refuse_twice([raw["label"] for _, raw in models])
    return planned(models, steps_of([*file.set.items()], file.grid))


def _of_entry(entry: ModelEntry, top: Raw) -> list[Raw]:
    """The configs of one entry, one for each combination of its grid."""
    label = {"label": entry.label} if entry.label else {}
    raws = [_config_of(entry, {**top, **label}).as_dict()]
    for step in steps_of([*entry.set.items()], entry.grid):
        raws = [each for raw in raws for each in _after(raw, step)]
    return raws


def _config_of(entry: ModelEntry, over: Raw) -> RunConfig:
    if entry.config is None:
        return named_config(entry.recipe, **over)
    return make_config({**entry.config, **over})


def _after(raw: Raw, step: Step) -> list[Raw]:
    """One config per value; a regularizer that is not there yet is added, since it is this model's own setting."""
    if not step.named:
        return [with_setting(raw, step.key, step.values[0])]
    first = with_setting(raw, step.key, step.values[0])
    return spread(first, step.key, step.values)


def _with_choices(file: StudyFile, study: Study, models: Sequence[tuple[ModelEntry, Planned]]) -> Made:
    by_recipe = file.selection is not None and file.selection.recipes
    if not by_recipe and not any(entry.choose for entry, _ in models):
        if file.selection is not None:
            raise CaelabError(
                "selection: nothing is to be chosen; give a model the key choose, as {recipe: cae, choose: "
                "{contractive.weight: [0.1, 1]}}, or selection the key recipes: true"
            )
        return Made(file, study)
    measure = measure_of(study.analyses, file.selection.by if file.selection else None)
    found = [_choice(file, entry, model.config, by_recipe) for entry, model in models]
    if len(file.datasets) > 1:
        name = study.dataset_names()
        found = [replace(each, name=f"{each.config.label} on {name(each.config)}") for each in found]
    checked_labels(found, measure)
    return Made(file, study, found, measure)


def _choice(file: StudyFile, entry: ModelEntry, config: RunConfig, by_recipe: bool) -> Choice:
    if entry.choose:
        return Choice(config, _candidates(config, entry.choose))
    if not by_recipe or not entry.recipe:
        return Choice(config)
    given = {**file.set, **entry.set}
    grid = {**file.grid, **entry.grid}
    (choice,) = choices([Planned(entry.recipe, config)], [*given.items()], grid)
    return choice


def _candidates(config: RunConfig, grid: Grid) -> list[Candidate]:
    """One candidate for each combination of the values."""
    found = []
    for values in product(*grid.values()):
        raw = config.as_dict()
        for key, value in zip(grid, values, strict=True):
            raw = with_setting(raw, key, value)
        setting = ", ".join(f"{key}={value}" for key, value in zip(grid, values, strict=True))
        found.append(Candidate(setting, make_config(raw)))
    return found


def at(file: StudyFile, scale: str | None, dataset: str | None = None, device: str | None = None) -> StudyFile:
    """A study at one of its scales, on other data or another device where one is named.

    Args:
        file: as it stands.
        scale: a name in its ``scales``; ``smoke`` is there for every study, and made by ``smaller`` where the file does
            not say what it is. None leaves the file as it stands.
        dataset: in place of those that the file names, with its own default splits.
        device: where every run is trained, and every analysis that has an option ``device`` computes.

    Raises:
        CaelabError: there is no such scale, or one of its keys is wrong.
    """
    if scale is not None:
        file = smaller(file) if scale == SMOKE and SMOKE not in file.scales else at_scale(file, scale)
    changed: Raw = {}
    if dataset is not None:
        kept = {key: value for key, value in file.set.items() if key != "dataset.splits"}
        changed |= {"datasets": [{"kind": dataset}], "set": kept}
    if device is not None:
        changed["set"] = {**changed.get("set", file.set), "training.device": device}
        changed["analyses"] = {name: _on_device(device, name, options) for name, options in _analyses_of(file).items()}
    return StudyFile.model_validate({**file.plain(), **changed}) if changed else file


def _analyses_of(file: StudyFile) -> dict[str, Raw]:
    return {name: {} for name in default_analyses()} if file.analyses is None else file.analyses


def _on_device(device: str, analysis: str, options: Raw) -> Raw:
    """The options of an analysis, on a device where it computes on one."""
    measure = getattr(load_analysis(analysis), "measure", None)
    has = measure is not None and "device" in option_fields(measure, GIVEN_BY_CORE["analysis"])
    return {**options, "device": device} if has else options


def smaller(file: StudyFile) -> StudyFile:
    """The same study with two epochs, at most two seeds and splits, and few examples: to see that it works.

    Values of a grid and of a choice are at most two, and a grid over what is made small goes.
    """
    plain = file.plain()
    seeds, splits = file.seeds[:2], None if file.splits is None else file.splits[:2]
    blocks = [_smaller_data(block) for block in plain["datasets"]]
    models = [
        {
            **entry,
            "set": _without_small(entry["set"]),
            "grid": {key: values[:2] for key, values in _without_small(entry["grid"]).items()},
            "choose": {key: values[:2] for key, values in entry["choose"].items()},
        }
        for entry in plain["models"]
    ]
    grid = {key: values[:2] for key, values in _without_small(plain["grid"]).items()}
    small = (
        SMALL if not blocks and "dataset.kind" not in plain["set"] else {"training.epochs": SMALL["training.epochs"]}
    )
    changed = {
        "set": {**_without_small(plain["set"]), **small},
        "grid": grid,
        "models": models,
        "datasets": blocks,
        "seeds": seeds,
        "splits": splits,
        "scales": {},
        "scale": SMOKE,
    }
    return StudyFile.model_validate({**plain, **changed})


def _without_small(settings: Raw) -> Raw:
    return {key: value for key, value in settings.items() if key not in SMALL}


def _smaller_data(block: Raw) -> Raw:
    """The data with fewer examples in each part, where the file says how many."""
    sizes = block.get("splits")
    if sizes == PUBLISHED:
        return {**block, "splits": [*FEW_EXAMPLES]}
    if not sizes or sum(sizes) <= sum(FEW_EXAMPLES):
        return block
    return {**block, "splits": [min(pair) for pair in zip(sizes, FEW_EXAMPLES, strict=True)]}
