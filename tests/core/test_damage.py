"""Every file of a finished comparison, damaged in ten ways: measured again, written again, or refused by name."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from caelab import CaelabError, Study, load_run, recipe_config
from caelab.analysis.base import analyse
from caelab.registry.catalogue import Offer, catalogue
from caelab.report.publish import publish_comparison
from caelab.report.store import MANIFEST, collect, load_comparison
from caelab.storage.checksums import FILES, unsealed
from caelab.storage.folders import open_folder


def measure(run, streams):
    return pd.DataFrame({"code": run.encode(run.dataset.valid_inputs).mean(dim=0).numpy()})


def draw(table):
    return Figure(figsize=(1, 1))


def folder_instead(path):
    path.unlink()
    path.mkdir()


def flipped(place):
    def flip(path):
        content = bytearray(path.read_bytes())
        content[int(place * (len(content) - 1))] ^= 4
        path.write_bytes(content)

    return flip


def foreign_table(path):
    pd.DataFrame({"other": [1.0, 2.0]}).to_parquet(path)


DAMAGES = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "first bit": flipped(0),
    "middle bit": flipped(0.5),
    "last bit": flipped(1),
    "foreign text": lambda path: path.write_text("[1, 2]", encoding="utf-8"),
    "foreign table": foreign_table,
    "folder": folder_instead,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small comparison, complete, and the text of what a reader finds in it."""
    with pytest.MonkeyPatch.context() as patch:
        thing = SimpleNamespace(measure=measure, draw=draw, summarise=lambda table: {"code": table["code"].sum()})
        patch.setattr(catalogue(), "offers", dict(catalogue().offers) | {("analysis", "one"): offer(thing)})
        data = tmp_path_factory.mktemp("data") / "x.npz"
        rng = np.random.default_rng(0)
        np.savez(data, x=rng.random((40, 5)).astype("float32"))
        config = recipe_config(
            "ae",
            ["training.epochs=1", "model.hidden=[3]"],
            dataset={"kind": f"npz:{data}", "splits": [20, 10, 10]},
        )
        out = tmp_path_factory.mktemp("finished") / "out"
        open_folder(out, MANIFEST)
        study = Study([config], [0], {"one": {}}, out / "runs")
        tuning = pd.DataFrame({"model": ["ae"], "setting": ["x=1"], "validation error": [2.5], "choice": ["chosen"]})
        list(publish_comparison(out, collect("caelab compare", [config], [0], study.run(executor="serial"), tuning)))
        yield out


def offer(thing):
    return Offer("analysis", "one", "test", thing)


def files_of(folder, *patterns):
    return sorted(p.relative_to(folder).as_posix() for each in patterns for p in folder.glob(each) if p.is_file())


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_of_a_run_is_refused_by_name(damage, finished, tmp_path):
    names = files_of(finished, "runs/*/run.json", "runs/*/weights.safetensors", "runs/*/history.parquet")
    assert len(names) == 3
    for name in names:
        folder = shutil.copytree(finished, tmp_path / name.rpartition("/")[2])
        DAMAGES[damage](folder / name)
        run = (folder / name).parent
        with pytest.raises(CaelabError, match=f"the run {run} is damaged \\({name.rpartition('/')[2]}: ") as told:
            load_run(run)
        assert str(told.value).endswith(f"delete {run} to train it again")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_table_of_a_run_is_measured_again(damage, finished, tmp_path, caplog):
    names = files_of(finished, "runs/*/tables/*")
    assert sorted(name.rpartition(".")[2] for name in names) == ["parquet", "sha256"]
    for name in names:
        folder = shutil.copytree(finished, tmp_path / name.rpartition(".")[2])
        run = load_run((folder / name).parent.parent)
        right = measure(run, None)
        DAMAGES[damage](folder / name)
        for _ in range(2):
            found = analyse(run, "one")
            np.testing.assert_array_equal(found["code"].to_numpy(), right["code"].to_numpy())
        assert (folder / name).is_file()
        assert (folder / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_a_comparison_is_made_from_is_refused_by_name(damage, finished, tmp_path):
    names = files_of(finished, "comparison.json", "data/*.parquet", "tuning.csv")
    assert len(names) == 4
    for name in names:
        folder = shutil.copytree(finished, tmp_path / name.replace("/", "-"))
        DAMAGES[damage](folder / name)
        for read in (load_comparison, lambda folder: list(publish_comparison(folder))):
            with pytest.raises(CaelabError, match=f"holds no finished comparison: {name} is (damaged|missing)"):
                read(folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_made_from_it_is_written_again(damage, finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "out")
    names = files_of(finished, "*.csv", "figures/*", "tables/*", "report.html")
    names.remove("tuning.csv")
    assert len(names) >= 5
    for name in names:
        DAMAGES[damage](folder / name)
    list(publish_comparison(folder))
    for name in names:
        assert (folder / name).read_bytes() == (finished / name).read_bytes(), name


RECORDS = {
    "a list": [],
    "nothing": {},
    "analyses that are no list": {"analyses": 5},
    "an analysis that lies elsewhere": {"analyses": ["../../x"]},
    "markup": {"analyses": ["<script>"]},
    "seeds that are no numbers": {"seeds": ["a"]},
    "problems of another shape": {"problems": [1]},
    "configs that are no mappings": {"configs": [[]]},
}


@pytest.mark.parametrize("what", RECORDS)
def test_a_record_from_before_there_were_checksums_is_looked_at_all_the_same(what, finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "out")
    old = unsealed((folder / "comparison.json").read_text(encoding="utf-8"))
    del old[FILES]
    (folder / "comparison.json").write_text(json.dumps(old), encoding="utf-8")
    assert load_comparison(folder).rows.equals(load_comparison(finished).rows)
    changed = RECORDS[what]
    wrong = old | changed if isinstance(changed, dict) and changed else changed
    (folder / "comparison.json").write_text(json.dumps(wrong), encoding="utf-8")
    with pytest.raises(CaelabError, match="holds no finished comparison: "):
        load_comparison(folder)
