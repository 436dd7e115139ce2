import numpy as np
import pandas as pd
import pytest
from scipy import stats

from caelab import CaelabError
from caelab.analysis.columns import Column
from caelab.analysis.contract import columns_of, default_analyses
from caelab.report.tables import (
    Cell,
    Table,
    all_tables,
    best_models,
    escaped,
    every_run,
    in_plain_letters,
    latex_table,
    number_text,
    summary_table,
    table_of,
)
from tests.core.invented import MODELS, invented_rows

COLUMNS = columns_of(default_analyses())


def described(*columns):
    """Columns with the numbers that they are of, as a table takes them."""
    return [(column.name, column) for column in columns]


@pytest.fixture(scope="module")
def rows():
    return invented_rows()


def by_hand(rows, model, column):
    values = rows.loc[rows["model"] == model, column]
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return values.mean(), half


def test_summary_has_mean_and_half_width_of_every_column(rows):
    summary = summary_table(rows)
    assert list(summary["model"]) == list(MODELS)
    assert (summary["seeds"] == 3).all()
    for position, model in enumerate(MODELS):
        for column in ("mean norm", "mean squared entry", "fine-tuned error"):
            mean, low, high = summary.loc[position, [f"{column} {part}" for part in ("mean", "low", "high")]]
            found = (mean, (high - low) / 2)
            assert list(found) == pytest.approx(by_hand(rows, model, column))
    assert "run" not in summary
    assert "seed" not in summary


def test_the_split_of_a_run_is_no_number_of_it(rows):
    split = pd.concat([rows.assign(split=each) for each in (0, 1)])
    assert "split" not in summary_table(split)
    assert not [table for table in all_tables(split, COLUMNS) if any("split" in each for each in table.headings)]
    found = every_run(split)
    assert found.headings[:3] == ("model", "split", "seed")
    assert {row[1].value for row in found.rows} == {0, 1}


def test_summary_leaves_out_what_is_missing():
    rows = pd.DataFrame({"model": ["b", "b", "b", "a"], "seed": [0, 1, 2, 0], "x": [1.0, 3.0, np.nan, np.inf]})
    summary = summary_table(rows)
    assert list(summary["model"]) == ["b", "a"]
    assert summary.loc[0, "x mean"] == 2.0
    assert summary.loc[0, "x high"] - summary.loc[0, "x mean"] == pytest.approx(stats.t.ppf(0.975, 1) * 1.0)
    assert summary.loc[1, ["x mean", "x low", "x high"]].isna().all()


def test_columns_of_files_have_plain_ascii_names():
    rows = pd.DataFrame({"model": ["a"], "seed": [0], "‖J‖²": [1.0], "||J||^2": [2.0], "λ of é": [3.0]})
    named = list(in_plain_letters(summary_table(rows)))
    assert "".join(named).isascii()
    assert named == [
        *("model", "seeds", "||J||^2 mean", "||J||^2 low", "||J||^2 high"),
        *("||J||^2 mean 2", "||J||^2 low 2", "||J||^2 high 2", "lambda of e mean", "lambda of e low"),
        "lambda of e high",
    ]


def test_best_are_the_smallest_and_those_not_told_from_it():
    x = {"a": [1.0, 1.1, 0.9], "b": [1.1, 1.0, 1.05], "c": [5.0, 5.2, 4.9], "d": [9.0, np.nan, np.nan]}
    rows = pd.DataFrame(
        [(m, s, v) for m, values in x.items() for s, v in enumerate(values)], columns=["model", "seed", "x"]
    )
    assert stats.ttest_rel(x["b"], x["a"]).pvalue > 0.05
    assert stats.ttest_rel(x["c"], x["a"]).pvalue < 0.05 / 3
    assert best_models(rows, "x") == {"a", "b"}
    assert best_models(rows[rows["seed"] == 0], "x") == {"a"}  # one seed: no test, the smallest alone


def test_a_column_shows_one_number_of_decimals_and_its_power_of_ten(rows):
    table = table_of(
        rows,
        "t",
        "c",
        described(
            Column(name="mean squared entry", heading="entry"),
            Column(name="saturated share", heading="sat (%)", factor=100),
        ),
    )
    assert table.headings == ("model", "entry (×10⁻⁴)", "sat (%)")
    mean, half = by_hand(rows, "cae", "mean squared entry")
    cae = dict(zip(MODELS, table.rows, strict=True))["cae"]
    assert cae[0].text == "CAE"
    places = len(cae[1].text.split(" ± ")[1].split(".")[1])
    assert cae[1].text == f"{mean * 1e4:.{places}f} ± {half * 1e4:.{places}f}"
    assert cae[2].text.startswith(f"{100 * by_hand(rows, 'cae', 'saturated share')[0]:.1f}")
    assert {len(row[1].text.split(" ± ")[0].split(".")[1]) for row in table.rows} == {places}


def test_columns_that_were_not_measured_are_left_out(rows):
    assert table_of(rows[["model", "seed", "run"]], "t", "c", []) is None
    assert all_tables(rows[["model", "seed"]], COLUMNS) == []
    found = table_of(
        rows.assign(x=np.nan), "t", "c", described(Column(name="x"), Column(name="mean norm", heading="n"))
    )
    assert found.headings == ("model", "n")
    assert [table.name for table in all_tables(rows, COLUMNS)] == ["table1", "table2", "table3"]


def test_columns_of_other_analyses_are_shown(rows):
    assert "my_number" in all_tables(rows.assign(my_number=1.0), COLUMNS)[-1].headings


def test_best_is_marked_only_where_small_is_good(rows):
    main = all_tables(rows, COLUMNS)[0]
    marked = {heading: [row[0].text for row in main.rows if row[i].best] for i, heading in enumerate(main.headings)}
    assert marked["mean\n‖J‖"] == ["CAE"]
    assert marked["saturated\n(%)"] == []


def test_the_largest_is_marked_where_large_is_good(rows):
    columns = [Column(name="mean norm", better="larger"), Column(name="saturated share", better="smaller")]
    (table,) = all_tables(rows[["model", "seed", "mean norm", "saturated share"]], columns)
    best = {heading: [row[0].text for row in table.rows if row[i].best] for i, heading in enumerate(table.headings)}
    assert best == {"model": [], "mean norm": ["RBM"], "saturated share": ["AE+wd"]}
    assert "Bold: the best mean" in table.caption


def test_a_column_may_name_a_table_of_its_own_and_its_place_there(rows):
    columns = [Column(name="x", table="My codes, compared"), Column(name="y", table="My codes, compared", order=-1)]
    *_, table = all_tables(rows.assign(x=1.0, y=2.0), [*COLUMNS, *columns])
    assert (table.name, table.headings) == ("table-my-codes-compared", ("model", "y", "x"))
    assert table.caption.startswith("My codes, compared. Mean over seeds")


def test_tables_whose_titles_give_one_name_become_two_files(rows):
    columns = [Column(name="x", table="My codes"), Column(name="y", table="My codes!")]
    names = [table.name for table in all_tables(rows[["model", "seed"]].assign(x=1.0, y=2.0), columns)]
    assert names == ["table-my-codes", "table-my-codes-2"]


def test_a_star_stands_for_the_part_of_a_name_that_differs(rows):
    columns = [Column(name="dimension by *", heading="dimension\nby *", table="main")]
    (table,) = all_tables(
        rows[["model", "seed"]].assign(**{"dimension by gap": 3.0, "dimension by share": 4.0}), columns
    )
    assert table.headings == ("model", "dimension\nby gap", "dimension\nby share")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": ""}, "expected the name of a column as a text"),
        ({"name": "x", "heading": 3}, "expected the heading of a column as a text, but 3 came"),
        ({"name": "x", "better": "higher"}, "but 'higher' came"),
        ({"name": "x", "factor": float("nan")}, "a finite number as the factor of the column 'x', but nan came"),
        ({"name": "x", "tune": True}, "does not say what is better"),
        ({"name": "x *", "tune": True, "better": "smaller"}, "stands for several numbers"),
        ({"name": "* x *"}, "at most one star"),
    ],
)
def test_a_wrong_column_is_refused(wrong, message):
    with pytest.raises(CaelabError, match=message):
        Column(**wrong)


def test_one_seed_has_no_half_width():
    table = all_tables(invented_rows(seeds=1), COLUMNS)[0]
    assert not any("±" in cell.text or "nan" in cell.text for row in table.rows for cell in row)


def test_numbers_read_well():
    assert number_text(-0.5, 0.01, 2) == "−0.50 ± 0.01"
    assert number_text(np.nan, np.nan, 2) == "–"


def test_every_run_has_a_row(rows):
    table = every_run(rows)
    assert len(table.rows) == len(rows)
    assert table.rows[0][1].text == "0"
    assert table.headings[:2] == ("model", "seed")


def test_latex_is_booktabs_with_the_best_in_bold():
    cells = ((Cell("CAE λ=0.3"), Cell("3.90 ± 0.12", best=True)), (Cell("my_model"), Cell("–")))
    text = latex_table(Table("table9", "A 95 % caption", ("model", "mean squared\n‖J‖² & x (×10⁻⁴)"), cells))
    assert [line for line in text.splitlines() if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert r"CAE $\lambda$=0.3 & \textbf{3.90 $\pm$ 0.12} \\" in text
    assert r"my\_model & -- \\" in text
    assert r"\shortstack[r]{mean squared\\$\|J\|^{2}$ \& x ($\times$10$^{-4}$)}" in text
    assert r"\caption{A 95 \% caption}" in text
    assert r"\label{tab:table9}" in text
    assert r"\begin{tabular}{lr}" in text


def test_latex_of_everything_is_ascii_with_balanced_mathematics(rows):
    for table in all_tables(rows.replace({"model": {"ae": "cae contractive.weight=0.3"}}), COLUMNS):
        text = latex_table(table)
        assert text.isascii(), [character for character in text if not character.isascii()]
        assert text.count("{") == text.count("}")
        assert text.count("$") % 2 == 0


def test_escaping_covers_every_special_character():
    assert escaped("%&_#${}~^\\") == (r"\%\&\_\#\$\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}")
