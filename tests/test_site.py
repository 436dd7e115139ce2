"""The built documentation in a browser without a network: every page, wide and narrow.

``make site`` builds it and runs these tests, as ``make test`` does after everything else.
"""

import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urldefrag

import pytest

from tests.core.report.browsing import chromium

ROOT = Path(__file__).parents[1]
BUILT = ROOT / "docs" / "_build"
ASKED = "CAELAB_SITE"  # set by make site, which builds the pages first; then nothing is skipped
WIDTHS = (1280, 400)
NOT_PAGES = ("_static", "_downloads", "_sources", "_modules", "interactive")

# What a reader would see of an equation that was not rendered, outside of code.
LOOK = r"""
async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  const article = document.querySelector("article") || document.body;
  const words = article.cloneNode(true);
  words.querySelectorAll("pre, code, mjx-container, script, style, .sig").forEach(each => each.remove());
  const raw = words.textContent.match(/\\\(|\\\[|\\(?:frac|sum|lVert|mathbb|lambda|sigma)\b|\$[^$\n]{1,80}\$/g) || [];
  article.querySelectorAll("img").forEach(image => image.loading = "eager");
  await Promise.all([...article.querySelectorAll("img")].map(image => image.decode().catch(() => null)));
  return {
    equations: article.querySelectorAll("span.math, div.math").length,
    rendered: article.querySelectorAll("mjx-container").length,
    faults: article.querySelectorAll("mjx-merror, [data-mjx-error], [data-mml-node='merror']").length,
    raw: raw.slice(0, 5),
    images: [...article.querySelectorAll("img")].filter(image => !image.naturalWidth).map(image => image.src),
    links: [...document.querySelectorAll("a[href]")].map(link => link.href),
    ids: [...document.querySelectorAll("[id]")].map(each => each.id),
  };
}
"""
WIDE = "document.documentElement.scrollWidth - innerWidth"


@pytest.fixture(scope="module")
def site():
    """Where the pages lie; tests are skipped unless ``make site`` runs them, and fail then where there are none."""
    if not os.environ.get(ASKED):
        pytest.skip("the documentation is built and checked by make site")
    assert (BUILT / "index.html").is_file(), f"{BUILT} holds no site; make docs builds it"
    return BUILT


@pytest.fixture(scope="module")
def browser(site):
    with chromium() as found:
        yield found


def pages(site):
    found = (path for path in site.rglob("*.html") if path.relative_to(site).parts[0] not in NOT_PAGES)
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(site).parts))


class Visitor:
    """A reader without a network, and what happened meanwhile."""

    def __init__(self, browser, offline=True):
        self.context = browser.new_context(viewport={"width": WIDTHS[0], "height": 900}, offline=offline)
        self.page, self.errors, self.requests = self.context.new_page(), [], []
        self.page.on("console", lambda told: self.errors.append(told.text) if told.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("requestfailed", lambda request: self.errors.append(f"failed: {request.url}"))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def faults(self, path):
        """What is wrong with one page, in words; and its links and anchors."""
        self.errors.clear(), self.requests.clear()
        self.page.set_viewport_size({"width": WIDTHS[0], "height": 900})
        self.page.goto(path.as_uri())
        seen = self.page.evaluate(LOOK)
        found = [*self.errors, *(f"raw TeX: {each}" for each in seen["raw"])]
        found += [f"asks for {url}" for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]
        found += [f"image missing: {url}" for url in seen["images"]]
        if seen["equations"] != seen["rendered"] or seen["faults"]:
            found.append(f"{seen['equations']} equations, {seen['rendered']} rendered, {seen['faults']} with errors")
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": 900})
            over = self.page.evaluate(WIDE)
            found += [f"{over} pixels too wide at {width}"] if over > 0 else []
        return found, seen["links"], set(seen["ids"])


@pytest.fixture(scope="module")
def visited(site, browser):
    visitor = Visitor(browser)
    return {path: visitor.faults(path) for path in pages(site)}


def test_there_are_pages_of_every_section(site):
    rooms = {path.relative_to(site).parts[0] for path in pages(site)}
    assert rooms >= {"start", "howto", "gallery", "theory", "results", "reference", "development", "course"}


def test_every_page_is_whole(visited, site):
    faults = {str(path.relative_to(site)): found for path, (found, _, _) in visited.items() if found}
    assert not faults, "\n".join(f"{page}: {'; '.join(found)}" for page, found in faults.items())


def test_the_pages_of_theory_have_equations_that_are_rendered(visited, site, browser):
    page = Visitor(browser)
    page.page.goto((site / "theory" / "contractive.html").as_uri())
    seen = page.page.evaluate(LOOK)
    assert seen["equations"] == seen["rendered"] > 20


def test_a_page_without_its_script_would_be_found(browser, site, tmp_path):
    """The same page, with MathJax taken away, shows raw TeX to the reader and to these tests."""
    text = (site / "theory" / "contractive.html").read_text(encoding="utf-8")
    (tmp_path / "broken.html").write_text(text.replace("tex-svg-full.js", "missing.js"), encoding="utf-8")
    found, _, _ = Visitor(browser).faults(tmp_path / "broken.html")
    assert any(each.startswith("raw TeX") for each in found)
    assert any("0 rendered" in each for each in found)


def test_internal_links_lead_somewhere(visited, site):
    ids = {path.resolve(): found for path, (_, _, found) in visited.items()}
    broken = set()
    for path, (_, links, _) in visited.items():
        for link in links:
            address, anchor = urldefrag(link)
            if address.startswith("file://"):
                target = Path(unquote(address.removeprefix("file://")).partition("?")[0]).resolve()
                there = target.is_file() or (target / "index.html").is_file()
                known = ids.get(target, set()) | (
                    {anchor} if "=" in anchor else set()
                )  # a state of the interactive page
                if not there or (anchor and target in ids and unquote(anchor) not in known):
                    broken.add((str(path.relative_to(site)), link.rpartition("/")[2]))
    assert not broken


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that logs nothing, and has an empty picture for the tab of a browser."""

    def do_GET(self):
        if self.path == "/favicon.ico":
            self.send_response(204)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *words):
        pass


@pytest.fixture
def served(site):
    """The address of the site as a server on this machine gives it: a search reads the pages that it lists."""
    handler = partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_search_finds_what_it_is_asked_for(browser, served):
    visitor = Visitor(browser, offline=False)
    visitor.page.goto(f"{served}search.html?q=contraction+ratio")
    visitor.page.locator("ul.search li a").first.wait_for()
    visitor.page.wait_for_load_state("networkidle")
    assert visitor.page.locator("ul.search li a").count() > 2
    assert (visitor.errors, [url for url in visitor.requests if not url.startswith((served, "data:"))]) == ([], [])


def test_the_gallery_shows_the_figure_of_every_analysis(visited, site):
    from caelab.registry.catalogue import catalogue

    wanted = {offer.name for (kind, _), offer in catalogue().offers.items() if kind == "analysis"}
    shown = {path.stem.split("_", 2)[2] for path in (site / "gallery").rglob("plot_*.html")}
    assert shown == wanted
    images = {path.name for path in (site / "_images").glob("sphx_glr_plot_*_001.png")}
    assert {name.split("_", 4)[4].removesuffix("_001.png") for name in images} == wanted


@pytest.mark.parametrize("room", ["caelab", "caelab.figures", "caelab.data", "caelab.testing", "caelab.sklearn"])
def test_everything_promised_has_an_entry(visited, site, room):
    from importlib import import_module

    ids = visited[site / "reference" / "python.html"][2]
    module = import_module(room)
    names = dir(module) if room == "caelab.sklearn" else module.__all__  # its estimators come from the catalogue
    assert len(names) >= 4
    assert not [name for name in names if not name.startswith("__") and f"{room}.{name}" not in ids]


@pytest.mark.parametrize(("page", "kind"), [("regularizers", "regularizer"), ("analyses", "analysis")])
def test_everything_in_the_catalogue_has_an_entry(visited, site, page, kind):
    from caelab.registry.catalogue import catalogue

    ids = visited[site / "reference" / f"{page}.html"][2]
    wanted = {f"{kind}-{offer.name}" for (of, _), offer in catalogue().offers.items() if of == kind}
    assert len(wanted) > 20
    assert {name.replace("_", "-") for name in wanted} <= {each.replace("_", "-") for each in ids}
