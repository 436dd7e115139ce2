"""The interactive page of the course: built small, opened in a real browser, its numbers compared with caelab's."""

import base64
import gzip
import importlib
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import caelab
from caelab_analyses.jacobian_spectrum import effective_rank
from caelab_analyses.shared.contraction_ratios import contraction_ratios
from tests import warm
from tests.core.report.browsing import Watched, chromium

BUILD = Path(__file__).parents[1] / "docs" / "course" / "interactive" / "build.py"
LAMBDAS, SIGMAS = (0, 3), (0, 0.5)
SETTINGS = [(weight, sigma) for sigma in SIGMAS for weight in LAMBDAS]
SMALL = "--lambdas 0 3 --sigmas 0 0.5 --hidden 20 --epochs 3 --examples 30"
PANELS = ("spectrum", "curve", "tangents", "walk", "filters", "row-r-clean", "row-r-noisy")


def build(folder, words):
    """The status, and what was said."""
    text = (
        f"import runpy, sys\nsys.argv = ['build.py', *{words.split()!r}]\nsys.path.insert(0, {str(BUILD.parent)!r})\n"
    )
    status, *said = warm.run(warm.script, f"{text}runpy.run_path({str(BUILD)!r}, run_name='__main__')", folder=folder)
    return status, "".join(said)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("interactive")
    status, said = build(place, f"--out page.html --runs runs {SMALL}")
    assert status == 0, said
    return place


@pytest.fixture(scope="module")
def stored(folder):
    """What the page holds: facts, examples, and by setting W, b, c, in float64."""
    text = (folder / "page.html").read_text(encoding="utf-8")
    facts = json.loads(re.search(r'id="facts">(.+?)</script>', text, re.DOTALL)[1])
    content = gzip.decompress(base64.b64decode(re.search(r'id="weights">(.+?)</script>', text, re.DOTALL)[1]))
    models, code, inputs, examples = len(SETTINGS), facts["hidden"], np.prod(facts["shape"]), len(facts["labels"])
    parts, at = [], 0
    for shape in ((models, code, 1), (models, code), (models, inputs), (examples, inputs)):
        size = 4 * int(np.prod(shape))
        parts.append(torch.tensor(np.frombuffer(content[at : at + size], "<f4").reshape(shape).astype(float)))
        at += size
    scale, bias, visible, shown = parts
    weight = scale * torch.tensor(np.frombuffer(content[at:], np.int8).reshape(models, code, inputs).astype(float))
    return facts, shown, dict(zip(SETTINGS, zip(weight, bias, visible, strict=True), strict=True))


@pytest.fixture(scope="module")
def runs(folder):
    found = [caelab.load_run(path) for path in (folder / "runs").iterdir() if (path / "run.json").is_file()]
    return {each.config.label: each for each in found}


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def ready(watched):
    """The page, once it shows its numbers."""
    watched.page.locator("body[data-ready]").wait_for()
    assert watched.page.locator("body").get_attribute("data-ready") == "yes", watched.errors
    return watched.page


@pytest.fixture
def opened(browser, folder):
    """Open the page: ``opened("#lambda=3", width=400)``; at the end it has done nothing that it should not."""
    pages = []

    def open_page(fragment="", **options):
        pages.append(Watched(browser, (folder / "page.html").as_uri() + fragment, **options))
        return ready(pages[-1])

    yield open_page
    for each in pages:
        each.refuse_mischief()
        each.context.close()


@pytest.fixture(scope="module")
def lab(browser, folder):
    """A page whose numbers are asked for."""
    watched = Watched(browser, (folder / "page.html").as_uri())
    ready(watched)
    yield lambda script, *words: watched.page.evaluate(f"([l, s, ...rest]) => {{ {script} }}", [*words])
    watched.refuse_mischief()


@pytest.fixture(scope="module")
def directions(lab, stored):
    """The unit directions that the page takes at each example."""
    inputs = stored[1]
    drawn = np.array(lab("return [...lab.examples.random]")).reshape(len(inputs), -1, inputs.shape[1])
    others = lab("return lab.examples.others.map(each => each.map(([other]) => other))")
    assert all(one not in rows and len({*rows}) == 4 for one, rows in enumerate(others))
    toward = [F.normalize(inputs[rows] - inputs[one], dim=1) for one, rows in enumerate(others)]
    return {"random": torch.tensor(drawn), "others": torch.stack(toward)}


def encoder(weight, bias):
    made = nn.Sequential(nn.Linear(*weight.T.shape, dtype=torch.float64), nn.Sigmoid())
    made.load_state_dict({"0.weight": weight, "0.bias": bias})
    return made.requires_grad_(False)


def asked(lab, expression, setting):
    return np.array(lab(f"const of = lab.measured(l, s); return {expression}", *setting))


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
class TestNumbersOnTheStoredWeights:
    """To ten digits; singular values from the Gram matrix to 1e-7 of the largest, the root of rounding."""

    def test_spectrum_and_effective_rank(self, lab, stored, setting):
        _, inputs, models = stored
        values = caelab.jacobian(encoder(*models[setting][:2]), inputs).singular_values()
        atol = 1e-7 * float(values.max())
        for name, expected in {
            "mean": values.mean(dim=0),
            "low": values.quantile(0.1, dim=0),
            "high": values.quantile(0.9, dim=0),
        }.items():
            found = asked(lab, f"of.spectra.{name}", setting)
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=atol)
        found = asked(lab, "[...of.spectrum(7)]", setting)
        np.testing.assert_allclose(found, values[7], rtol=1e-9, atol=atol)
        expected = float(effective_rank(values).mean())
        assert float(asked(lab, "of.effectiveRank", setting)) == pytest.approx(expected, rel=1e-6)

    def test_norms_and_saturation(self, lab, stored, setting):
        _, inputs, models = stored
        encode = encoder(*models[setting][:2])
        squared = caelab.jacobian(encode, inputs).squared_norm()
        np.testing.assert_allclose(asked(lab, "of.squaredNorms", setting), squared, rtol=1e-10)
        assert float(asked(lab, "of.meanNorm", setting)) == pytest.approx(float(squared.sqrt().mean()), rel=1e-10)
        code = encode(inputs)
        expected = float(((code < 0.05) | (code > 0.95)).double().mean())
        assert float(asked(lab, "of.saturated", setting)) == pytest.approx(expected, abs=1e-12)

    def test_contraction_curve(self, lab, stored, directions, setting):
        facts, inputs, models = stored
        encode = encoder(*models[setting][:2])
        for kind, u in directions.items():
            expected = contraction_ratios(encode, inputs, u, facts["radii"]).mean(dim=(1, 2))
            np.testing.assert_allclose(asked(lab, f"of.curve.{kind}", setting), expected, rtol=1e-9)

    def test_reconstruction_errors(self, lab, stored, setting):
        _, inputs, models = stored
        weight, bias, visible = models[setting]
        noise = torch.tensor(lab("return [...lab.examples.noise]"), dtype=torch.float64).reshape(inputs.shape)
        for s in (0, 0.35):
            logits = encoder(weight, bias)(inputs + s * noise) @ weight + visible
            expected = F.binary_cross_entropy_with_logits(logits, inputs, reduction="none").sum(dim=1).mean()
            assert float(asked(lab, f"of.error({s})", setting)) == pytest.approx(float(expected), rel=1e-10)

    def test_tangents(self, lab, stored, setting):
        _, inputs, models = stored
        values, expected = caelab.jacobian(encoder(*models[setting][:2]), inputs[4:5]).tangents(3)
        found = asked(lab, "of.tangents(4, 3).map(each => [...each.picture])", setting)
        largest = np.take_along_axis(found, np.abs(found).argmax(axis=1, keepdims=True), 1)
        assert (largest > 0).all()
        np.testing.assert_allclose(np.abs((found * expected[0].numpy()).sum(axis=1)), 1, atol=1e-9)
        np.testing.assert_allclose(asked(lab, "of.tangents(4, 3).map(each => each.value)", setting), values[0])


def test_rounding_changes_no_more_than_the_page_says(folder, stored, runs):
    """In the order of the sentence: mean norm, one norm, mean singular values, reconstruction error, code."""
    text = (folder / "page.html").read_text(encoding="utf-8")
    said = re.search(r'<p id="rounding">(.+?)</p>', text, re.DOTALL)[1].partition("models:")[2]
    bounds = [float(each) for each in re.findall(r"(?:by(?: at most)?) ([\d.e-]+)", said)]
    assert len(bounds) == 5
    found = np.array([_differences(stored, runs, setting) for setting in SETTINGS]).max(axis=0)
    assert (found <= np.array(bounds) * [0.01, 0.01, 0.01, 0.01, 1]).all()
    assert found[0] < 0.01  # and it is small
    assert (found > 0).all()


def _differences(stored, runs, setting):
    _, inputs, models = stored
    weight, bias, visible = models[setting]
    run = runs["lambda {:g}, sigma {:g}".format(*setting)]
    exact = run.model.encode[0]
    here, there = encoder(weight, bias), encoder(exact.weight.double(), exact.bias.double())
    ours, theirs = (torch.linalg.svdvals(caelab.jacobian(each, inputs).dense()) for each in (here, there))
    norms, trained = ours.norm(dim=1), theirs.norm(dim=1)
    leading = theirs.mean(dim=0) > 0.01 * theirs.mean(dim=0)[0]
    logits = here(inputs) @ weight + visible
    error = F.binary_cross_entropy_with_logits(logits, inputs, reduction="none").sum(dim=1).mean()
    found = [
        (norms.mean() / trained.mean() - 1).abs(),
        (norms / trained - 1).abs().max(),
        ((ours.mean(dim=0) / theirs.mean(dim=0) - 1).abs())[leading].max(),
        (error / run.reconstruction_error(inputs.float()).double().mean() - 1).abs(),
        (here(inputs) - there(inputs)).square().mean().sqrt(),
    ]
    return [float(each) for each in found]


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_eigenvalues_are_those_of_numpy(lab, size):
    chance = np.random.default_rng(size)
    vectors = np.linalg.qr(chance.normal(size=(size, size)))[0]
    for values in (chance.normal(size=size), np.ones(size), np.arange(size) // 2 * 3.0, 10.0 ** -np.arange(size)):
        matrix = (vectors * values) @ vectors.T
        expected = np.sort(values)[::-1]
        tolerance = 1e-13 * max(1, np.abs(values).max())
        found = lab("return [...lab.eigenvalues(l, s)]", matrix.ravel().tolist(), size)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
        script = "const e = lab.eigenvectors(l, s); return [e.values, e.vectors.map(v => [...v])]"
        found, columns = lab(script, matrix.ravel().tolist(), size)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
        np.testing.assert_allclose((np.array(columns).T * found) @ np.array(columns), matrix, rtol=0, atol=tolerance)


def looks(page):
    """What every panel shows, by its id; a picture by its pixels."""
    script = """ids => Object.fromEntries(ids.map(id => {
        const one = document.getElementById(id);
        const canvases = one.tagName === 'CANVAS' ? [one] : [...one.querySelectorAll('canvas')];
        return [id, canvases.map(each => each.toDataURL()).join() || one.innerHTML]; }))"""
    return page.evaluate(script, [*PANELS, "mean-norm", "error", "noisy-error", "said"])


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


class TestControls:
    @pytest.mark.parametrize("name", ["lambda", "sigma"])
    def test_a_step_of_a_slider_changes_every_panel_at_once(self, opened, name):
        page = opened("#lambda=0&sigma=0")
        before = looks(page)
        slider = page.locator(f"#{name}")
        slider.focus()
        slider.press("ArrowRight")
        assert changed(before, looks(page)) == set(before)
        assert slider.get_attribute("aria-valuetext") == str({"lambda": 3, "sigma": 0.5}[name])
        assert f"{name}={slider.get_attribute('aria-valuetext')}" in page.url
        slider.press("Home")
        assert looks(page) == before
        slider.press("End")
        assert changed(before, looks(page)) == set(before)

    def test_test_noise_changes_what_is_corrupted_alone(self, opened):
        page = opened("#lambda=0&sigma=0")
        before = looks(page)
        page.locator("#noise").press("ArrowRight")
        assert changed(before, looks(page)) == {"row-r-noisy", "noisy-error"}
        assert "noise=0.55" in page.url
        page.get_by_role("button", name="New noise").click()
        assert "draw=2" in page.url

    def test_an_example_is_chosen_by_click_and_by_key(self, opened):
        page = opened("#lambda=0&sigma=0")
        before = looks(page)
        buttons = page.locator("#examples button")
        assert buttons.count() == 10
        labels = buttons.evaluate_all("all => all.map(each => each.ariaLabel)")
        assert [each.rpartition(" ")[2] for each in labels] == [str(digit) for digit in range(10)]
        buttons.nth(3).click()
        assert buttons.nth(3).get_attribute("aria-pressed") == "true"
        assert changed(before, looks(page)) == {"spectrum", "tangents", "walk"}
        page.locator("#examples button:focus").press("Tab")
        page.locator("#examples button:focus").press("Enter")
        assert "example=4" in page.url
        page.get_by_role("button", name="Other examples").click()
        assert "example=14" in page.url

    def test_a_tangent_is_walked_along(self, opened):
        page = opened("#lambda=0&sigma=0")
        before = looks(page)
        page.get_by_role("button", name=re.compile("^tangent 2")).click()
        assert "walk" in changed(before, looks(page))
        assert "tangent=2" in page.url

    def test_the_shape_alone_begins_at_one(self, opened):
        page = opened("#lambda=3&sigma=0")
        page.get_by_label("divide by the value").check()
        assert "relative=1" in page.url
        assert page.locator("#curve .name").last.text_content() == "ratio / ratio at r → 0"
        page.get_by_label("own scale").check()
        assert "own=1" in page.url

    def test_a_pinned_setting_stays_while_the_other_moves(self, opened):
        page = opened("#lambda=0&sigma=0")
        assert not page.locator("#unpin").is_visible()
        page.get_by_role("button", name="Pin this").click()
        number = page.locator("#mean-norm").inner_text()
        assert page.locator("#mean-norm-ratio").inner_text() == "×1"
        page.locator("#lambda").press("End")
        assert page.locator("#mean-norm-pinned").inner_text() == number != page.locator("#mean-norm").inner_text()
        for panel in ("spectrum", "curve"):
            assert page.locator(f"#{panel} .line.pinned").count() > 0
        assert page.locator("#filters-pinned").is_visible()
        assert "lambda=3&sigma=0&pin=0%2C0" in page.url.replace(",", "%2C")
        page.get_by_role("button", name="Unpin").click()
        assert page.locator("#mean-norm-pinned").inner_text() == ""
        assert page.locator("#spectrum .line.pinned").count() == 0

    def test_the_map_holds_every_setting_and_leads_to_it(self, opened, stored):
        _, inputs, models = stored
        page = opened("#lambda=0&sigma=0")
        page.wait_for_function(
            "() => [...document.querySelectorAll('[data-cell]')].every(each => each.textContent !== '…')"
        )
        for place, setting in zip([(0, 0), (1, 0), (0, 1), (1, 1)], SETTINGS, strict=True):
            expected = caelab.jacobian(encoder(*models[setting][:2]), inputs).squared_norm().sqrt().mean()
            cell = page.locator("[data-cell='{},{}']".format(*place))
            assert float(cell.inner_text()) == pytest.approx(float(expected), rel=5e-3)
        page.locator("[data-cell='1,1']").click()
        assert "lambda=3&sigma=0.5" in page.url
        for measure in ("rank", "error", "noisy"):
            page.locator("#map-measure").select_option(measure)
            page.wait_for_function(
                "() => [...document.querySelectorAll('[data-cell]')].every(each => each.textContent !== '…')"
            )
            assert len({*page.locator("[data-cell]").all_inner_texts()}) > 2

    def test_numbers_of_a_chart_are_a_table(self, opened):
        page = opened("#lambda=0&sigma=0&pin=3,0")
        page.locator("#spectrum-table summary").click()
        rows = page.locator("#spectrum-table tbody tr")
        assert rows.count() == 20
        shown = float(rows.first.locator("td").nth(1).inner_text())
        assert shown == pytest.approx(page.evaluate("lab.measured(0, 0).spectra.mean[0]"), rel=1e-4)
        assert page.locator("#spectrum-table thead th").all_inner_texts() == [
            "rank",
            "mean",
            "this example",
            "pinned mean",
        ]


class TestAddress:
    def test_a_link_leads_to_a_setting_and_back(self, opened):
        page = opened("#lambda=3&sigma=0.5&noise=0.2&example=12&pin=0,0.5&relative=1&own=1&tangent=3&map=error")
        found = page.evaluate("({...lab.state})")
        assert found == {
            "lambda": 1, "sigma": 1, "noise": 0.2, "example": 12, "tangent": 3, "relative": 1, "own": 1, "draw": 1,
            "map": "error", "pin": {"lambda": 0, "sigma": 1},
        }  # fmt: skip
        page.locator(".text a").first.click()
        assert page.evaluate("lab.state.relative") == 0
        page.go_back()
        page.wait_for_function("() => lab.state.relative === 1")

    @pytest.mark.parametrize(
        "fragment",
        [
            "#lambda=x&sigma=&noise=-7",
            "#lambda=1e99&example=99999&tangent=0",
            "#pin=a,b&map=constructor",
            "#%E0%A4%A",
            "#",
        ],
    )
    def test_what_cannot_be_read_is_as_near_as_can_be(self, opened, fragment):
        page = opened(fragment)
        assert page.locator("#mean-norm").inner_text() != ""
        assert 0 <= page.evaluate("lab.state.example") < 30

    def test_without_a_fragment_it_opens_with_a_comparison(self, opened):
        page = opened()
        assert page.evaluate("[lab.state.lambda, lab.state.pin.lambda]") == [1, 0]


def luminance(colour):
    values = [int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


class TestLooks:
    @pytest.mark.parametrize("width", [400, 800, 1280])
    def test_nothing_scrolls_sideways(self, opened, width):
        page = opened("#lambda=3&sigma=0&pin=0,0", width=width)
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        for panel in (*PANELS, "map", "filters-pinned"):
            box = page.locator(f"#{panel}").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_texts_and_lines_stand_out(self, opened, scheme):
        """Texts by 4.5 to 1 and lines by 3 to 1, as WCAG 2.2 asks; current and pinned also differ in dashes."""
        page = opened("#lambda=3&sigma=0&pin=0,0", color_scheme=scheme)
        colour = lambda selector, name: page.locator(selector).first.evaluate(  # noqa: E731
            "(one, name) => getComputedStyle(one)[name]", name
        )
        back = colour(".panel", "backgroundColor")
        assert (luminance(back) > 0.5) == (scheme == "light")
        for text in (".panel h2", ".caption", "td.now", "td.then"):
            assert contrast(colour(text, "color"), back) >= 4.5
        for line in ("#spectrum .line.current", "#spectrum .line.pinned", "#curve .line.current"):
            assert contrast(colour(line, "stroke"), back) >= 3
        assert (
            colour("#spectrum .line.pinned", "strokeDasharray")
            != "none"
            != colour("#curve .line.random", "strokeDasharray")
        )
        assert colour("#spectrum .line.current", "strokeDasharray") == "none"

    def test_the_reader_chooses_light_or_dark(self, opened):
        page = opened()
        back = "getComputedStyle(document.body).backgroundColor"
        before = page.evaluate(back)
        page.get_by_label("Colours").select_option("dark")
        assert luminance(page.evaluate(back)) < 0.05 < luminance(before)

    def test_everything_that_can_be_used_has_a_name_and_is_reached_by_tab(self, opened):
        page = opened("#lambda=3&sigma=0&pin=0,0")
        found = page.locator("input, select, button, summary, canvas[role=img], svg[role=img]").evaluate_all(
            "all => all.filter(e => !(e.ariaLabel || e.labels?.length || e.textContent.trim())).map(e => e.outerHTML)"
        )
        assert found == []
        wanted = set(
            page.locator("input[id], select[id], button[id]:visible").evaluate_all("all => all.map(e => e.id)")
        )
        reached = set()
        for _ in range(120):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id"))
        assert wanted <= reached


class TestFile:
    def test_it_is_small_and_names_no_address(self, folder):
        text = (folder / "page.html").read_text(encoding="utf-8")
        assert len(text.encode()) < 2_000_000
        without_svg = text.replace("http://www.w3.org/2000/svg", "")  # a name, which nobody asks for
        assert not re.search(r"https?:|//[a-z]+\.[a-z]|@import|url\((?!#)", without_svg.partition('id="weights"')[0])
        assert "http" not in without_svg.rpartition('id="weights"')[2]

    def test_the_same_runs_give_the_same_bytes(self, folder, runs):
        before = (folder / "page.html").read_bytes()
        changes = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("weights.safetensors")}
        status, said = build(folder, f"--out again.html --runs runs {SMALL}")
        assert status == 0, said
        assert (folder / "again.html").read_bytes() == before
        assert changes == {path: path.stat().st_mtime_ns for path in changes}


class TestDocumentation:
    """The extension of Sphinx that puts the page beside the others."""

    @pytest.fixture
    def extension(self, monkeypatch):
        monkeypatch.syspath_prepend(BUILD.parents[2] / "_extensions")
        return importlib.import_module("interactive_page")

    @pytest.fixture
    def app(self, tmp_path, folder):
        shutil.copytree(BUILD.parent, tmp_path / "docs" / "course" / "interactive")
        options = [*SMALL.split(), "--runs", str(folder / "runs")]
        return SimpleNamespace(
            builder=SimpleNamespace(format="html"), srcdir=tmp_path / "docs", outdir=tmp_path / "out",
            config=SimpleNamespace(interactive_options=options),
        )  # fmt: skip

    def test_the_page_is_built_once_and_again_when_its_sources_change(self, extension, app, monkeypatch):
        extension.place(app)
        page, kept = Path(app.outdir) / extension.PAGE, Path(app.srcdir) / extension.KEPT / "page.html"
        assert "Contraction and denoising" in page.read_text(encoding="utf-8")
        page.unlink()
        with monkeypatch.context() as patch:
            patch.setattr(extension.subprocess, "run", None)  # nothing is built
            extension.place(app)
        assert page.read_bytes() == kept.read_bytes()
        style = Path(app.srcdir) / "course" / "interactive" / "page.css"
        style.write_text(style.read_text(encoding="utf-8") + "/* changed */", encoding="utf-8")
        asked = []
        done = SimpleNamespace(returncode=0)
        monkeypatch.setattr(extension.subprocess, "run", lambda words, **_: asked.append(words) or done)
        extension.place(app)
        assert [words[0] for words in asked] == [sys.executable]

    def test_other_builders_get_none(self, extension, app):
        app.builder.format = "latex"
        extension.place(app)
        assert not Path(app.outdir).exists()

    def test_what_cannot_be_built_ends_the_build_with_the_reason(self, extension, app, monkeypatch):
        done = SimpleNamespace(returncode=2, stderr="error: no room\n")
        monkeypatch.setattr(extension.subprocess, "run", lambda *_, **__: done)
        with pytest.raises(RuntimeError, match=r"^the interactive page could not be built: error: no room$"):
            extension.place(app)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--dataset circle", "shows inputs as grey pictures"),
        ("--dataset nonesuch", "unknown dataset 'nonesuch'"),
        ("--lambdas 0 -1", "expected a finite number of at least 0, but '-1' came"),
        ("--sigmas much", "expected a finite number of at least 0, but 'much' came"),
        ("--hidden 900", "fit into a page of 2 MB"),
        ("--epochs 1.5", "expected a whole number of at least 1, but '1.5' came"),
        ("--examples 1", "expected a whole number of at least 2"),
        ("--dataset digits --out /proc/none/page.html", "/proc/none"),
    ],
)
def test_what_cannot_be_built_is_told_in_one_sentence(tmp_path, words, expected):
    status, said = build(tmp_path, f"--out page.html {words}")
    assert status == 2
    assert expected in said
    assert said.count("\n") == 1
    assert said.startswith("error: ")
    assert not (tmp_path / "page.html").exists()
