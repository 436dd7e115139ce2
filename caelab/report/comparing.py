"""A comparison asked for in Python: models trained, measured and judged by one call, as ``caelab compare`` does."""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from caelab.analysis.contract import default_analyses, load_analysis, options_of
from caelab.data.given_tables import is_of_huggingface
from caelab.data.kept import keep
from caelab.data.scaling_options import scaling_in
from caelab.errors import CaelabError, shown
from caelab.progress import checked
from caelab.registry.arguments import by_label, count_of, path_of, rows_of, texts_of
from caelab.registry.catalogue import catalogue, installed_providers
from caelab.report.comparison import Comparison, load_comparison
from caelab.report.studies import Undertaking, Watch, carry_out_study, open_study_folder, watching
from caelab.runs.config import GIVEN, RunConfig, make_config
from caelab.runs.in_keywords import in_keywords, keywords_in
from caelab.runs.keywords import key_of, with_keywords
from caelab.runs.recipes import default_recipes
from caelab.study.executors import usable_cores
from caelab.study.specification import StudyFile, study_file
from caelab.study.study import RunsFailed, checked_seeds
from caelab.training.asked import as_config

log = logging.getLogger(__name__)

PARTS = 3  # of the data: to train, to validate, to test
KEPT = "given"  # the folder, in that of a comparison, of data that were given as objects


def compare(
    models: Any = None,
    /,
    *,
    seeds: Any = 3,
    dataset: Any = None,
    splits: Sequence[int] | None = None,
    analyses: Any = None,
    claims: Sequence[str] | None = None,
    out: Any = None,
    executor: str | None = None,
    workers: int | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> Comparison:
    """Train models from several seeds, measure each run, and compare them paired by the seed.

    All models of one seed have the same splits and the same initial weights. What is there already is not trained
    again. ``caelab compare`` does the same, and writes the same folder.

    Args:
        models: a list of names of recipes, of configs (``caelab.recipe("cae", weight=0.3)``) and of YAML files; by
            default the recipes that ``caelab compare`` takes.
        seeds: how many, counted from 0, or a list of them.
        dataset: data for all models: the name of a data set, or ``{"kind": ..., ...}``; an array, a tensor or a table
            of inputs, a pair (inputs, labels), a ``DataLoader``, or a :class:`caelab.Dataset`, which keeps its splits.
            Without it each config has its own.
        splits: how many examples train, validate and test.
        analyses: names, or options by name; by default those that ``caelab compare`` takes.
        claims: names of the claims to judge; by default all that can be.
        out: the folder to write; without it a temporary one, which goes with the comparison.
        executor: ``"processes"``, ``"serial"``, or another that ``caelab plugins`` lists. By default processes, unless
            something was registered in this session, which other processes do not know.
        workers: how many runs at once; by default as many as there are cores.
        progress: whether progress over the runs is shown; None shows it in a notebook and on a terminal.
        settings: keywords of every model that has the key, as ``caelab.recipe`` takes them (``epochs=20``).

    Returns:
        The comparison: its tables, findings, tests, figures and report.

    Raises:
        CaelabError: an unknown name, data that are none, two models of one label, or none of the runs worked. Where
            only some failed, a warning names them, and ``problems`` holds the reasons.
    """
    watch = watching(lambda _: None, checked(progress))
    given = _is_given(dataset)
    with in_keywords():
        configs = _configs(models, _block(dataset, splits, given), settings)
        chosen = _analyses(analyses)
    how = _how(executor, workers, configs, chosen)

    def carried_out(folder: Path) -> Comparison:
        over = _kept(dataset, folder, splits) if given else {}
        return _carried_out(_file(configs, over, seeds, chosen, claims, folder), folder, how, watch)

    with in_keywords():
        return _in_temporary(carried_out) if out is None else carried_out(path_of(out, "the folder out").expanduser())


def _in_temporary(make: Callable[[Path], Comparison]) -> Comparison:
    """A comparison in a temporary folder, which goes when nothing refers to the comparison any more."""
    folder = Path(tempfile.mkdtemp(prefix="caelab-comparison-"))
    try:
        made = make(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(made, shutil.rmtree, folder, ignore_errors=True)
    return made


def _carried_out(file: StudyFile, folder: Path, how: Mapping[str, Any], watch: Watch) -> Comparison:
    asked = Undertaking(file, "", folder, command="caelab.compare", how=how, watch=watch)
    try:
        for line in carry_out_study(asked):
            log.info("%s", line)
    except RunsFailed as error:
        warnings.warn(keywords_in(str(error)), stacklevel=4)
    return load_comparison(folder)


def _configs(models: Any, block: Mapping[str, Any], settings: Mapping[str, Any]) -> list[RunConfig]:
    """The config of each model on the data for all of them, after the keywords that are for all of them.

    Raises:
        CaelabError: as ``caelab.recipe``, or a keyword that no model has.
    """
    if isinstance(models, RunConfig):
        models = [models]
    if isinstance(models, Mapping):
        raise CaelabError("expected models as a list, as in ['ae', 'cae'], but a dictionary came; put it into a list")
    if "label" in settings:
        raise CaelabError("a label is of one model; give it to a recipe, as in caelab.recipe('ae', label='mine')")
    named = [as_config(each) for each in (default_recipes() if models is None else rows_of(models, "models"))]
    if not named:
        raise CaelabError("a comparison has at least one model, but none came; name recipes, as in ['ae', 'cae']")
    found = [_on(config, block) for config in named]
    missing: dict[str, CaelabError] = {}
    configs = [_with(config, settings, missing) for config in found]
    for keyword, error in missing.items():
        if not any(_has(config, keyword) for config in found):
            raise error
    return configs


def _on(config: RunConfig, block: Mapping[str, Any]) -> RunConfig:
    """A config on the data for all models, or on its own."""
    if not block and config.dataset.kind == GIVEN:
        raise CaelabError(
            f"the data of {config.label!r} were given as an object; give them to compare too, as in dataset=(X, y)"
        )
    whole = config.dataset.model_dump(mode="json")
    own = scaling_in(whole) if "kind" in block else whole  # other data are scaled as the config says, too
    return make_config({**config.as_dict(), "dataset": {**own, **block}}) if block else config


def _with(config: RunConfig, settings: Mapping[str, Any], missing: dict[str, CaelabError]) -> RunConfig:
    own = {keyword: value for keyword, value in settings.items() if _has(config, keyword, missing)}
    return with_keywords(config, own)[0]


def _has(config: RunConfig, keyword: str, missing: dict[str, CaelabError] | None = None) -> bool:
    """Whether a config has the key of a keyword; a regularizer that it does not have is not added by one for all."""
    try:
        first = key_of(config, keyword).partition(".")[0]
    except CaelabError as error:
        if missing is not None:
            missing.setdefault(keyword, error)
        return False
    known = first in RunConfig.model_fields or first in config.regularizers
    if not known and missing is not None:
        text = f"no model of this comparison has the setting {keyword!r}; give it to a recipe, as in caelab.recipe(...)"
        missing.setdefault(keyword, CaelabError(text))
    return known


def _is_given(dataset: Any) -> bool:
    """Whether data are an object, and not named."""
    named = isinstance(dataset, str | Path | Mapping) and not is_of_huggingface(dataset)
    return dataset is not None and not named


def _block(dataset: Any, splits: Any, given: bool) -> dict[str, Any]:
    """What the data for all models say in a config; of an object, before it is kept, in place of where it will lie."""
    parts = splits if splits is None or isinstance(splits, str) else rows_of(splits, "splits")
    if isinstance(parts, list) and len(parts) != PARTS:
        raise CaelabError(
            f"expected splits as three whole numbers of at least 1 (train, valid, test), but {shown(splits)} came"
        )
    sizes = {} if parts is None else {"splits": parts}
    if given:
        return {"kind": "arrays", "path": KEPT, **sizes}
    named = {} if dataset is None else dict(dataset) if isinstance(dataset, Mapping) else {"kind": str(dataset)}
    return {**named, **sizes}


def _kept(dataset: Any, folder: Path, splits: Any) -> dict[str, Any]:
    """Where the data that were given lie, as a config says it."""
    open_study_folder(folder)
    return {"path": keep(dataset, folder / KEPT, splits)["path"]}


def _analyses(given: Any) -> dict[str, Any]:
    """Options by name of the analyses, each of which can be used.

    Raises:
        CaelabError: one is unknown, or has no such option.
    """
    found = by_label(given, "analyses", names=True) or {name: {} for name in default_analyses()}
    for name, options in found.items():
        options_of(name, load_analysis(name), options)
    return found


def _file(
    configs: Sequence[RunConfig],
    over: Mapping[str, Any],
    seeds: Any,
    analyses: Mapping[str, Any],
    claims: Sequence[str] | None,
    folder: Path,
) -> StudyFile:
    """The study that the arguments describe."""
    plain = [config.as_dict() for config in configs]
    plain = [{**each, "dataset": {**each["dataset"], **over}} for each in plain]
    if len({str({**each["dataset"], "split_seed": None}) for each in plain}) > 1:
        raise CaelabError(
            "the models have different data, so that no two runs are paired; give one dataset= for all, or carry out "
            "a study with caelab.run_study"
        )
    return study_file(
        {
            "study": "comparison",
            "models": [{"config": each, "label": each["label"]} for each in plain],
            "seeds": checked_seeds(seeds),
            "analyses": dict(analyses),
            "claims": None if claims is None else texts_of(claims, "claims"),
            "out": str(folder),
        }
    )


def _how(
    executor: str | None, workers: int | None, configs: Sequence[RunConfig], analyses: Mapping[str, Any]
) -> dict[str, Any]:
    """Where the runs are computed: in this process where others could not know what is used."""
    count = usable_cores() if workers is None else count_of(workers, "workers")
    used = [*(pair for config in configs for pair in config.in_use()), *(("analysis", name) for name in analyses)]
    chosen = executor or ("serial" if any(map(_of_this_session, used)) else "processes")
    return {"executor": chosen, "workers": 1 if chosen == "serial" else count, "options": {}}


def _of_this_session(pair: tuple[str, str]) -> bool:
    offer = catalogue().offers.get(pair)
    known = {*installed_providers(), *map(str, catalogue().files)}
    return offer is not None and offer.provider not in known
