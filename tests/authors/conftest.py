"""Packages of plugin authors, installed from outside the tree into a folder of their own, without a network."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm

BIN = Path(sys.executable).parent


def call(words, folder, packages=None):
    """Run a command in a folder, with further packages installed; return its output, or fail with its errors."""
    surroundings = warm.environment(packages)
    done = subprocess.run(words, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)
    return output_of(words, done.returncode, done.stdout, done.stderr)


def warmly(perform, words, folder, packages=None):
    """The same in a warm process."""
    return output_of(words, *warm.run(perform, *words, folder=folder, packages=packages))


def output_of(words, status, stdout, stderr):
    assert status == 0, f"{words}\n{stdout}\n{stderr}"
    return stdout


def install(folders, target):
    """What ``pip install`` does for a user, into a folder that only those who name it see."""
    quiet = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    words = [sys.executable, "-m", "pip", "install", *quiet, "--target", str(target), *map(str, folders)]
    call(words, target.parent)


@pytest.fixture(scope="session")
def caelab_script():
    """``caelab_script(words, folder, packages)`` runs the command line as a user does."""
    return lambda words, folder, packages=None: call([str(BIN / "caelab"), *shlex.split(words)], folder, packages)


@pytest.fixture(scope="session")
def caelab_command():
    """``caelab_command(words, folder, packages)`` runs it in a warm process."""
    return lambda words, folder, packages=None: warmly(warm.command, shlex.split(words), folder, packages)


@pytest.fixture(scope="session")
def own_tests():
    """``own_tests(folder, packages)`` runs a package's own tests against its installed form."""
    words = ["-q", "-n0", "-p", "no:cacheprovider", "--import-mode=importlib", "tests"]
    return lambda folder, packages: warmly(warm.own_tests, words, folder, packages)


@pytest.fixture(scope="session")
def installed():
    """``installed(folders, target)``."""
    return install


@pytest.fixture(scope="session")
def readme_commands():
    """``readme_commands(folder)``: the command lines of caelab that a package's README tells its user."""
    mark = re.compile(r"^\$ caelab (.+)$", re.MULTILINE)
    return lambda folder: mark.findall((folder / "README.md").read_text())
