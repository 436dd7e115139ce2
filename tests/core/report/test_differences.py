import numpy as np
import pandas as pd
import pytest

from caelab.analysis.columns import Column
from caelab.analysis.statistics import comparisons, corrected_difference, paired_difference
from caelab.report.claims import short
from caelab.report.differences import MOST, differences, differences_table, of_one_data_set, ratios
from caelab.report.publish import publish_comparison
from caelab.report.tables import latex_table
from caelab.runs.config import make_config
from caelab.runs.recipes import recipe_config
from caelab.runs.run import dataset_of
from tests.core.invented import MODELS, invented_comparison, invented_rows

NORM = Column(name="mean norm", heading="mean\n‖J‖", better="smaller")
SHARE = Column(name="saturated share", heading="saturated (%)", factor=100, better="larger")
PLAIN = Column(name="bump height")


def config(label, kind="mnist5k", splits=(3000, 500, 1500)):
    block = {"kind": kind, **({"splits": list(splits)} if splits else {})}
    if kind == "given":
        return {"label": label, "dataset": block}
    return {**recipe_config("ae", dataset=block).as_dict(), "label": label}


CONFIGS = [config(model) for model in MODELS]
HALF = dict.fromkeys(MODELS, 0.5)


@pytest.fixture(scope="module")
def rows():
    return invented_rows()


def of(rows, model, column):
    return rows[rows["model"] == model].set_index("seed")[column]


def test_every_number_that_can_be_better_has_every_pair(rows):
    found = differences(rows, [NORM, SHARE, PLAIN], CONFIGS, HALF)
    judged = found["number"].unique().tolist()
    assert judged[:2] == ["mean norm", "saturated share"]
    assert "bump height" not in judged
    assert len(found) == 2 * 21
    pd.testing.assert_frame_equal(found[:21], comparisons(rows, "mean norm", test_to_train=0.5))


def test_models_on_different_data_are_not_compared(rows):
    few = rows[rows["model"].isin(["ae", "cae", "rbm", "dae-g"])]
    configs = [config("ae"), config("cae"), config("rbm", "digits", (100, 50, 25)), config("dae-g", "digits", None)]
    assert [*of_one_data_set(configs)] == [["ae", "cae"], ["rbm"], ["dae-g"]]
    found = differences(few, [NORM], configs, ratios(configs))
    assert found[["first", "second"]].to_numpy().tolist() == [["ae", "cae"]]
    assert found["corrected low"].notna().all()
    (table,) = differences_table(found, few, [NORM])
    assert len(table.rows) == 1


def test_ratios_are_those_of_the_splits_also_where_the_config_leaves_them_open():
    open_sizes = {**recipe_config("ae", dataset={"kind": "digits"}).as_dict(), "label": "open"}
    gone = {**recipe_config("ae", dataset={"kind": "digits"}).as_dict(), "label": "gone"}
    gone["dataset"] = {"kind": "npz:/nowhere.npz"}
    found = ratios([config("a"), config("given", "given"), open_sizes, gone])
    sizes = dataset_of(recipe_config("ae", dataset={"kind": "digits"}))
    assert found == {"a": 0.5, "open": len(sizes.test) / len(sizes.train)}


def test_where_the_test_examples_are_the_datas_own_there_is_no_ratio(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        for what, values in (("images-idx3", rng.integers(256, size=(count, 4, 4))), ("labels-idx1", np.arange(count))):
            head = [0, 0, 8, values.ndim, *(byte for n in values.shape for byte in n.to_bytes(4, "big"))]
            (tmp_path / f"{part}-{what}-ubyte").write_bytes(bytes(head) + (values % 10).astype(np.uint8).tobytes())
    for splits in ([40, 20, 20], [40, 20, 10], None):
        given = config("a", f"idx:{tmp_path}", splits)
        assert len(dataset_of(make_config(given)).inputs) == 80
        assert ratios([given]) == {}


def test_the_table_turns_each_difference_against_the_best(rows):
    found = differences(rows, [NORM, SHARE], CONFIGS, HALF)
    (table,) = differences_table(found, rows, [NORM, SHARE])
    assert len(table.rows) == 2 * 6
    cells = {(row[0].text, row[1].text): [cell.text for cell in row] for row in table.rows}
    ae = cells["mean ‖J‖", "AE"]
    by_hand = paired_difference(of(rows, "ae", "mean norm"), of(rows, "cae", "mean norm"))
    split = corrected_difference(of(rows, "ae", "mean norm"), of(rows, "cae", "mean norm"), 0.5)
    assert ae[2] == "CAE"
    assert ae[3] == f"{short(by_hand.mean)} [{short(by_hand.low)}, {short(by_hand.high)}]"
    assert ae[4] == f"[{short(split.low)}, {short(split.high)}]"
    assert ae[8] == "0 of 3"
    rbm = cells["mean ‖J‖", "RBM"]  # stands behind the best in the order of the models, so that its sign turns
    assert rbm[3].startswith(short(paired_difference(of(rows, "rbm", "mean norm"), of(rows, "cae", "mean norm")).mean))
    best = cells["saturated (%)", "CAE"]
    assert best[2] == "Sparse AE"
    assert best[3].startswith(
        short(100 * (of(rows, "cae", "saturated share") - of(rows, "sparse-ae", "saturated share")).mean())
    )


def test_the_caption_says_what_could_not_be_seen(rows):
    found = differences(rows, [NORM, SHARE], CONFIGS, HALF)
    (table,) = differences_table(found, rows, [NORM, SHARE])
    limit = 100 * found.loc[found["number"] == "saturated share", "smallest difference"].median()
    assert f"{limit:.2g} in saturated (%) cannot be seen here" in table.caption
    assert "With 3 pairs no permutation test can fall below p = 0.25." in table.caption
    assert latex_table(table).isascii()


def test_a_model_that_failed_for_some_seeds_is_told(rows):
    holes = rows.assign(**{"mean norm": rows["mean norm"].where((rows["model"] != "ae") | (rows["seed"] != 1))})
    (table,) = differences_table(differences(holes, [NORM], CONFIGS, HALF), holes, [NORM])
    assert [row[8].text for row in table.rows if row[1].text == "AE"] == ["0 of 2 (1 missing)"]
    gone = rows.assign(**{"mean norm": rows["mean norm"].where(rows["model"] != "ae")})
    (table,) = differences_table(differences(gone, [NORM], CONFIGS, HALF), gone, [NORM])
    assert "AE" not in [row[1].text for row in table.rows]


def test_nothing_to_compare_has_no_table_and_no_file(rows, tmp_path):
    for few in (rows[rows["model"] == "ae"], rows[["model", "seed", "run"]], rows.assign(**{"mean norm": np.nan})):
        found = differences(few[["model", "seed", *few.columns.intersection(["mean norm"])]], [NORM], CONFIGS, HALF)
        assert [*differences_table(found, few, [NORM])] == []
    list(publish_comparison(tmp_path, invented_comparison(rows[["model", "seed", "run"]], tables={})))
    assert not (tmp_path / "statistics.csv").exists()


def test_one_seed_says_only_the_difference():
    rows = invented_rows(seeds=1)
    (table,) = differences_table(differences(rows, [NORM], CONFIGS, HALF), rows, [NORM])
    assert [cell.text for cell in table.rows[0]][4:8] == ["–", "–", "1", "–"]  # one sign, or the other
    assert "cannot be seen" not in table.caption
    assert not any("nan" in cell.text for row in table.rows for cell in row)


def test_a_long_table_is_cut_and_says_so():
    models = {f"m{i}": [float(i)] * 7 for i in range(MOST + 11)}
    rows = invented_rows(models, seeds=2)
    (table,) = differences_table(differences(rows, [NORM], [config(m) for m in models], {}), rows, [NORM])
    assert len(table.rows) == MOST
    assert f"The first {MOST} of {MOST + 10} rows." in table.caption


def test_the_file_lies_beside_the_summary_and_on_the_page(rows, tmp_path):
    list(publish_comparison(tmp_path, invented_comparison(rows, tables={})))
    stored = pd.read_csv(tmp_path / "statistics.csv")
    assert {"number", "first", "second", "t p Holm", "corrected low", "smallest difference"} <= {*stored}
    assert "cannot be seen here" in (tmp_path / "report.html").read_text(encoding="utf-8")
