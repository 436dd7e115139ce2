"""Every command and every Python snippet in README and docs runs, page by page, in a folder of its own."""

import re
import shlex
import shutil
import subprocess
import sys
from glob import glob
from pathlib import Path

import pytest

from tests import warm

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"  # what is a package there has a README and tests of its own: tests/authors
PAGES = sorted([ROOT / "README.md", *(page for page in ROOT.glob("docs/**/*.md") if EXAMPLES not in page.parents)])
INCLUDED = re.compile(r"^```\{literalinclude\} (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
EPOCHS = re.compile(r"\bepochs=(\d{2,}|[4-9])\b")
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)

# The README's two commands are what continuous integration and the user run; a default comparison takes minutes.
NOT_HERE = re.compile(r"^(make|git|cd|source|python3? -m venv|pip|jupyter|caelab compare( --out \S+)?$|caelab bridge)")


def blocks(page):
    return [(kind, text) for kind, text in BLOCK.findall(page.read_text())]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_and_snippets_run(page, tmp_path):
    for name in ("examples", "studies", "course"):
        shutil.copytree(ROOT / "docs" / name, tmp_path / "docs" / name)
    for kind, text in blocks(page):
        for command in [EPOCHS.sub("epochs=3", text)] if kind == "python" else commands(text):
            status, output = (
                anew(kind, command, tmp_path) if page.stem == "README" else quickly(kind, command, tmp_path)
            )
            assert status == 0, f"{command}\n{output}"
            assert "Traceback" not in output


def anew(kind, text, folder):
    """The status and the output in a process of its own, as a reader runs it."""
    words = [sys.executable, "-c", text] if kind == "python" else ["bash", "-ec", text]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(words, cwd=folder, env=warm.environment(), check=False, **pipes)
    return done.returncode, done.stdout


def quickly(kind, text, folder):
    """The same in a warm process."""
    text, _, target = text.partition(" > ") if kind == "console" else (text, "", "")
    if kind == "python":
        status, *said = warm.run(warm.script, text, folder=folder)
    elif re.fullmatch(r"caelab [^$|<>;&`~]*", text):
        words = [each for word in shlex.split(text)[1:] for each in matches(word, folder)]
        status, *said = warm.run(warm.command, *words, folder=folder)
    else:
        return anew(kind, " > ".join(filter(None, [text, target])), folder)
    if target:
        (folder / target).write_text(said.pop(0))
    return status, "".join(said)


def matches(word, folder):
    """A word of a command as the shell passes it on: what it matches, or itself."""
    return sorted(glob(word, root_dir=folder)) or [word] if "*" in word else [word]


def smoke(line):
    """The command with two or three epochs, two seeds, fewer digits and one analysis: what is tested is that it runs.

    All analyses of a comparison run elsewhere.
    """
    line = EPOCHS.sub("epochs=3", line)
    line = re.sub(r"--seeds \d+", lambda found: min(found[0], "--seeds 2"), line)
    if not re.match(r"caelab (train|compare) ", line) or "--print" in line:
        return line
    less = [] if "epochs=" in line else ["--set training.epochs=2"]
    less += ["--set dataset.splits=[600,200,200]"] if less and not re.search(r"--dataset|dataset\.", line) else []
    compares = line.startswith("caelab compare")
    less += ["--seeds 2"] if compares and "--seeds" not in line else []
    less += ["--analyses jacobian_norm"] if compares and "--analyses" not in line else []
    return re.sub(r"^(caelab \w+)", " ".join([r"\1", *less]), line)


def commands(text):
    whole = re.sub(r" \\\n\s*", " ", text)  # a line that ends in a backslash goes on in the next
    lines = [line.removeprefix("$ ") for line in whole.splitlines() if line.startswith("$ ")]
    return [smoke(line) for line in lines if not NOT_HERE.match(line)]


def test_the_readme_regularizer_is_the_tested_one():
    readme = (ROOT / "README.md").read_text()
    assert (ROOT / "docs" / "examples" / "my_contractive.py").read_text().strip() in readme


def test_every_example_is_shown_and_used_on_a_page():
    """An example that a page shows is run by a command of a page, so that what is read is what was tested."""
    text = {page: page.read_text() for page in PAGES}
    shown = {(page.parent / path).resolve() for page in PAGES for path, _ in INCLUDED.findall(text[page])}
    files = set(EXAMPLES.glob("*.py"))
    assert {path for path in shown if EXAMPLES in path.parents} == files
    for file in files:
        uses = [f"--plugin docs/examples/{file.name}", f"--encoder docs/examples/{file.name}:"]
        assert any(use in page for use in uses for page in text.values()), file.name


@pytest.mark.parametrize("page", [p for p in PAGES if INCLUDED.search(p.read_text())], ids=lambda p: p.stem)
def test_the_parts_of_a_file_that_a_page_shows_are_there(page):
    for path, options in INCLUDED.findall(page.read_text()):
        source = (page.parent / path).read_text()
        for name in re.findall(r":pyobject: (\S+)", options):
            assert all(re.search(rf"(class|def) {part}\b", source) for part in name.split(".")), name
        for words in re.findall(r":(?:start-after|end-before): (.+)", options):
            assert words.strip("'") in source, words
