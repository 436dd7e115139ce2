"""The folder of a classifier: writing it, and reading it back.

A classifier's folder::

    classifier.json         options, the run's config, what was found, and the SHA-256 of all, its own content included
    classifier.safetensors  the model whose encoder it uses, and the arrays that its rule is made of
    history.parquet         the metrics of every epoch, or of every candidate
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from caelab.classifiers.examples import examples_of
from caelab.classifiers.methods import RULE, Fitted, History, Task, method_of
from caelab.classifiers.network import copied_model
from caelab.classifiers.options import Options, checked
from caelab.classifiers.planes import digest_of
from caelab.data.given import split_hash
from caelab.errors import CaelabError, DamagedFile, StorageError
from caelab.models.identity import check_parameters, structure_of
from caelab.process.torch_settings import pinned_settings
from caelab.runs.config import GIVEN, hash_of, make_config
from caelab.runs.places import near
from caelab.runs.run import Run, build_model, dataset_of, of_type
from caelab.storage.checksums import FILES, check_file, checksum, sealed, unsealed
from caelab.storage.files import (
    PARTIAL,
    aside,
    parquet_bytes,
    publish,
    storage_error,
    told_as_storage,
    write_bytes,
    write_text,
)

RECORD, TENSORS, HISTORY = "classifier.json", "classifier.safetensors", "history.parquet"
MODEL = "model/"


def identity_of(run: Run) -> dict[str, Any]:
    """What of a run determines the classifiers that are made from it: config, data, and weights.

    Raises:
        Unnameable: its encoder came from elsewhere, and cannot be told from another.
    """
    weights: dict[str, Tensor] = getattr(run.model, "state_dict", dict)()
    elsewhere = "encoder" in run.record or not weights  # of such an encoder the config says nothing
    return {
        "config": run.config.as_dict(),
        "data_hash": run.dataset.content_hash,
        "split_hash": split_hash(run.dataset),
        "weights": digest_of(weights),
        "encoder": structure_of(run.model) if elsewhere else "",
    }


def name_of(run: Run, options: Options) -> str:
    """LABEL-METHOD-HASH, the hash following all that determines a classifier; the label of the run is only a name."""
    identity = identity_of(run)
    config = {key: value for key, value in identity["config"].items() if key != "label"}
    whole = {**identity, "config": config, "options": options.model_dump(mode="json")}
    return f"{run.label}-{options.method}-{hash_of(whole, run.dataset.content_hash, run.config.fingerprints())}"


def write_folder(folder: Path, run: Run, options: Options, record: Mapping[str, Any], fitted: Fitted) -> None:
    """Write all files aside, and then give the folder its name; what was stored meanwhile goes.

    Raises:
        StorageError: a file cannot be written.
    """
    from safetensors.torch import save

    place = aside(folder) / "classifier"
    with told_as_storage(folder):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)
    contents = {TENSORS: save(_tensors(fitted)), HISTORY: parquet_bytes(pd.DataFrame(fitted.history))}
    for name, content in contents.items():
        write_bytes(place / name, content)
    facts = {
        "options": options.model_dump(mode="json"),
        "run": {**identity_of(run), "path": str(run.path or "")},
        "record": dict(record),
        FILES: {name: checksum(content) for name, content in contents.items()},
    }
    write_text(place / RECORD, sealed(facts))
    publish(place, folder)
    shutil.rmtree(aside(folder), ignore_errors=True)


def _tensors(fitted: Fitted) -> dict[str, Tensor]:
    """Those of the model and those of the rule, none of which shares its memory with another."""
    weights: dict[str, Tensor] = getattr(fitted.model, "state_dict", dict)()
    named = {f"{MODEL}{name}": value for name, value in weights.items()}
    named |= {f"{RULE}{name}": value for name, value in fitted.tensors.items()}
    return {name: value.detach().contiguous().clone() for name, value in named.items()}


@dataclass(frozen=True)
class Stored:
    """What a classifier's folder holds.

    Attributes:
        run: that it started from, as far as its config makes it again.
        options: of its method.
        classes: the labels that it tells apart.
        fitted: its rule and its history.
        record: what was found.
    """

    run: Run
    options: Options
    classes: Tensor
    fitted: Fitted
    record: Mapping[str, Any]


def read_folder(folder: Path, run: Run | None) -> Stored:
    """What a folder holds, once it is sure that it is what was written.

    Args:
        folder: of the classifier.
        run: that it started from, where its config does not make it again.

    Raises:
        CaelabError: the folder is no classifier, is not finished or damaged, or it was made from another run.
    """
    facts = _facts(folder)
    try:
        options = checked(facts["options"]["method"], {k: v for k, v in facts["options"].items() if k != "method"})
        tensors, history = _contents(folder, facts[FILES])
        with pinned_settings():
            run = _run_of(folder, facts["run"]) if run is None else _same(folder, facts["run"], run)
            return _made_again(folder, run, options, tensors, history, facts["record"])
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, RECORD, error) from error


def _made_again(
    folder: Path, run: Run, options: Options, tensors: Mapping[str, Tensor], history: History, record: Any
) -> Stored:
    model = copied_model(run)
    weights, own = (
        {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}
        for part in (MODEL, RULE)
    )
    if weights:
        check_parameters(model, weights, f"the classifier {folder}")
        model.load_state_dict(weights)
    task = Task(run, options, examples_of(run.dataset, options.labels), out=folder.parent)
    rule = method_of(options).restore(task, model.eval(), own)
    return Stored(run, options, task.examples.classes, Fitted(model, rule, own, history), record)


def is_classifier(folder: Path) -> bool:
    """Whether an entry of a folder of classifiers is one of them, be it not finished, or their tangents."""
    kept = folder.name.startswith((PARTIAL, "tangents-"))
    return kept or (folder / RECORD).is_file()


def _run_of(folder: Path, said: Mapping[str, Any]) -> Run:
    """The run as far as a config makes it again: its model has the classifier's weights, and no history.

    Raises:
        CaelabError: its model or its data were given as objects, or the run of the layer below is not there.
    """
    config = make_config(said["config"])
    if GIVEN in (config.model.kind, config.dataset.kind):
        raise _given_as_object(folder)
    with near(Path(said["path"]).parent if said.get("path") else None):
        dataset = dataset_of(config)
    if dataset.content_hash != said["data_hash"] or split_hash(dataset) != said["split_hash"]:
        raise CaelabError(
            f"the data of the classifier {folder} have changed, or are split otherwise now; restore them, or give the "
            "run that it started from"
        )
    model = build_model(config, dataset).eval()
    if said["encoder"] not in ("", structure_of(model)):  # it came from elsewhere, and its config says nothing of it
        raise _given_as_object(folder)
    return Run(config, model, of_type(model, dataset), [], {"data_hash": dataset.content_hash})


def _given_as_object(folder: Path) -> CaelabError:
    return CaelabError(
        f"the classifier {folder} started from a run whose model or data were given as objects; give that run again, "
        "as in: caelab.load_classifier(path, run=run)"
    )


def _same(folder: Path, said: Mapping[str, Any], run: Run) -> Run:
    """The run that was given, if it is the one that a classifier started from.

    Raises:
        CaelabError: it is another one.
    """
    now = identity_of(run)
    for what, key in (
        ("data", "data_hash"),
        ("split of its data", "split_hash"),
        ("weights", "weights"),
        ("encoder", "encoder"),
    ):
        if now[key] != said[key]:
            whence = f", {said['path']}" if said.get("path") else ""
            raise CaelabError(
                f"the classifier {folder} was made from another run: the {what} of this one differ; give the run that "
                f"it was made from{whence}"
            )
    return run


def _facts(folder: Path) -> dict[str, Any]:
    """The content of ``classifier.json``.

    Raises:
        CaelabError: the folder is no classifier, or its record was changed after it was written.
        StorageError: it cannot be read.
    """
    if folder.name.startswith(PARTIAL):
        raise CaelabError(
            f"the classifier {folder} is not finished; the command that was interrupted goes on with it: give it again"
        )
    try:
        facts = unsealed((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        if (folder / TENSORS).exists():
            raise _damaged(folder, RECORD, error) from error
        raise CaelabError(
            f"{folder} is not a classifier: expected a folder with {RECORD}, as caelab finetune makes"
        ) from error
    except OSError as error:
        raise storage_error(error, folder / RECORD, "read") from error
    except (ValueError, DamagedFile) as error:
        raise _damaged(folder, RECORD, error) from error
    if FILES not in facts:
        raise _damaged(folder, RECORD, DamagedFile("it has no checksums"))
    return facts


def _contents(folder: Path, sums: Mapping[str, str]) -> tuple[dict[str, Tensor], History]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    for name in (TENSORS, HISTORY):
        try:
            check_file(folder / name, sums[name])
        except (FileNotFoundError, DamagedFile) as error:
            raise _damaged(folder, name, error) from error
    try:
        tensors = load((folder / TENSORS).read_bytes())
        history: Any = pd.read_parquet(BytesIO((folder / HISTORY).read_bytes())).to_dict("records")
    except StorageError:
        raise
    except (OSError, ValueError, SafetensorError) as error:
        raise _damaged(folder, TENSORS, error) from error
    return tensors, history


def _damaged(folder: Path, name: str, error: Exception) -> CaelabError:
    return CaelabError(
        f"the classifier {folder} is damaged ({name}: {' '.join(str(error).split())}); delete {folder} to make it again"
    )
