"""The habits of the project: what its files say to newcomers and to machines is true, and said in one place."""

import ast
import importlib
import re
import tomllib
from collections import defaultdict
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import caelab
from tests.conftest import once
from tests.durations import LIMIT, Durations, rows

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FORMS = sorted((ROOT / ".github").rglob("*.yml"))
WORKFLOWS = [path for path in FORMS if path.parent.name == "workflows"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def in_yaml(path):
    return yaml.safe_load(read(path))


def assigned(path, *names):
    """The source of what a file assigns to names: to run ``docs/conf.py`` would need Sphinx, which tests do without."""
    nodes = [node for node in ast.parse(read(path)).body if isinstance(node, ast.Assign)]
    values = {target.id: ast.unparse(node.value) for node in nodes for target in node.targets}
    return [values[name] for name in names]


def pythons():
    """The versions of Python that the classifiers name."""
    prefix = "Programming Language :: Python :: 3."
    return [each.rpartition(" ")[2] for each in PYPROJECT["project"]["classifiers"] if each.startswith(prefix)]


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


class TestVersion:
    def test_it_has_one_place(self):
        assert PYPROJECT["project"]["dynamic"] == ["version"]
        assert "version" not in PYPROJECT["project"]
        path = PYPROJECT["tool"]["hatch"]["version"]["path"]
        assert re.findall(r'^__version__ = "(.+)"$', read(path), re.MULTILINE) == [caelab.__version__]

    def test_the_citation_and_the_documentation_agree_with_it(self):
        assert in_yaml("CITATION.cff")["version"] == caelab.__version__
        assert set(assigned("docs/conf.py", "version", "release")) == {"__version__"}

    def test_the_changelog_begins_with_it(self):
        assert re.search(r"^## \[(.+?)\]", read("CHANGELOG.md"), re.MULTILINE)[1] == caelab.__version__

    def test_a_run_records_that_of_the_code_that_made_it(self, monkeypatch):
        from caelab.runs import run

        assert run.versions()["caelab"] == caelab.__version__
        monkeypatch.setattr(run, "__version__", "9.9")
        assert run.versions()["caelab"] == "9.9"


class TestWorkflowsAndForms:
    def test_there_are_some(self):
        assert {path.name for path in WORKFLOWS} == {"test.yml", "docs.yml", "release.yml"}
        assert {path.name for path in FORMS} >= {"bug.yml", "idea.yml", "config.yml"}

    @pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
    def test_what_a_workflow_runs_is_there(self, path):
        workflow = in_yaml(path)
        assert workflow[True], "'on' is a truth value in YAML 1.1"
        found = re.findall(r"\bmake ([a-z]+)", " ".join(step.get("run", "") for step in steps(workflow)))
        assert found
        assert set(found) <= TARGETS
        for job in workflow["jobs"].values():
            assert "runs-on" in job or (ROOT / job["uses"]).is_file()
            assert set([job.get("needs", [])] if isinstance(job.get("needs"), str) else job.get("needs", [])) <= set(
                workflow["jobs"]
            )

    @pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
    def test_every_step_says_what_it_does_and_with_which_version(self, path):
        for step in steps(in_yaml(path)):
            assert ("run" in step) != ("uses" in step)
            assert "uses" not in step or re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step["uses"])

    def test_every_python_of_the_classifiers_is_tested_and_no_other(self):
        matrix = in_yaml(".github/workflows/test.yml")["jobs"]["whole"]["strategy"]["matrix"]
        assert matrix["python-version"] == pythons()
        assert PYPROJECT["project"]["requires-python"] == f">={pythons()[0]}"
        for path in WORKFLOWS:
            for step in steps(in_yaml(path)):
                version = str(step.get("with", {}).get("python-version", pythons()[0]))
                assert version in (*pythons(), "${{ matrix.python-version }}")

    def test_a_release_is_tested_and_published_without_a_password(self):
        workflow = in_yaml(".github/workflows/release.yml")
        assert workflow[True] == {"push": {"tags": ["v*"]}}
        publish = workflow["jobs"]["publish"]
        assert set(publish["needs"]) == {"test", "build"}
        assert publish["permissions"] == {"id-token": "write"}
        assert "secrets." not in read(".github/workflows/release.yml")

    @pytest.mark.parametrize("name", ["bug", "idea"])
    def test_a_form_asks_what_can_be_answered(self, name):
        form = in_yaml(f".github/ISSUE_TEMPLATE/{name}.yml")
        assert {"name", "description", "body"} <= form.keys()
        asked = [part for part in form["body"] if part["type"] != "markdown"]
        assert len({part["id"] for part in asked}) == len(asked)
        assert all(part["attributes"]["label"] for part in asked)
        for part in asked:
            assert all(isinstance(each, str) for each in part["attributes"].get("options", []))

    def test_a_pull_request_names_targets_that_are_there(self):
        text = read(".github/pull_request_template.md")
        assert set(re.findall(r"`make ([a-z]+)`", text)) <= TARGETS


class TestSetUp:
    def test_commits_are_checked_by_the_ruff_that_is_installed(self):
        hooks = {repo["repo"].rpartition("/")[2]: repo for repo in in_yaml(".pre-commit-config.yaml")["repos"]}
        assert f"ruff=={hooks['ruff-pre-commit']['rev'].removeprefix('v')}\n" in read("constraints.txt")
        assert [hook["id"] for hook in hooks["ruff-pre-commit"]["hooks"]] == ["ruff-check", "ruff-format"]

    def test_the_hooks_of_commits_would_change_nothing(self):
        """What end-of-file-fixer and trailing-whitespace look for, in every text that is ours."""
        texts = [path for path in ROOT.iterdir() if path.suffix in (".md", ".toml", ".txt", ".cff")]
        texts += [path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts]
        for path in [*texts, *FORMS, ROOT / "Makefile"]:
            text = path.read_text(encoding="utf-8")
            assert text.endswith("\n"), path
            assert not text.endswith("\n\n"), path
            assert not re.search(r"[ \t]+$", text, re.MULTILINE), path

    def test_the_links_of_the_project_are_one_repository(self):
        urls = PYPROJECT["project"]["urls"]
        assert {"Repository", "Documentation", "Changelog", "Issues"} <= urls.keys()
        assert all(url.startswith(urls["Repository"]) for url in urls.values())
        for url in urls.values():
            _, _, path = url.partition("/blob/main/")
            assert (ROOT / path).exists()

    def test_what_is_released_are_the_four_packages_without_their_tests(self):
        packages = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        assert all((ROOT / package / "__init__.py").is_file() for package in packages)
        assert len(packages) == 4

    @pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/development/releasing.md", "README.md"])
    def test_a_page_names_targets_and_files_that_are_there(self, page):
        text = read(page)
        assert set(re.findall(r"`(?:\$ )?make ([a-z]+)`", text)) <= TARGETS
        assert set(re.findall(r"^\$ make ([a-z]+)", text, re.MULTILINE)) <= TARGETS
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert ((ROOT / page).parent / target).exists(), target
        for name in re.findall(r"`((?:caelab|tests|docs|plugins|analyses|\.github)/[\w./-]*)`", text):
            assert (ROOT / name).exists(), name


class TestQuick:
    SLOW = frozenset(line.split()[-1] for line in rows(ROOT / "tests" / "slow.txt"))

    def test_most_tests_are_in_it_and_some_of_every_room(self):
        rooms = defaultdict(list)
        for path in (ROOT / "tests").rglob("test_*.py"):
            file = str(path.relative_to(ROOT))
            names = re.findall(r"^(?:def|class|    def) (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
            left_out = file in self.SLOW
            rooms[path.parent.name] += [not left_out and f"{file}::{name}" not in self.SLOW for name in names]
        rooms.pop("authors")  # what installs packages is slow throughout
        assert [room for room, quick in rooms.items() if sum(quick) < 3] == []
        every = [each for quick in rooms.values() for each in quick]
        assert sum(every) > 0.75 * len(every)

    def test_one_case_of_each_function_is_taken(self):
        items = [SimpleNamespace(nodeid=name) for name in ("a::x[1]", "a::x[2]", "a::y", "b::x[1]")]
        assert [item.nodeid for item in once(items)] == ["a::x[1]", "a::y", "b::x[1]"]

    def test_what_is_measured_is_listed_and_the_rest_of_the_list_stays(self, tmp_path):
        path = tmp_path / "slow.txt"
        path.write_text("# heading\n   9.00 a::gone\n   1.00 b::kept\n", encoding="utf-8")
        durations = Durations(path)
        fixture = SimpleNamespace(scope="module")
        durations.shared = {fixture.scope: 2 * LIMIT}
        durations.users[fixture.scope] = ["a::x[1]", "a::y"]
        durations.alone = {"a::x[1]": LIMIT, "a::y": 0.0, "a::z": 0.0, "c::x": 4 * LIMIT}
        durations.shares = [0.6, 0.6, 0.01]  # the last one waited
        durations.pytest_sessionfinish()
        listed = {line.split()[-1]: float(line.split()[0]) for line in rows(path)}
        assert listed == {"a::x": 1.2 * LIMIT, "b::kept": 1.0, "c": 2.4 * LIMIT}


class TestArchitecture:
    PAGE = read("docs/development/architecture.md")

    def test_its_rooms_are_those_of_the_code(self):
        named = re.findall(r"^\| `(caelab/\w+(?:\.py|/))`", self.PAGE, re.MULTILINE)
        folders = [f"caelab/{path.parent.name}/" for path in (ROOT / "caelab").glob("*/__init__.py")]
        modules = [f"caelab/{path.name}" for path in (ROOT / "caelab").glob("*.py") if path.name != "__init__.py"]
        assert sorted(named) == sorted(folders + modules)
        for package in re.findall(r"^\| `((?:plugins|analyses|tests)/\S*)`", self.PAGE, re.MULTILINE):
            assert (ROOT / package).is_dir()

    def test_its_diagram_is_what_the_linter_checks(self):
        diagram = self.PAGE.partition("## Arrows")[2].partition("```text")[2].partition("```")[0]
        core = diagram.rpartition("....")[2].splitlines()
        contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
        (layers,) = (each["layers"] for each in contracts if each["type"] == "layers")
        drawn = [set(re.findall(r"\w+", row)) for row in core if re.search(r"\w", row)]
        assert drawn == [set(re.findall(r"\w+", layer)) for layer in layers]

    def test_the_modules_that_it_names_are_there(self):
        for name in re.findall(r"`((?:\w+/)+\w+\.py)`", self.PAGE):
            assert (ROOT / name).is_file() or (ROOT / "caelab" / name).is_file(), name

    def test_the_files_that_it_names_are_those_of_a_comparison(self):
        from caelab.report.store import MANIFEST, OURS, ROWS, TUNING
        from caelab.storage.checked_files import HISTORY, RECORD, WEIGHTS

        tree = self.PAGE.partition("## The life of one run")[2].partition("```text")[2].partition("```")[0]
        for name in (MANIFEST, ROWS, TUNING, RECORD, WEIGHTS, HISTORY):
            assert re.search(rf"(^|\s){re.escape(name)}(\s|$)", tree), name
        named = [word for word in tree.split() if re.fullmatch(r"[\w/]+\.(parquet|csv|pdf|tex|html)", word)]
        for pattern in OURS:
            if pattern != "figures/*.png":
                assert any(fnmatch(name, pattern) for name in named), pattern


PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts),
]
DOTTED = re.compile(r"(?<![\w/.-])((?:caelab|caelab_analyses|caelab_regularizers|caelab_trackers)(?:\.[A-Za-z_]\w*)+)")


def resolves(name):
    """Whether a dotted name leads to a module, or to something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_of_the_code_on_a_page_is_there(page):
    names = sorted({*DOTTED.findall(read(page))})
    assert [name for name in names if not resolves(name)] == []


def test_a_name_that_is_not_there_would_be_found():
    assert resolves("caelab.analysis.plotting.curves")
    assert not resolves("caelab.analysis.plotting.no_such_function")
    assert not resolves("caelab.no_such_module.thing")
