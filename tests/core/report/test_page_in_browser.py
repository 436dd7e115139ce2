"""The report page in a real browser: it sorts, filters, draws, opens runs, and does nothing else."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from pandas.testing import assert_frame_equal

from caelab.analysis.plotting import display_name
from caelab.registry.catalogue import Offer, catalogue
from caelab.report.publish import publish_comparison
from caelab.report.store import MANIFEST
from caelab.report.tables import summary_table
from caelab.runs.config import make_config
from caelab.runs.recipes import recipe_config
from caelab.storage.folders import open_folder
from tests.core.invented import a_problem, analysis, dots, invented_comparison, invented_rows
from tests.core.report.browsing import Watched, chromium

ROWS = invented_rows()
HISTORY = pd.DataFrame({"epoch": [1, 2, 3], "train_reconstruction": [90.5, 70.25, 60.125], "norm": [3.0, 2.0, 1.5]})
RADII = [0.5, 1.0, 2.0, 4.0]
ATTACK = """<img src=x onerror="alert('x')">"""
WORST = f"</script><script>alert(1)</script>{ATTACK} & \u2028 \\\"';--"


def curve(rows):
    """Four radii in two directions for every run."""
    chance = np.random.default_rng(1)
    found = [
        {"model": model, "seed": seed, "direction": direction, "radius": radius, "ratio": chance.random()}
        for model, seed in rows[["model", "seed"]].to_numpy()
        for direction in ("random", "data")
        for radius in RADII
    ]
    return pd.DataFrame(found)


def preview(table):
    return np.array([[0.0, 1.0], [1.0, table["ratio"].iloc[0] / 2]])


def with_preview(name):
    found = analysis(name, dots_of("ratio"))
    found.preview = preview
    return found


def dots_of(column):
    return lambda table: dots(table.rename(columns={column: "mean norm"}))


@pytest.fixture(autouse=True, scope="module")
def own_analyses():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue(), "offers", dict(catalogue().offers))
        for name, found in (("dots", analysis("dots", dots)), ("curve", with_preview("curve"))):
            catalogue().offers["analysis", name] = Offer("analysis", name, "test", found)
        yield


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def publish(folder, comparison):
    open_folder(folder, MANIFEST)
    for name in comparison.rows["run"]:
        place = folder / "runs" / name
        place.mkdir(parents=True)
        facts = {"config": recipe_config("cae").as_dict(), "record": {"seconds": 2.5, "versions": {"torch": "2.9"}}}
        (place / "run.json").write_text(json.dumps(facts), encoding="utf-8")
        HISTORY.to_parquet(place / "history.parquet")
    assert list(publish_comparison(folder, comparison))
    return (folder / "report.html").as_uri()


TABLES = {"dots": ROWS[["model", "seed", "mean norm", "effective rank"]], "curve": curve(ROWS)}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    comparison = invented_comparison(ROWS, TABLES, [a_problem("dots", "cae", "it fails")])
    return publish(tmp_path_factory.mktemp("page") / "out", comparison)


@pytest.fixture
def opened(browser, address):
    """Open the page: ``opened(width=400, color_scheme="dark")``; at the end it has done nothing that it should not."""
    pages = []

    def open_page(where=address, **options):
        pages.append(Watched(browser, where, **options))
        return pages[-1]

    yield open_page
    for each in pages:
        each.refuse_mischief()
        each.context.close()


def column(page, table, place):
    """The first cells and those of one column, of the rows that are shown."""
    rows = page.locator(f"table[data-name={table}] tbody tr:visible")
    return rows.evaluate_all("(rows, place) => rows.map(r => [r.cells[0].innerText, r.cells[place].innerText])", place)


def heading(page, table, text):
    return page.locator(f"table[data-name={table}] thead th", has_text=text).first


class TestTables:
    def test_sort_by_the_true_number_by_click_and_by_key(self, opened):
        page = opened().page
        sorting = heading(page, "table1", "mean\n‖J‖")
        place = page.locator("table[data-name=table1] thead th").evaluate_all(
            "(all, one) => all.indexOf(one)", sorting.element_handle()
        )
        before = column(page, "table1", place)
        means = summary_table(ROWS).set_index("model")["mean norm mean"]
        names = {"AE": "ae", "AE+wd": "ae-wd", "DAE-g": "dae-g", "DAE-b": "dae-b", "Sparse AE": "sparse-ae",
                 "CAE": "cae", "RBM": "rbm"}  # fmt: skip
        assert sorting.get_attribute("aria-sort") == "none"
        sorting.locator("button").click()
        assert sorting.get_attribute("aria-sort") == "ascending"
        shown = column(page, "table1", place)
        assert [names[name] for name, _ in shown] == list(means.sort_values().index)
        texts = [text for _, text in shown]
        assert texts != sorted(texts)  # "11.0" is no smaller than "3.9"
        sorting.locator("button").press("Enter")
        assert sorting.get_attribute("aria-sort") == "descending"
        assert column(page, "table1", place) == shown[::-1]
        sorting.locator("button").press("Space")
        assert sorting.get_attribute("aria-sort") == "none"
        assert column(page, "table1", place) == before

    def test_what_has_no_number_stands_last_either_way(self, opened):
        page = opened().page
        page.locator("summary", has_text="Every run's numbers").click()
        sorting = heading(page, "runs", "bump radius")
        place = list(ROWS.select_dtypes("number")).index("bump radius") + 1
        for _ in range(2):
            sorting.locator("button").click()
            shown = [text for _, text in column(page, "runs", place)]
            assert set(shown[:3]) == {"20"}
            assert set(shown[3:]) == {"–"}

    def test_filter_by_all_words(self, opened):
        page = opened().page
        page.locator("summary", has_text="Every run's numbers").click()
        tools = page.locator("details", has=page.locator("table[data-name=runs]")).locator(".tools")
        tools.get_by_role("searchbox").fill("dae")
        assert [name for name, _ in column(page, "runs", 1)] == ["DAE-g"] * 3 + ["DAE-b"] * 3
        assert tools.get_by_role("status").inner_text() == "6 of 21 rows"
        tools.get_by_role("searchbox").fill("  DAE-B ")
        assert len(column(page, "runs", 1)) == 3
        tools.get_by_role("searchbox").fill("")
        assert len(column(page, "runs", 1)) == 21

    def test_csv_has_the_numbers_of_the_runs_with_all_digits(self, opened):
        watched = opened()
        page = watched.page
        page.locator("summary", has_text="Every run's numbers").click()
        tools = page.locator("details", has=page.locator("table[data-name=runs]")).locator(".tools")
        read = pd.read_csv(watched.download(tools.get_by_role("button", name="CSV")))
        numbers = list(ROWS.select_dtypes("number"))
        assert_frame_equal(read[numbers].replace("–", np.nan).astype(float), ROWS[numbers].astype(float))


def points(details, trace):
    return details.locator(".chart").evaluate(
        "(chart, name) => { const t = chart.data.find(each => each.name === name); return [t.x, t.y] }", trace
    )


def status(details):
    return details.locator("p[role=status]").inner_text()


@pytest.fixture(scope="class")
def charts(browser, address):
    """One page with the charts of both tables open, for tests that say themselves what they want drawn."""
    watched = Watched(browser, address)
    found = {name: watched.open_chart(name) for name in ("curve", "dots")}
    yield watched, found
    watched.refuse_mischief()
    watched.context.close()


def test_nothing_is_unpacked_before_a_chart_is_opened(opened):
    page = opened().page
    assert page.evaluate("typeof Plotly") == "undefined"
    assert page.locator(".chart").count() == 0


def choose(details, **chosen):
    for label, value in chosen.items():
        details.get_by_label(label, exact=True).select_option(value)


def loneliest(table, *columns):
    """The row that is farthest from all others, so that a pointer cannot mean another."""
    points = table[[*columns]].to_numpy()
    apart = np.linalg.norm((points[:, None] - points) / np.ptp(points, axis=0), axis=2)
    np.fill_diagonal(apart, np.inf)
    return table.iloc[int(apart.min(axis=1).argmax())]


class TestCharts:
    def test_at_first_lines_are_the_means_of_the_table(self, charts):
        details = charts[1]["curve"]
        table = TABLES["curve"]
        of_model = table[(table["model"] == "cae") & (table["direction"] == "random")]
        x, y = points(details, "CAE")
        assert x == RADII
        assert y == pytest.approx(of_model.groupby("radius")["ratio"].mean().to_list(), rel=1e-12)
        assert status(details) == "84 of 168 rows"

    def test_selectors_are_the_tables_columns(self, charts):
        details = charts[1]["curve"]
        labels = details.locator(".tools select").evaluate_all("all => all.map(each => each.ariaLabel)")
        assert labels == ["x", "y", "colour", "draw", "seed", "direction"]
        choose(details, direction="data", seed="2", draw="line", colour="model")
        table = TABLES["curve"]
        of_run = table[(table["model"] == "rbm") & (table["direction"] == "data") & (table["seed"] == 2)]
        assert points(details, "RBM") == [RADII, pytest.approx(of_run["ratio"].to_list(), rel=1e-15)]
        assert status(details) == "28 of 168 rows"

    def test_other_columns_colours_and_kinds(self, charts):
        details = charts[1]["curve"]
        choose(details, x="radius", colour="direction", direction="", seed="", draw="points")
        x, y = points(details, "data")
        expected = TABLES["curve"][TABLES["curve"]["direction"] == "data"]
        assert (x, y) == (expected["radius"].to_list(), expected["ratio"].to_list())
        details.get_by_label("log x").check()
        assert details.locator(".chart").evaluate("chart => chart.layout.xaxis.type") == "log"
        choose(details, x="model", draw="box")
        charts[0].page.wait_for_function("() => document.querySelectorAll('.boxlayer .trace').length === 2")

    def test_a_model_is_toggled_by_the_legend(self, charts):
        details = charts[1]["curve"]
        choose(details, x="radius", colour="model", direction="random", draw="line")
        names = "chart => chart._fullData.filter(t => t.visible === true).map(t => t.name)"
        assert len(details.locator(".chart").evaluate(names)) == 7
        details.locator(".legendtoggle").nth(5).click()
        details.locator(".chart").evaluate_handle(
            "async chart => { while (chart._fullData[5].visible === true) await new Promise(requestAnimationFrame) }"
        )
        assert "CAE" not in details.locator(".chart").evaluate(names)
        assert details.locator(".scatterlayer .trace").count() == 6

    def test_the_pointer_shows_the_tables_value(self, charts):
        watched, details = charts[0], charts[1]["dots"]
        row = loneliest(TABLES["dots"], "mean norm", "effective rank")
        details.scroll_into_view_if_needed()
        place = details.locator(".chart").evaluate(
            """(chart, [x, y]) => {
                const { xaxis, yaxis } = chart._fullLayout, box = chart.getBoundingClientRect();
                return [box.left + xaxis._offset + xaxis.l2p(x), box.top + yaxis._offset + yaxis.l2p(y)];
            }""",
            [row["mean norm"], row["effective rank"]],
        )
        watched.page.mouse.move(place[0] - 1, place[1])
        watched.page.mouse.move(*place)
        wanted = f"mean norm: {float(row['mean norm'])!r}"
        details.locator(".hoverlayer", has_text=wanted).wait_for()
        told = details.locator(".hoverlayer").text_content()
        assert f"effective rank: {float(row['effective rank'])!r}" in told
        assert f"seed {row['seed']:.0f}" in told
        assert display_name(row["model"]) in told

    def test_a_rectangle_zooms(self, charts):
        watched, details = charts[0], charts[1]["dots"]
        details.scroll_into_view_if_needed()
        before = details.locator(".chart").evaluate("chart => chart._fullLayout.xaxis.range")
        box = details.locator(".nsewdrag").first.bounding_box()
        watched.page.mouse.move(box["x"] + 100, box["y"] + 50)
        watched.page.mouse.down()
        watched.page.mouse.move(box["x"] + 300, box["y"] + 200, steps=4)
        watched.page.mouse.up()
        watched.page.wait_for_function(
            "b => document.querySelector('[data-table=dots] .chart')._fullLayout.xaxis.range[1] < b", arg=before[1]
        )
        after = details.locator(".chart").evaluate("chart => chart._fullLayout.xaxis.range")
        assert before[0] < after[0] < after[1] < before[1]

    @pytest.mark.parametrize("name", ["dots", "curve"])
    def test_csv_is_the_table(self, charts, name):
        path = charts[0].download(charts[1][name].get_by_role("button", name="CSV"))
        assert_frame_equal(pd.read_csv(path), TABLES[name].reset_index(drop=True), check_dtype=False)

    def test_no_button_of_a_chart_sends_it_anywhere(self, charts):
        titles = charts[1]["dots"].locator(".modebar-btn").evaluate_all("all => all.map(each => each.dataset.title)")
        assert titles
        assert not any(word in title.lower() for title in titles for word in ("share", "cloud", "edit", "send"))


class TestRunPages:
    def test_a_run_is_opened_from_the_table_of_runs_and_left_again(self, opened):
        watched = opened()
        page = watched.page
        page.locator("summary", has_text="Every run's numbers").click()
        page.locator("table[data-name=runs] a", has_text="CAE").nth(1).click()
        run = page.locator("#run-page")
        run.locator("h2").wait_for()
        assert run.locator("h2").inner_text() == "CAE, seed 1"
        assert page.evaluate("document.activeElement.tagName") == "H2"
        assert page.title().startswith("CAE, seed 1")
        assert page.url.endswith("#run-cae-1")
        assert not page.locator("main").is_visible()
        run.get_by_role("link", name="next run").click()
        page.wait_for_function("() => document.querySelector('#run-page h2').textContent === 'CAE, seed 2'")
        run.get_by_role("link", name="All runs").click()
        page.locator("main").wait_for()
        assert not run.is_visible()
        assert page.evaluate("document.getElementById('runs').getBoundingClientRect().top < innerHeight")

    def test_it_shows_numbers_settings_losses_pictures_and_problems(self, opened):
        watched = opened()
        run = watched.open_run("cae-1")
        run.locator(".main-svg").first.wait_for()
        text = run.inner_text()
        row = ROWS[ROWS["run"] == "cae-1"].iloc[0]
        for expected in (repr(float(row["mean norm"])), "regularizers.contractive.weight", "torch", "2.9", "it fails"):
            assert expected in text
        losses = run.locator(".chart").evaluate("chart => chart.data.map(t => [t.name, t.x, t.y])")
        assert losses == [[name, [1, 2, 3], HISTORY[name].to_list()] for name in ("train_reconstruction", "norm")]
        size = run.locator("img").evaluate(
            "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
        )
        assert size == [2, 2]
        csv = watched.download(run.get_by_role("button", name="CSV"))
        assert_frame_equal(pd.read_csv(csv), HISTORY)

    def test_its_config_can_be_trained_again(self, opened):
        watched = opened()
        path = watched.download(watched.open_run("cae-1").get_by_role("button", name="config"))
        assert make_config(yaml.safe_load(path.read_text())) == recipe_config("cae")

    def test_an_address_opens_a_run_at_once_and_one_that_is_not_there_is_told(self, opened, address):
        watched = opened(f"{address}#run-ae-0")
        watched.page.locator("#run-page h2", has_text="AE, seed 0").wait_for()
        run = watched.open_run("nothing")
        run.locator("h2", has_text="There is no run of this name").wait_for()
        run.get_by_role("link", name="All runs").click()
        watched.page.locator("main").wait_for()


class TestLooks:
    @pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1280, "dark")])
    def test_nothing_is_wider_than_the_window(self, opened, width, scheme):
        watched = opened(width=width, color_scheme=scheme)
        assert not watched.scrolls_sideways()
        for name in ("curve", "dots", "runs"):
            watched.open_chart(name)
        watched.page.locator("summary", has_text="Every run's numbers").click()
        assert not watched.scrolls_sideways()
        watched.open_run("cae-1").locator(".main-svg").first.wait_for()
        assert not watched.scrolls_sideways()

    def test_dark_follows_the_system_and_the_button(self, opened):
        page = opened(color_scheme="dark").page
        assert contrast(page) > 10
        assert brightness(page) < 0.05
        page.get_by_role("button", name="Show the page light").click()
        assert brightness(page) == 1
        assert contrast(page) > 10
        page.get_by_role("button", name="Show the page dark").click()
        assert brightness(page) < 0.05

    def test_charts_change_with_the_page_and_no_model_is_lost_in_the_dark(self, opened):
        watched = opened()
        details = watched.open_chart("curve")
        colors = "chart => chart.data.map(t => t.line.color)"
        light = details.locator(".chart").evaluate(colors)
        assert light[0] == "#000000"
        watched.page.get_by_role("button", name="Show the page dark").click()
        watched.page.wait_for_function("() => document.querySelector('.chart').layout.paper_bgcolor === '#191919'")
        dark = details.locator(".chart").evaluate(colors)
        assert len(set(dark)) == 7
        assert all(ratio(luminance(each), luminance("#191919")) >= 3 for each in dark)

    def test_on_paper_are_the_page_without_its_tools_and_dark_letters(self, opened):
        page = opened(color_scheme="dark").page
        page.emulate_media(media="print")
        assert page.locator(".tools:visible, .theme:visible, .explorer:visible").count() == 0
        assert page.locator("figure svg").first.is_visible()
        assert brightness(page) == 1
        assert contrast(page) > 10

    def test_without_scripts_tables_and_figures_are_there_and_nothing_that_needs_them(self, opened):
        page = opened(java_script_enabled=False).page
        assert page.locator("table[data-name=table1] tbody tr:visible").count() == 7
        assert page.locator("figure svg:visible").count() == 2
        assert page.locator("button:visible, input:visible, .explorer:visible").count() == 0

    def test_all_that_can_be_used_has_a_name_and_is_reached_by_keys(self, opened):
        watched = opened()
        page = watched.page
        watched.open_chart("curve")
        nameless = page.locator("input, select, button").evaluate_all(
            "all => all.filter(e => !(e.labels?.length || e.ariaLabel || e.textContent.trim())).map(e => e.outerHTML)"
        )
        assert nameless == []
        page.evaluate("document.activeElement.blur()")
        reached = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.tagName"))
        assert {"BUTTON", "A", "INPUT", "DIV"} <= reached


def luminance(color):
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def ratio(first, second):
    low, high = sorted((first, second))
    return (high + 0.05) / (low + 0.05)


def color_of(page, name):
    found = page.evaluate(
        "name => getComputedStyle(document.body)[name].match(/[0-9]+/g).slice(0, 3).map(Number)", name
    )
    return "#" + "".join(f"{part:02x}" for part in found)


def brightness(page):
    return luminance(color_of(page, "backgroundColor"))


def contrast(page):
    return ratio(luminance(color_of(page, "color")), luminance(color_of(page, "backgroundColor")))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A comparison in which every name that others give is an attack."""
    rows = ROWS[ROWS["model"].isin(["ae", "cae"])].reset_index(drop=True)
    plain = invented_comparison(rows)
    rows = rows.assign(model=rows["model"].where(rows["model"] != "ae", WORST), dataset=ATTACK)
    rows["run"] = [f"run {number} {ATTACK.replace('/', '')}" for number in range(len(rows))]
    table = curve(rows).assign(direction=WORST, **{ATTACK: 1.0 * np.arange(len(curve(rows)))})
    table.loc[::2, "direction"] = "=1+1"
    configs = [{**config, "label": label} for config, label in zip(plain.configs, (WORST, "cae"), strict=True)]
    attacked = type(plain)(
        WORST, configs, plain.seeds, [a_problem("curve", WORST, WORST)], {WORST: WORST}, rows, {"curve": table}
    )
    return publish(tmp_path_factory.mktemp("hostile") / "out", attacked)


def test_text_of_others_stays_text(opened, hostile):
    watched = opened(hostile)
    page = watched.page
    details = watched.open_chart("curve")
    assert WORST.replace("\u2028", "").split(" & ")[0] in details.locator(".legend").text_content()
    choose(details, colour="direction", direction=WORST, y=ATTACK)
    assert ATTACK in details.locator(".ytitle").text_content()
    page.locator("summary", has_text="Every run's numbers").click()
    page.locator("table[data-name=runs] a").first.click()
    run = page.locator("#run-page")
    run.locator("h2").wait_for()
    assert ATTACK in run.locator("h2").inner_text()
    assert ATTACK in run.inner_text()
    assert page.locator("img[src=x], img[onerror]").count() == 0


def test_csv_of_text_of_others_is_the_table(opened, hostile):
    watched = opened(hostile)
    read = pd.read_csv(watched.download(watched.open_chart("curve").get_by_role("button", name="CSV")))
    assert set(read["direction"]) == {WORST, "=1+1"}
    assert set(read["model"]) == {WORST, "cae"}


def test_another_script_does_not_run(opened, browser, address):
    watched = Watched(browser, address)
    watched.page.evaluate(
        "() => { const s = document.createElement('script'); s.text = 'window.ran = 1'; document.head.append(s) }"
    )
    assert watched.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in error for error in watched.errors)
    watched.context.close()
